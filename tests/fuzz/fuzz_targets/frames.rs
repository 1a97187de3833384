//! libFuzzer's entry to [`realtime_fuzz::frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::frames(data));
