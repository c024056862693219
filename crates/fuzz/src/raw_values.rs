//! Raw values with what each format stores beside them.

use api_version::{ApiV1, ApiV1Ttl, ApiV2, KvFormat, RawValue};

use crate::allocated::bounded_by;
use crate::input::Input;

/// The envelopes of raw values in all formats.
pub fn raw_values(data: &[u8]) {
    stored::<ApiV1>(data);
    stored::<ApiV1Ttl>(data);
    stored::<ApiV2>(data);

    let mut input = Input(data);
    let (expire, is_delete) = (input.number(), input.flag());
    let mut value = RawValue::new(input.0);
    written::<ApiV1>(value);
    value.expire_ts = (expire != 0).then_some(expire);
    written::<ApiV1Ttl>(value);
    value.expire_ts = input.flag().then_some(expire);
    value.is_delete = is_delete;
    written::<ApiV2>(value);
}

/// Bytes of the engine: what decodes is what would have been encoded.
fn stored<F: KvFormat>(data: &[u8]) {
    // The value is borrowed, so nothing is allocated at all.
    if let Ok(value) = bounded_by(0, || F::decode_raw_value(data)) {
        assert_eq!(F::encode_raw_value(value), data);
        // Nobody sees a value that is gone, now or later.
        if value.is_delete || value.expire_ts.is_some() {
            assert!(!value.is_visible(u64::MAX));
        } else {
            assert!(value.is_visible(0) && value.is_visible(u64::MAX));
        }
        for now in [1, 1 << 31, u64::MAX - 1] {
            assert!(value.is_visible(now - 1) || !value.is_visible(now));
        }
    }
}

/// A client's value comes back.
fn written<F: KvFormat>(value: RawValue<&[u8]>) {
    let stored = F::encode_raw_value(value);
    assert_eq!(F::decode_raw_value(&stored).map_err(drop), Ok(value));
}
