//! Keys, timestamps, locks, writes and mutations of the transaction model.
