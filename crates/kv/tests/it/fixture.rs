//! A local engine of region 2 at peer 3 on store 1, and short words to use it.

use std::sync::Arc;

use engine_traits::{Cf, KvEngine};
use kv::{
    Config, Engine, LocalEngine, LocalRegion, Modify, Snapshot, SnapshotContext, Subscribed,
    WriteData, WriteEvent,
};
use parking_lot::Mutex;
use runtime::Runtime;
use txn_types::Key;

pub(crate) struct Fixture<E: KvEngine> {
    pub(crate) local: LocalEngine<E>,
    pub(crate) fatal: Arc<Mutex<Vec<String>>>,
}

pub(crate) fn region() -> LocalRegion {
    LocalRegion::all_keys(2, 1, 3)
}

pub(crate) fn start<E: KvEngine>(engine: E, runtime: &Runtime, config: Config) -> Fixture<E> {
    let fatal = Arc::new(Mutex::new(Vec::new()));
    let reasons = fatal.clone();
    let on_fatal = Arc::new(move |reason: &str| reasons.lock().push(reason.to_owned()));
    Fixture {
        local: LocalEngine::new(engine, region(), runtime, config, on_fatal),
        fatal,
    }
}

impl<E: KvEngine> Fixture<E> {
    pub(crate) async fn write(&self, data: WriteData) -> kv::Result<()> {
        kv::write(&self.local, region().context(), data).await
    }

    pub(crate) fn start_write(
        &self,
        data: WriteData,
        subscribed: Subscribed,
    ) -> impl futures::Stream<Item = WriteEvent> + Send + Unpin + 'static + use<E> {
        self.local.async_write(region().context(), data, subscribed)
    }

    pub(crate) async fn get(&self, cf: Cf, key: &str) -> Option<Vec<u8>> {
        let ctx = SnapshotContext::new(region().context());
        let snapshot = self.local.async_snapshot(ctx).await.unwrap();
        snapshot.get(cf, &self::key(key)).unwrap()
    }
}

pub(crate) fn key(text: &str) -> Key {
    Key::from_raw(text.as_bytes())
}

pub(crate) fn put(text: &str, value: &str) -> WriteData {
    WriteData::new(vec![Modify::Put(Cf::Default, key(text), value.into())])
}

pub(crate) fn region_error(result: kv::Result<()>) -> kvproto::errorpb::Error {
    match result {
        Err(kv::Error::Region(error)) => *error,
        other => panic!("not a region error: {other:?}"),
    }
}
