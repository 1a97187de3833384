//! Nothing but tests (`tests/`): the arrows between the crates, and rules on the files of the repository.
