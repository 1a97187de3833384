//! Nothing but tests (`tests/`): what a cluster of real processes does in bad days. What they share is in `tests/cluster`.
