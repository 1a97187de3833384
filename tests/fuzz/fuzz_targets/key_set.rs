//! libFuzzer's entry to [`realtime_fuzz::key_set`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::key_set(data));
