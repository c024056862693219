//! A raw value with what its format stores beside it.

/// A raw value with what its format stores beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawValue<T> {
    /// What the client wrote.
    pub user_value: T,
    /// Second of the Unix epoch from which on the value is gone; `None` is never.
    pub expire_ts: Option<u64>,
    /// The key was deleted; only where raw data has versions.
    pub is_delete: bool,
}

impl<T> RawValue<T> {
    /// A value that lives for ever.
    pub const fn new(user_value: T) -> Self {
        Self {
            user_value,
            expire_ts: None,
            is_delete: false,
        }
    }

    /// Whether a reader at this second sees it.
    pub fn is_visible(&self, now_secs: u64) -> bool {
        !self.is_delete && self.expire_ts.is_none_or(|expire| expire > now_secs)
    }
}
