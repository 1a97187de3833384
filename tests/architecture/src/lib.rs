//! realtime-architecture-tests
