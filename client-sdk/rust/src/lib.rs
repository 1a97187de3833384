//! realtime-client
