//! libFuzzer's entry to [`realtime_fuzz::patterns`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::patterns(data));
