//! Every RPC of the services on this port: which are answered, which are not, and why.
//!
//! Names and shapes come from the schema; this file adds what it cannot know. `docs/rpc-coverage.md`
//! is printed from here, and the integration tests call every RPC over the wire and compare.

use std::fmt::Write as _;

use protobuf::Message as _;
use protobuf::descriptor::{FileDescriptorSet, MethodDescriptorProto};

/// A service of this port.
pub struct ServiceRows {
    /// Its full name, as it goes over the wire.
    pub name: String,
    /// Its RPCs, in the order of the schema.
    pub rpcs: Vec<Row>,
}

/// An RPC.
pub struct Row {
    /// Its name in the schema.
    pub name: String,
    /// How messages flow.
    pub shape: &'static str,
    /// Whether it is answered; what is not answers gRPC `UNIMPLEMENTED`.
    pub live: bool,
    /// What a user should know about it.
    pub remark: &'static str,
}

/// The services, by file and name in the schema.
const SERVICES: &[(&str, &str)] = &[
    ("pdpb.proto", "PD"),
    ("keyspacepb.proto", "Keyspace"),
    ("meta_storagepb.proto", "MetaStorage"),
    ("resource_manager.proto", "ResourceManager"),
    ("etcdserverpb.proto", "KV"),
    ("etcdserverpb.proto", "Lease"),
    ("etcdserverpb.proto", "Watch"),
    ("etcdserverpb.proto", "Cluster"),
    ("etcdserverpb.proto", "Maintenance"),
    ("healthpb.proto", "Health"),
];

const SPLITS: &str = "needs stores that split regions on demand";
const MEMBERS: &str = "there is one member";

/// What is not answered, by service and name, and why.
const ABSENT: &[(&str, &str, &str)] = &[
    ("PD", "WatchGCSafePointV2", "gone from the original, too"),
    ("PD", "SyncRegions", "between placement drivers"),
    ("PD", "SplitRegions", SPLITS),
    ("PD", "SplitAndScatterRegions", SPLITS),
    ("KV", "RangeStream", "no client calls it"),
    ("Cluster", "MemberAdd", MEMBERS),
    ("Cluster", "MemberRemove", MEMBERS),
    ("Cluster", "MemberUpdate", MEMBERS),
    ("Cluster", "MemberPromote", MEMBERS),
    ("Maintenance", "Alarm", "there are no alarms"),
    (
        "Maintenance",
        "Defragment",
        "the engine does that by itself",
    ),
    ("Maintenance", "Snapshot", "for tools"),
    ("Maintenance", "HashKV", "compares members"),
    ("Maintenance", "Hash", "compares members"),
    ("Maintenance", "MoveLeader", MEMBERS),
    ("Maintenance", "Downgrade", MEMBERS),
    ("Health", "Watch", "clients poll `Check`"),
];

/// What to know about what is answered.
const REMARKS: &[(&str, &str, &str)] = &[
    ("PD", "RegionHeartbeat", "recorded; no orders are given"),
    ("PD", "ReportBuckets", "accepted, not kept"),
    (
        "PD",
        "ScatterRegion",
        "granted at once: one copy is where it belongs",
    ),
    (
        "PD",
        "GetOperator",
        "`REGION_NOT_FOUND`: no region has an operator",
    ),
    ("PD", "SyncMaxTS", "obsolete; answers and does nothing"),
    (
        "PD",
        "GetDCLocationInfo",
        "obsolete; answers and does nothing",
    ),
    ("PD", "IsSnapshotRecovering", "never"),
    ("PD", "GetMinTS", "there is one allocator"),
    ("PD", "UpdateGCSafePoint", "moves the txn safe point along"),
    ("Keyspace", "LoadKeyspace", "created through HTTP"),
    (
        "ResourceManager",
        "AcquireTokenBuckets",
        "grants more than is asked for",
    ),
];

/// Every service with its RPCs.
pub fn services() -> Vec<ServiceRows> {
    // The set is compiled in; one that cannot be read shows in the first test.
    let set = FileDescriptorSet::parse_from_bytes(kvproto::FILE_DESCRIPTOR_SET).unwrap_or_default();
    let mut services = Vec::new();
    for (file_name, service_name) in SERVICES {
        let files = set.get_file().iter();
        for file in files.filter(|file| file.get_name() == *file_name) {
            let found = file.get_service().iter();
            for service in found.filter(|found| found.get_name() == *service_name) {
                let methods = service.get_method().iter();
                services.push(ServiceRows {
                    name: format!("{}.{service_name}", file.get_package()),
                    rpcs: methods.map(|method| row(service_name, method)).collect(),
                });
            }
        }
    }
    services
}

fn row(service: &str, method: &MethodDescriptorProto) -> Row {
    let find = |table: &[(&str, &str, &'static str)]| {
        let mut rows = table.iter();
        let found = rows.find(|(owner, name, _)| (*owner, *name) == (service, method.get_name()));
        found.map(|(_, _, remark)| *remark)
    };
    let absent = find(ABSENT);
    Row {
        name: method.get_name().to_owned(),
        shape: match (method.get_client_streaming(), method.get_server_streaming()) {
            (false, false) => "unary",
            (false, true) => "server stream",
            (true, false) => "client stream",
            (true, true) => "duplex",
        },
        live: absent.is_none(),
        remark: absent.or_else(|| find(REMARKS)).unwrap_or_default(),
    }
}

/// The part of `docs/rpc-coverage.md` that is about the placement driver.
pub fn coverage() -> String {
    let mut text = "\n# Placement driver\n\n\
        Generated from `crates/pd/src/rpc_table.rs`. These services share the port of the placement \
        driver with its HTTP paths.\n"
        .to_owned();
    for service in services() {
        let live = service.rpcs.iter().filter(|rpc| rpc.live).count();
        let total = service.rpcs.len();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n## `{}`: {live} of {total}\n\n| RPC | shape | state | remark |\n|---|---|---|---|\n",
            service.name
        );
        for rpc in &service.rpcs {
            let state = if rpc.live { "live" } else { "`UNIMPLEMENTED`" };
            let _ = writeln!(
                text,
                "| {} | {} | {state} | {} |",
                rpc.name, rpc.shape, rpc.remark
            );
        }
    }
    text + &http_coverage()
}

fn http_coverage() -> String {
    let mut text = "\n# HTTP paths of the placement driver\n\n\
        Generated from `crates/pd/src/http/routes.rs`.\n\n| path | methods | answer |\n|---|---|---|\n"
        .to_owned();
    for route in crate::http::ROUTES {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} |",
            route.path, route.methods, route.about
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_tables_name_what_the_schema_has() {
        let services = services();
        assert_eq!(services.len(), SERVICES.len());
        let schema: BTreeSet<(String, String)> = services
            .iter()
            .flat_map(|service| {
                let (_, short) = service.name.rsplit_once('.').unwrap();
                let rpcs = service.rpcs.iter();
                rpcs.map(move |rpc| (short.to_owned(), rpc.name.clone()))
            })
            .collect();
        let mut named = BTreeSet::new();
        for (service, rpc, _) in ABSENT.iter().chain(REMARKS) {
            let row = ((*service).to_owned(), (*rpc).to_owned());
            assert!(schema.contains(&row), "{service}.{rpc}");
            assert!(named.insert(row), "{service}.{rpc} stands there twice");
        }
    }

    #[test]
    fn the_document_has_a_line_for_every_rpc() {
        let text = coverage();
        for service in services() {
            for rpc in service.rpcs {
                let line = format!("| {} | {} |", rpc.name, rpc.shape);
                assert!(text.contains(&line), "{line}");
            }
        }
    }
}
