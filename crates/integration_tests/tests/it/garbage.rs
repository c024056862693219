//! Old versions disappear while nobody does anything, reads of what is gone are refused, and the disk gets its space
//! back; without any client that would see to it.

use std::time::Duration;

use integration_tests::{TikvServer, allocated_bytes};
use kvproto::kvrpcpb::{GetRequest, MvccGetByKeyRequest, PrewriteRequest};
use tokio::time::{Instant, interval};

use crate::clients::{self, begin, read, timestamp, write};
use crate::wire::{Wire, put};

/// Runs as often as may be, over versions as young as may be.
const CONFIG: &str = "[pd.embedded]\ngc-life-time = \"10s\"\ngc-run-interval = \"10s\"\n\
                      [gc]\npoll-interval = \"200ms\"";
/// Some runs, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(100);
/// Of each of the keys.
const VERSIONS: usize = 10;
/// Together with the keys enough that the files of the engine tell.
const VALUE: usize = 8 << 10;
const KEYS: usize = 40;

/// Records and values that are stored for `key`.
async fn stored(wire: &Wire, key: &str) -> (usize, usize) {
    let mut request = MvccGetByKeyRequest::default();
    request.set_key(key.into());
    let response = wire.call(request).await;
    let info = response.get_info();
    (info.get_writes().len(), info.get_values().len())
}

/// A value that does not compress to nothing.
fn value_of(version: usize) -> String {
    let mut state = version as u64 + 1;
    let mut value = String::with_capacity(VALUE);
    while value.len() < VALUE {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        value.push_str(&format!("{state:016x}"));
    }
    value
}

async fn until_gone(wire: &Wire, key: &str, left: (usize, usize)) {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let found = stored(wire, key).await;
        if found == left {
            return;
        }
        assert!(Instant::now() < deadline, "{key}: {found:?} left");
    }
}

/// What a read of `key` at `version` is refused with; empty when it is not.
async fn refusal(wire: &Wire, key: &str, version: u64) -> String {
    let mut request = GetRequest::default();
    request.set_key(key.into());
    request.set_version(version);
    let response = wire.call(request).await;
    response.get_error().get_abort().to_owned()
}

#[tokio::test]
async fn old_versions_disappear_while_nobody_does_anything() {
    let mut server = TikvServer::builder().config(CONFIG).start().await.unwrap();
    let client = clients::transactional(&server).await;
    let wire = Wire::connect(&server).await;
    let names: Vec<String> = (0..KEYS).map(|key| format!("key-{key:03}")).collect();
    let mut first = 0;
    for version in 0..VERSIONS {
        let value = value_of(version);
        let pairs: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), value.as_str()))
            .collect();
        let committed = write(&client, &pairs).await;
        if version == 0 {
            first = committed;
        }
    }
    write(&client, &[("deleted", "soon")]).await;
    let mut deleting = begin(&client).await;
    deleting.delete("deleted".to_owned()).await.unwrap();
    deleting.commit().await.unwrap();
    assert_eq!(refusal(&wire, "key-000", first).await, "");
    assert_eq!(stored(&wire, "key-000").await, (VERSIONS, VERSIONS));

    for name in &names {
        until_gone(&wire, name, (1, 1)).await;
    }
    until_gone(&wire, "deleted", (0, 0)).await;
    let newest = value_of(VERSIONS - 1);
    assert_eq!(read(&client, "key-000").await, Some(newest.clone()));
    assert_eq!(read(&client, "deleted").await, None);
    let below_the_safe_point = "below the safe point";
    let refused = refusal(&wire, "key-000", first).await;
    assert!(refused.contains(below_the_safe_point), "{refused}");
    // Nor does anybody write who has not seen what is gone.
    let mut late = PrewriteRequest::default();
    late.mut_mutations().push(put(b"deleted", b"late"));
    late.set_primary_lock(b"deleted".to_vec());
    late.set_start_version(first);
    late.set_lock_ttl(3000);
    let refused = wire.call(late).await;
    let refused = refused.get_errors()[0].get_abort();
    assert!(refused.contains(below_the_safe_point), "{refused}");

    // The space is given back: the newest versions, the log of the engine, and no more than that.
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = interval(Duration::from_millis(200));
    loop {
        ticks.tick().await;
        let files = table_bytes(&server);
        if files < (2 * KEYS * VALUE) as u64 {
            break;
        }
        assert!(Instant::now() < deadline, "{files} bytes of files");
    }

    // A restarted server knows from its first answer what it has collected.
    server.stop().await.unwrap();
    server.restart().await.unwrap();
    let wire = Wire::connect(&server).await;
    let refused = refusal(&wire, "key-000", first).await;
    assert!(refused.contains(below_the_safe_point), "{refused}");
    let client = clients::transactional(&server).await;
    assert_eq!(read(&client, "key-000").await, Some(newest));
    assert!(timestamp(&client).await > first);
    server.stop().await.unwrap();
}

/// Bytes of the engine's table files.
fn table_bytes(server: &TikvServer) -> u64 {
    let folder = server.data_dir().join("db");
    let files = std::fs::read_dir(&folder).unwrap().filter_map(Result::ok);
    let tables = files.filter(|file| file.path().extension().is_some_and(|kind| kind == "sst"));
    // A file may go while it is looked at.
    tables
        .map(|file| allocated_bytes(&file.path()).unwrap_or(0))
        .sum()
}
