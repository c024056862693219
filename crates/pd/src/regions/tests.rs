//! Tests of the region tree: the table of acceptance, lookups, and random reports against a naive
//! list.

use kvproto::metapb::RegionEpoch;
use proptest::prelude::*;
use test_case::test_case;

use super::*;

fn info(id: u64, range: (&str, &str), epoch: (u64, u64), term: u64) -> RegionInfo {
    let mut region = Region::default();
    region.set_id(id);
    region.set_start_key(range.0.as_bytes().to_vec());
    region.set_end_key(range.1.as_bytes().to_vec());
    let mut region_epoch = RegionEpoch::default();
    region_epoch.set_conf_ver(epoch.0);
    region_epoch.set_version(epoch.1);
    region.set_region_epoch(region_epoch);
    let mut peer = Peer::default();
    peer.set_id(id * 10);
    peer.set_store_id(1);
    region.mut_peers().push(peer);
    RegionInfo {
        term,
        ..RegionInfo::new(region)
    }
}

fn report(tree: &mut RegionTree, info: RegionInfo) -> std::result::Result<Acceptance, Stale> {
    let acceptance = tree.judge(&info)?;
    for id in &acceptance.replaced {
        tree.remove(*id);
    }
    tree.put(info);
    tree.check_invariants().unwrap();
    Ok(acceptance)
}

/// Three regions: 1 = ["", "b"), 2 = ["b", "m"), 3 = ["m", ""), each with epoch (5, 5), term 5.
fn three() -> RegionTree {
    let mut tree = RegionTree::default();
    for (id, range) in [(1, ("", "b")), (2, ("b", "m")), (3, ("m", ""))] {
        report(&mut tree, info(id, range, (5, 5), 5)).unwrap();
    }
    tree
}

fn ids<'a>(found: impl IntoIterator<Item = &'a RegionInfo>) -> Vec<u64> {
    found.into_iter().map(|info| info.region.get_id()).collect()
}

fn accepted(persist: bool, replaced: &[u64]) -> Option<(bool, Vec<u64>)> {
    Some((persist, replaced.to_vec()))
}

#[test_case(info(2, ("b", "m"), (5, 5), 5), accepted(false, &[]); "the same again")]
#[test_case(info(2, ("b", "m"), (5, 5), 6), accepted(false, &[]); "new term")]
#[test_case(info(2, ("b", "m"), (5, 5), 0), accepted(false, &[]); "term not told")]
#[test_case(info(2, ("b", "m"), (5, 5), 4), None; "old term")]
#[test_case(info(2, ("b", "m"), (4, 5), 5), None; "old conf ver")]
#[test_case(info(2, ("b", "m"), (6, 4), 5), None; "old version")]
#[test_case(info(2, ("b", "m"), (6, 5), 5), accepted(true, &[]); "new conf ver")]
#[test_case(info(2, ("b", "f"), (5, 6), 5), accepted(true, &[]); "shrunk by a split")]
#[test_case(info(2, ("b", ""), (5, 6), 5), accepted(true, &[3]); "grown by a merge")]
#[test_case(info(2, ("", ""), (5, 9), 5), accepted(true, &[1, 3]); "grown over all")]
#[test_case(info(9, ("b", "f"), (1, 6), 1), accepted(true, &[2]); "new left half")]
#[test_case(info(9, ("c", "d"), (1, 5), 1), accepted(true, &[2]); "same version elsewhere wins")]
#[test_case(info(9, ("c", "z"), (9, 4), 9), None; "behind a neighbour")]
#[test_case(info(2, ("a", "m"), (5, 4), 9), None; "old and over a neighbour")]
fn acceptance(new: RegionInfo, expected: Option<(bool, Vec<u64>)>) {
    let mut tree = three();
    let outcome = report(&mut tree, new).ok();
    assert_eq!(outcome.map(|a| (a.persist, a.replaced)), expected);
}

#[test]
fn a_stale_report_names_both_epochs() {
    let Err(Stale(text)) = three().judge(&info(9, ("c", "z"), (9, 4), 9)) else {
        panic!("accepted");
    };
    assert!(
        text.contains("region is stale") && text.contains("version: 4"),
        "{text}"
    );
}

