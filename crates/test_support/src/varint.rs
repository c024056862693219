//! The two numbers of which protobuf's encoding is made. Must never check anything: tests write what nobody should.

/// Appends a number of variable length.
pub fn put_varint(mut number: u64, to: &mut Vec<u8>) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// A number of variable length.
#[must_use]
pub fn varint(number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_varint(number, &mut bytes);
    bytes
}

/// Appends the tag of a field: its number and how it is encoded.
pub fn put_tag(field: u32, wire_type: u32, to: &mut Vec<u8>) {
    put_varint(u64::from(field) << 3 | u64::from(wire_type), to);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_protobuf_has_them() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(varint(u64::MAX), [[0xff; 9].as_slice(), &[1]].concat());
        let mut tag = Vec::new();
        put_tag(31, 2, &mut tag);
        assert_eq!(tag, [0xfa, 0x01]);
    }
}
