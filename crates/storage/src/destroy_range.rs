//! Destroying a range of this store: everything in it goes, whatever it is, and its space comes back.
//!
//! Garbage collection of whole tables ends with it. It is not replicated and takes no latches: who calls it has made
//! sure that nobody will read or write the range again, and tells every store by itself.
//! Must never: be reached by anything that a client could take for an ordinary deletion.

use std::future::Future;

use api_version::{ApiVersion, KvFormat};
use futures::future::{Either, ready};
use kv::Engine;
use lock_manager::LockManager;
use txn_types::Key;

use crate::limits::{check_range, invalid_range};
use crate::{Result, Storage, metrics};

const KIND: &str = "unsafe_destroy_range";

impl<E: Engine, L: LockManager, F: KvFormat> Storage<E, L, F> {
    /// Destroys `[start, end)`. It goes its way when the future is dropped.
    ///
    /// Bounds are user keys; they are encoded as the data is that a store of this format keeps for transactions and
    /// with versions. Raw data of V1 is not encoded and lies among it as its bytes fall. Only a store with time to
    /// live and without versions keeps nothing encoded, and takes the bounds as they are.
    pub fn unsafe_destroy_range(
        &self,
        start: Vec<u8>,
        end: Vec<u8>,
    ) -> impl Future<Output = Result<()>> + Send + 'static + use<E, L, F> {
        metrics::COMMAND_TOTAL.with_label_values(&[KIND]).inc();
        if let Err(error) = self.check_doomed_range(&start, &end) {
            return Either::Left(ready(Err(error)));
        }
        if start == end {
            return Either::Left(ready(Ok(())));
        }
        let encode = |key: Vec<u8>| match F::TAG {
            ApiVersion::V1ttl => Key::from_encoded(key),
            _ => Key::from_raw(&key),
        };
        tracing::info!("a range is being destroyed");
        let destroyed = self.engine.destroy_range(encode(start), encode(end));
        Either::Right(async move { Ok(destroyed.await?) })
    }

    /// An absent bound would destroy everything on that side; nobody who means that leaves it out.
    fn check_doomed_range(&self, start: &[u8], end: &[u8]) -> Result<()> {
        if start.is_empty() || end.is_empty() {
            return Err(invalid_range(start, end, "both bounds must be given"));
        }
        self.limits.check_raw_bound(start)?;
        self.limits.check_raw_bound(end)?;
        check_range(start, Some(end))
    }
}
