//! Snapshots and writes of a region, with or without replication.
