//! An ordered, snapshotting engine in memory that can crash.
