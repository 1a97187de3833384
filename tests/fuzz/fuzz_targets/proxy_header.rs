//! libFuzzer's entry to [`realtime_fuzz::proxy_header`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| realtime_fuzz::proxy_header(data));
