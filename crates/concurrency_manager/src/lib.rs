//! The largest timestamp that a read has used.
