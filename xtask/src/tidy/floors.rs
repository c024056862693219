//! A crate depends on lower floors only.

use super::Finding;
use super::graph::{Floor, Graph, Purpose};

/// Edges within a floor, `(lower, upper)`: the upper may depend on the lower. The arrows of the code
/// map in docs/ARCHITECTURE.md are the same, which `documents` checks.
pub(super) const WITHIN: &[(&str, &str)] = &[
    ("runtime", "yatp"),
    ("kvproto", "txn_types"),
    ("kvproto", "api_version"),
    ("txn_types", "api_version"),
    ("engine_traits", "engine_rocks"),
    ("engine_traits", "engine_mem"),
    ("lock_manager", "mvcc"),
    ("lock_manager", "storage"),
    ("mvcc", "storage"),
    // The load generator starts servers as the tests do.
    ("integration_tests", "bench"),
];

/// The workspace's own tool stands beside the house.
const OUTSIDE: &str = "xtask";

pub(super) fn check(graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, member) in graph.members().filter(|(name, _)| *name != OUTSIDE) {
        let manifest = format!("{}/Cargo.toml", member.folder);
        let Some(floor) = member.floor else {
            findings.push(Finding::new(
                manifest,
                "no [package.metadata.floor] with a level",
            ));
            continue;
        };
        for (to, purpose) in graph.direct(name) {
            let Some(below) = graph.member(to).and_then(|member| member.floor) else {
                continue;
            };
            if purpose == Purpose::Dev {
                continue;
            }
            if below == Floor::Test && floor != Floor::Test {
                let message = format!("{to} is for tests: a dev-dependency, never another");
                findings.push(Finding::new(manifest.clone(), message));
            } else if below > floor || (below == floor && !WITHIN.contains(&(to, name))) {
                let message = format!(
                    "{name} (floor {floor}) depends on {to} (floor {below}), which is not below it"
                );
                findings.push(Finding::new(manifest.clone(), message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::graph::Member;
    use super::*;

    fn found(members: &[(&str, Floor)], edges: &[(&str, &str, Purpose)]) -> Vec<String> {
        check(&Graph::of(members, edges))
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    const HOUSE: &[(&str, Floor)] = &[
        ("runtime", Floor::Level(0)),
        ("yatp", Floor::Level(0)),
        ("codec", Floor::Level(0)),
        ("kv", Floor::Level(3)),
        ("integration_tests", Floor::Test),
    ];

    #[test]
    fn downwards_and_listed_edges_are_fine() {
        let edges = [
            ("kv", "runtime", Purpose::Normal),
            ("kv", "codec", Purpose::Build),
            ("yatp", "runtime", Purpose::Normal),
            ("codec", "kv", Purpose::Dev),
            ("integration_tests", "kv", Purpose::Normal),
            ("kv", "serde", Purpose::Normal),
        ];
        assert!(found(HOUSE, &edges).is_empty());
    }

    #[test]
    fn upwards_is_found() {
        let found = found(HOUSE, &[("codec", "kv", Purpose::Build)]);
        assert_eq!(
            found,
            ["codec (floor 0) depends on kv (floor 3), which is not below it"]
        );
    }

    #[test]
    fn sideways_is_found_and_a_listed_edge_has_one_direction() {
        assert_eq!(found(HOUSE, &[("yatp", "codec", Purpose::Normal)]).len(), 1);
        assert_eq!(
            found(HOUSE, &[("runtime", "yatp", Purpose::Normal)]).len(),
            1
        );
    }

    #[test]
    fn a_test_crate_in_the_product_is_found() {
        assert!(found(HOUSE, &[("kv", "integration_tests", Purpose::Dev)]).is_empty());
        let found = found(HOUSE, &[("kv", "integration_tests", Purpose::Normal)]);
        assert_eq!(
            found,
            ["integration_tests is for tests: a dev-dependency, never another"]
        );
    }

    #[test]
    fn a_crate_without_a_floor_is_found() {
        let mut graph = Graph::of(HOUSE, &[]);
        graph.insert(
            "new",
            Member {
                folder: "crates/new".into(),
                floor: None,
            },
        );
        let findings = check(&graph);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].place, "crates/new/Cargo.toml");
    }
}
