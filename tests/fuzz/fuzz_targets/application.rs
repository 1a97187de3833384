//! libFuzzer's entry to [`realtime_fuzz::application`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::application(data));
