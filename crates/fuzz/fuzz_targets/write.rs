//! libFuzzer's door to [`fuzz::write`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::write(data));
