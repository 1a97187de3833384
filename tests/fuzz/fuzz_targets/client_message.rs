//! libFuzzer's entry to [`realtime_fuzz::client_message`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::client_message(data));
