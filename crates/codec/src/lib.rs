//! Order-preserving and compact encodings of bytes and numbers.
