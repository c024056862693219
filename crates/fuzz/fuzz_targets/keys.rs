//! libFuzzer's door to [`fuzz::keys`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::keys(data));