#[test]
fn lookups() {
    let mut tree = three();
    for (key, id, previous) in [
        ("", 1, None),
        ("a", 1, None),
        ("b", 2, Some(1)),
        ("z", 3, Some(2)),
    ] {
        assert_eq!(ids(tree.find(key.as_bytes())), [id], "{key:?}");
        let found = tree.find_previous(key.as_bytes());
        assert_eq!(
            ids(found),
            previous.into_iter().collect::<Vec<u64>>(),
            "{key:?}"
        );
    }
    for (range, expected) in [
        (("", ""), vec![1, 2, 3]),
        (("b", "m"), vec![2]),
        (("b", "m\0"), vec![2, 3]),
        (("a", "c"), vec![1, 2]),
        (("c", ""), vec![2, 3]),
        (("c", "c"), vec![]),
        (("d", "c"), vec![]),
    ] {
        let found = ids(tree.scan(range.0.as_bytes(), range.1.as_bytes()));
        assert_eq!(found, expected, "{range:?}");
    }
    tree.remove(2);
    assert_eq!(ids(tree.find(b"c")), Vec::<u64>::new());
    assert_eq!(ids(tree.find_previous(b"c")), Vec::<u64>::new());
    // The left neighbour is not adjacent.
    assert_eq!(ids(tree.find_previous(b"z")), Vec::<u64>::new());
    assert_eq!(ids(tree.scan(b"c", b"")), [3]);
    assert_eq!(tree.len(), 2);
}

/// What scanning ranges comes to: ids, or the beginning of the refusal.
fn scanned(
    tree: &RegionTree,
    ranges: &[(&str, &str)],
    limit: usize,
    coverage: Coverage,
) -> std::result::Result<Vec<u64>, String> {
    let ranges = ranges
        .iter()
        .map(|(start, end)| (start.as_bytes(), end.as_bytes()));
    match tree.scan_ranges(ranges, limit, coverage) {
        Ok(found) => Ok(ids(found)),
        Err(Error::RangeNotCovered(text)) => Err(format!("hole: {text}")),
        Err(error) => Err(error.to_string()),
    }
}

#[test_case(&[], usize::MAX, Ok(&[]); "no ranges")]
#[test_case(&[("", "")], usize::MAX, Ok(&[1, 2, 3]); "everything")]
#[test_case(&[("", "")], 2, Ok(&[1, 2]); "limit")]
#[test_case(&[("b", "m")], usize::MAX, Ok(&[2]); "exactly one")]
#[test_case(&[("a", "b"), ("b", "c"), ("d", "e")], usize::MAX, Ok(&[1, 2]); "each region once")]
#[test_case(&[("a", "aa"), ("x", "")], usize::MAX, Ok(&[1, 3]); "far apart")]
#[test_case(&[("c", "d"), ("d", "z")], 1, Ok(&[2]); "limit over ranges")]
#[test_case(&[("c", "d"), ("a", "b")], usize::MAX, Err("in order"); "out of order")]
#[test_case(&[("a", "d"), ("c", "e")], usize::MAX, Err("overlap"); "overlapping")]
#[test_case(&[("a", ""), ("c", "e")], usize::MAX, Err("overlap"); "after the end of all")]
#[test_case(&[("b", "b")], usize::MAX, Err("not after its start"); "empty range")]
#[test_case(&[("c", "b")], usize::MAX, Err("not after its start"); "backwards")]
fn ranges_are_scanned(
    ranges: &[(&str, &str)],
    limit: usize,
    expected: std::result::Result<&[u64], &str>,
) {
    for coverage in [Coverage::Any, Coverage::Whole] {
        match (scanned(&three(), ranges, limit, coverage), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(text), Err(words)) => assert!(text.contains(words), "{text}"),
            (found, _) => panic!("{found:?}"),
        }
    }
}

#[test_case(&[("", "")], &[1, 3], "\"b\" and \"m\""; "in the middle")]
#[test_case(&[("c", "d")], &[1, 3], "\"c\" and \"d\""; "the whole range")]
#[test_case(&[("a", "c")], &[1, 3], "\"b\" and \"c\""; "at the end")]
#[test_case(&[("x", "")], &[1, 2], "\"x\" and \"\""; "the last")]
#[test_case(&[("", "z")], &[2, 3], "\"\" and \"b\""; "the first")]
fn holes_are_told_when_asked_for(ranges: &[(&str, &str)], left: &[u64], words: &str) {
    let mut tree = three();
    for id in [1, 2, 3].into_iter().filter(|id| !left.contains(id)) {
        tree.remove(id);
    }
    let text = scanned(&tree, ranges, usize::MAX, Coverage::Whole).unwrap_err();
    assert!(text.starts_with("hole: ") && text.contains(words), "{text}");
    assert!(scanned(&tree, ranges, usize::MAX, Coverage::Any).is_ok());
    // What the limit cuts off is nobody's concern.
    if left[0] == 1 && ranges == [("", "")] {
        assert_eq!(scanned(&tree, ranges, 1, Coverage::Whole), Ok(vec![1]));
    }
}

