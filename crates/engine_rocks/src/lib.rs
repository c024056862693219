//! The engine on RocksDB.
