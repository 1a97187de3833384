//! Nothing but tests (`tests/cluster`): what a cluster of real processes promises.
