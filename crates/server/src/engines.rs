//! Which engines a node stands on.
//!
//! A trait, so that a node can run in memory in tests; the production engines are RocksDB.

use std::path::Path;

use engine_rocks::RocksEngine;
use engine_traits::KvEngine;

use crate::Result;
use crate::config::Config;

/// Opens the engines of a node.
pub trait Engines {
    /// The engine of keys and values.
    type Kv: KvEngine;
    /// The engine of the embedded placement driver.
    type Pd: KvEngine;

    /// Opens the engine of keys and values.
    fn open_kv(&self, path: &Path, config: &Config) -> Result<Self::Kv>;

    /// Opens the engine of the embedded placement driver.
    fn open_pd(&self, path: &Path, config: &Config) -> Result<Self::Pd>;

    /// How the cache of `engine` gets another size in bytes while it is in use; none when it cannot.
    fn resize_cache(&self, engine: &Self::Kv) -> Option<ResizeCache> {
        let _ = engine;
        None
    }
}

/// Gives a cache its size in bytes.
pub type ResizeCache = Box<dyn Fn(u64) + Send + Sync>;

/// RocksDB in the data directory.
#[derive(Clone, Copy, Debug)]
pub struct RocksEngines;

impl Engines for RocksEngines {
    type Kv = RocksEngine;
    type Pd = RocksEngine;

    fn open_kv(&self, path: &Path, config: &Config) -> Result<RocksEngine> {
        Ok(RocksEngine::open(path, &config.kv_engine())?)
    }

    fn open_pd(&self, path: &Path, _: &Config) -> Result<RocksEngine> {
        Ok(RocksEngine::open(path, &Config::pd_engine())?)
    }

    fn resize_cache(&self, engine: &RocksEngine) -> Option<ResizeCache> {
        let cache = engine.block_cache();
        Some(Box::new(move |bytes| cache.set_capacity(bytes)))
    }
}
