//! Things that are not there: libraries that only named crates use, crates that never reach others.
//!
//! These hold over the resolved graph of normal and build dependencies, so a detour through a third
//! crate is found too.

use super::Finding;
use super::graph::{Graph, Purpose};

/// A library and the only members that may name it in their manifest.
struct Reserved {
    library: &'static str,
    users: &'static [&'static str],
}

const RESERVED: &[Reserved] = &[
    // Beside those who serve or call, `bench` measures them through gRPC itself: a client with
    // comforts would be what is measured.
    Reserved {
        library: "grpcio",
        users: &[
            "bench",
            "kvproto",
            "security",
            "pd_client",
            "pd",
            "service",
            "server",
            "test_support",
            "tikv-ctl",
        ],
    },
    Reserved {
        library: "grpcio-compiler",
        users: &["kvproto"],
    },
    Reserved {
        library: "raft",
        users: &["kvproto"],
    },
    Reserved {
        library: "rocksdb",
        users: &["engine_rocks"],
    },
    Reserved {
        library: "librocksdb-sys",
        users: &["engine_rocks"],
    },
    Reserved {
        library: "raft-engine",
        users: &["bench"],
    },
    Reserved {
        library: "getrandom",
        users: &["runtime"],
    },
];

/// A member that must not reach a crate, except through some.
struct Unreachable {
    from: &'static str,
    to: &'static str,
    except_through: &'static [&'static str],
    reason: &'static str,
}

const UNREACHABLE: &[Unreachable] = &[
    Unreachable {
        from: "storage",
        to: "grpcio",
        except_through: &["kvproto"],
        reason: "transactions know no network",
    },
    Unreachable {
        from: "storage",
        to: "raft",
        except_through: &["kvproto"],
        reason: "transactions know no replication",
    },
    Unreachable {
        from: "storage",
        to: "librocksdb-sys",
        except_through: &[],
        reason: "transactions run on any engine",
    },
    Unreachable {
        from: "engine_rocks",
        to: "kvproto",
        except_through: &[],
        reason: "an engine can be taken without gRPC and Raft",
    },
    Unreachable {
        from: "engine_mem",
        to: "kvproto",
        except_through: &[],
        reason: "an engine can be taken without gRPC and Raft",
    },
    Unreachable {
        from: "service",
        to: "librocksdb-sys",
        except_through: &[],
        reason: "only the node chooses an engine",
    },
];

pub(super) fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in RESERVED {
        for (name, member) in graph.members() {
            let uses = graph
                .direct(name)
                .any(|(to, purpose)| to == rule.library && purpose != Purpose::Dev);
            if uses && !rule.users.contains(&name) {
                let users = rule.users.join(", ");
                let message = format!("{} is used only by {users}", rule.library);
                findings.push(Finding::new(
                    format!("{}/Cargo.toml", member.folder),
                    message,
                ));
            }
        }
    }
    for rule in UNREACHABLE {
        let Some(member) = graph.member(rule.from) else {
            let message = format!("a rule speaks of {}, which is not there", rule.from);
            findings.push(Finding::new("xtask/src/tidy/absences.rs", message));
            continue;
        };
        if let Some(path) = graph.path(rule.from, rule.to, rule.except_through) {
            let message = format!("{}: {}", path.join(" → "), rule.reason);
            findings.push(Finding::new(
                format!("{}/Cargo.toml", member.folder),
                message,
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::graph::Floor;
    use super::*;

    const MEMBERS: &[(&str, Floor)] = &[
        ("kvproto", Floor::Level(1)),
        ("engine_rocks", Floor::Level(2)),
        ("engine_mem", Floor::Level(2)),
        ("storage", Floor::Level(4)),
        ("service", Floor::Level(6)),
    ];

    fn found(more: &[(&str, &str, Purpose)]) -> Vec<String> {
        let mut edges = vec![
            ("kvproto", "grpcio", Purpose::Normal),
            ("kvproto", "raft", Purpose::Normal),
            ("engine_rocks", "rocksdb", Purpose::Normal),
            ("rocksdb", "librocksdb-sys", Purpose::Normal),
            ("storage", "kvproto", Purpose::Normal),
            ("storage", "engine_rocks", Purpose::Dev),
        ];
        edges.extend(more);
        check(&Graph::of(MEMBERS, &edges))
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn the_house_as_designed_is_fine() {
        assert!(found(&[]).is_empty());
    }

    #[test]
    fn a_reserved_library_is_found_elsewhere() {
        assert_eq!(
            found(&[("engine_mem", "rocksdb", Purpose::Build)]),
            ["rocksdb is used only by engine_rocks"]
        );
        assert!(found(&[("engine_mem", "rocksdb", Purpose::Dev)]).is_empty());
    }

    #[test]
    fn a_detour_is_found() {
        let detour = [
            ("storage", "clever", Purpose::Normal),
            ("clever", "grpcio", Purpose::Normal),
        ];
        assert_eq!(
            found(&detour),
            ["storage → clever → grpcio: transactions know no network"]
        );
        let engine = found(&[("storage", "engine_rocks", Purpose::Normal)]);
        assert_eq!(engine.len(), 1, "{engine:?}");
        assert!(engine[0].starts_with("storage → engine_rocks → rocksdb → librocksdb-sys"));
    }

    #[test]
    fn a_rule_about_nobody_is_found() {
        let members = &MEMBERS[..4];
        let found = check(&Graph::of(members, &[]));
        assert_eq!(
            found[0].message,
            "a rule speaks of service, which is not there"
        );
    }
}
