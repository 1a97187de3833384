//! libFuzzer's entry to [`realtime_fuzz::deflate_offer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::deflate_offer(data));
