//! realtime-control-plane
