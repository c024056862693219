//! libFuzzer's door to [`fuzz::lock`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::lock(data));
