//! realtime-session