#[test]
fn long_keys_are_cut_short_in_errors() {
    let long = "k".repeat(1 << 20);
    let text = scanned(&three(), &[("z", long.as_str())], 9, Coverage::Any).unwrap_err();
    assert!(text.len() < 200, "{} bytes", text.len());
}

#[test]
fn sizes_not_counted_yet_are_inherited() {
    let mut tree = RegionTree::default();
    let mut first = info(1, ("", ""), (1, 1), 1);
    (first.approximate_size, first.approximate_keys) = (100, 7);
    report(&mut tree, first).unwrap();
    report(&mut tree, info(1, ("", ""), (1, 1), 2)).unwrap();
    let known = tree.get(1).unwrap();
    assert_eq!(
        (known.approximate_size, known.approximate_keys, known.term),
        (100, 7, 2)
    );
}

#[test]
fn the_only_voter_is_the_leader_until_one_is_reported() {
    let mut region = info(1, ("", ""), (1, 1), 0);
    assert_eq!(region.known_leader().unwrap().get_id(), 10);
    region.region.mut_peers()[0].set_role(PeerRole::Learner);
    assert_eq!(region.known_leader(), None);
    region.region.mut_peers()[0].set_role(PeerRole::Voter);
    region.region.mut_peers().push(Peer::default());
    assert_eq!(region.known_leader(), None);
    region.leader = Some(Peer::default());
    assert!(region.known_leader().is_some());
}

/// One report: id, start, length (0 is to the end), conf_ver, version, term.
type Report = (u64, u8, u8, u64, u64, u64);

fn to_info((id, start, len, conf_ver, version, term): Report) -> RegionInfo {
    let key = |n: u8| {
        if n == 0 {
            String::new()
        } else {
            format!("{n:03}")
        }
    };
    let end = if len == 0 { 0 } else { start + len };
    info(id, (&key(start), &key(end)), (conf_ver, version), term)
}

fn overlap(a: &Region, b: &Region) -> bool {
    before_end(a.get_start_key(), b.get_end_key()) && before_end(b.get_start_key(), a.get_end_key())
}

proptest! {
    /// The tree agrees with a plain list that follows the rules literally.
    #[test]
    fn the_tree_is_the_naive_list(
        reports in proptest::collection::vec((1u64..6, 0u8..20, 0u8..10, 1u64..4, 1u64..6, 0u64..4), 1..60)
    ) {
        let mut tree = RegionTree::default();
        let mut list: Vec<RegionInfo> = Vec::new();
        for new in reports.into_iter().map(to_info) {
            let epoch = new.region.get_region_epoch();
            let stale = list.iter().any(|old| {
                let old_epoch = old.region.get_region_epoch();
                let same = old.region.get_id() == new.region.get_id();
                (overlap(&old.region, &new.region) && old_epoch.get_version() > epoch.get_version())
                    || (same && new.term > 0 && new.term < old.term)
                    || (same && old_epoch.get_version() > epoch.get_version())
                    || (same && old_epoch.get_conf_ver() > epoch.get_conf_ver())
            });
            let outcome = report(&mut tree, new.clone());
            prop_assert_eq!(outcome.is_err(), stale);
            if !stale {
                list.retain(|old| {
                    old.region.get_id() != new.region.get_id() && !overlap(&old.region, &new.region)
                });
                list.push(new);
                list.sort_by(|a, b| a.region.get_start_key().cmp(b.region.get_start_key()));
            }
            prop_assert_eq!(ids(tree.scan(b"", b"")), ids(&list));
            for n in 0..30u8 {
                let key = format!("{n:03}");
                let expected = list.iter().find(|info| {
                    info.region.get_start_key() <= key.as_bytes()
                        && before_end(key.as_bytes(), info.region.get_end_key())
                });
                prop_assert_eq!(ids(tree.find(key.as_bytes())), ids(expected));
            }
        }
    }
}
