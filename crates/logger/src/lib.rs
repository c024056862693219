//! Logs in the unified format, with redaction of keys and values.
