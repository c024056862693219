//! Percolator transactions and raw access over `kv::Engine`.
