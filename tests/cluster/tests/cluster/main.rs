//! A cluster of real processes: etcd, two replicas of the control plane, three nodes, a gateway.

mod delivery;
mod presence;
mod script;
mod stable;
