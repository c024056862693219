//! libFuzzer's door to [`fuzz::etcd`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::etcd(data));
