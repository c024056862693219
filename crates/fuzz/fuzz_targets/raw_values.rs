//! libFuzzer's door to [`fuzz::raw_values`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::raw_values(data));
