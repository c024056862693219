//! Golden scripts: `testdata/etcd/*.txt`, each one history from an empty store.
//!
//! A block is a command with `name=value` arguments and flags, lines below it for `txn`, a line
//! `----` and the answer; an empty line ends it. Lines that start with `#` explain. `BLESS=1` writes
//! the answers of this build.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use kvproto::etcdserverpb::{
    Compare, Compare_CompareResult, Compare_CompareTarget, DeleteRangeRequest, PutRequest,
    RangeRequest, RangeRequest_SortOrder, RangeRequest_SortTarget, RequestOp,
    ResponseOp_oneof_response, TxnRequest, TxnResponse,
};
use kvproto::mvccpb::{Event_EventType, KeyValue};
use runtime::VirtualClock;

use super::disk::Disk;
use crate::etcd::{EtcdChange, EtcdLimits, EtcdResult, Interest, KeyRange};

struct Line<'a> {
    command: &'a str,
    args: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Line<'a> {
        let mut words = line.split_whitespace();
        Line {
            command: words.next().unwrap(),
            args: words
                .map(|word| word.split_once('=').unwrap_or((word, "")))
                .collect(),
        }
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        self.args
            .iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| *value)
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn number(&self, name: &str) -> i64 {
        self.get(name).map_or(0, |text| text.parse().unwrap())
    }

    /// `*` is the byte 0: as an end everything above.
    fn bytes(&self, name: &str) -> Vec<u8> {
        let text = self.get(name).unwrap_or_default();
        text.replace('*', "\0").into_bytes()
    }

    fn put(&self) -> PutRequest {
        let mut req = PutRequest::default();
        req.set_key(self.bytes("key"));
        req.set_value(self.bytes("value"));
        req.set_lease(self.number("lease"));
        req.set_prev_kv(self.flag("prev"));
        req.set_ignore_value(self.flag("ignore-value"));
        req.set_ignore_lease(self.flag("ignore-lease"));
        req
    }

    fn delete(&self) -> DeleteRangeRequest {
        let mut req = DeleteRangeRequest::default();
        req.set_key(self.bytes("key"));
        req.set_range_end(self.bytes("end"));
        req.set_prev_kv(self.flag("prev"));
        req
    }

    fn range(&self) -> RangeRequest {
        let mut req = RangeRequest::default();
        req.set_key(self.bytes("key"));
        req.set_range_end(self.bytes("end"));
        req.set_revision(self.number("rev"));
        req.set_limit(self.number("limit"));
        req.set_keys_only(self.flag("keys-only"));
        req.set_count_only(self.flag("count-only"));
        req.set_max_create_revision(self.number("max-create"));
        req.set_min_mod_revision(self.number("min-mod"));
        req.set_sort_target(match self.get("sort") {
            Some("create") => RangeRequest_SortTarget::CREATE,
            Some("mod") => RangeRequest_SortTarget::MOD,
            Some("version") => RangeRequest_SortTarget::VERSION,
            Some("value") => RangeRequest_SortTarget::VALUE,
            _ => RangeRequest_SortTarget::KEY,
        });
        if self.flag("desc") {
            req.set_sort_order(RangeRequest_SortOrder::DESCEND);
        }
        req
    }

    fn compare(&self) -> Compare {
        let mut compare = Compare::default();
        compare.set_key(self.bytes("key"));
        compare.set_range_end(self.bytes("end"));
        let (name, text) = *self
            .args
            .iter()
            .find(|(name, _)| ["version", "create", "mod", "value", "lease"].contains(name))
            .unwrap();
        let (result, text) = match text.split_at_checked(1) {
            Some((">", rest)) => (Compare_CompareResult::GREATER, rest),
            Some(("<", rest)) => (Compare_CompareResult::LESS, rest),
            Some(("!", rest)) => (Compare_CompareResult::NOT_EQUAL, rest),
            _ => (Compare_CompareResult::EQUAL, text),
        };
        compare.set_result(result);
        let number = || text.parse().unwrap();
        match name {
            "version" => compare.set_version(number()),
            "create" => compare.set_create_revision(number()),
            "mod" => compare.set_mod_revision(number()),
            "lease" => compare.set_lease(number()),
            _ => compare.set_value(text.as_bytes().to_vec()),
        }
        compare.set_target(match name {
            "version" => Compare_CompareTarget::VERSION,
            "create" => Compare_CompareTarget::CREATE,
            "mod" => Compare_CompareTarget::MOD,
            "lease" => Compare_CompareTarget::LEASE,
            _ => Compare_CompareTarget::VALUE,
        });
        compare
    }

    fn op(&self) -> RequestOp {
        let mut op = RequestOp::default();
        match self.command {
            "put" => op.set_request_put(self.put()),
            "del" => op.set_request_delete_range(self.delete()),
            "get" => op.set_request_range(self.range()),
            other => panic!("no operation {other}"),
        }
        op
    }
}

fn show(kv: &KeyValue) -> String {
    let mut text = format!(
        "{}={} create={} mod={} version={}",
        kv.get_key().escape_ascii(),
        kv.get_value().escape_ascii(),
        kv.get_create_revision(),
        kv.get_mod_revision(),
        kv.get_version()
    );
    if kv.get_lease() != 0 {
        write!(text, " lease={}", kv.get_lease()).unwrap();
    }
    text
}

fn show_txn(response: &TxnResponse) -> Vec<String> {
    let mut out = vec![format!("succeeded={}", response.get_succeeded())];
    for op in response.get_responses() {
        match op.response.as_ref().unwrap() {
            ResponseOp_oneof_response::response_put(put) => {
                out.push("put".to_owned());
                if put.has_prev_kv() {
                    out.push(format!("  was {}", show(put.get_prev_kv())));
                }
            }
            ResponseOp_oneof_response::response_delete_range(delete) => {
                out.push(format!("deleted {}", delete.get_deleted()));
            }
            ResponseOp_oneof_response::response_range(range) => {
                out.push(format!("count={}", range.get_count()));
                out.extend(range.get_kvs().iter().map(|kv| format!("  {}", show(kv))));
            }
            ResponseOp_oneof_response::response_txn(txn) => out.extend(show_txn(txn)),
        }
    }
    out
}

struct World {
    disk: Disk,
    clock: VirtualClock,
}

impl World {
    fn commit<R>(&mut self, planned: EtcdResult<(Vec<EtcdChange>, R)>) -> EtcdResult<R> {
        let (changes, answer) = planned?;
        self.disk.commit(changes);
        Ok(answer)
    }

    fn call(&mut self, line: &Line<'_>, below: &[&str]) -> EtcdResult<Vec<String>> {
        let now = self.clock.now();
        let state = &self.disk.state;
        match line.command {
            "put" => {
                let response = self.commit(state.plan_put(&line.put()))?;
                let mut out = vec![format!("rev={}", response.get_header().get_revision())];
                if response.has_prev_kv() {
                    out.push(format!("was {}", show(response.get_prev_kv())));
                }
                Ok(out)
            }
            "del" => {
                let response = self.commit(state.plan_delete_range(&line.delete()))?;
                let revision = response.get_header().get_revision();
                let mut out = vec![format!("rev={revision} deleted={}", response.get_deleted())];
                out.extend(
                    response
                        .get_prev_kvs()
                        .iter()
                        .map(|kv| format!("was {}", show(kv))),
                );
                Ok(out)
            }
            "get" => {
                let response = state.range(&line.range())?;
                let (revision, count) =
                    (response.get_header().get_revision(), response.get_count());
                let more = if response.get_more() { " more" } else { "" };
                let mut out = vec![format!("rev={revision} count={count}{more}")];
                out.extend(response.get_kvs().iter().map(show));
                Ok(out)
            }
            "txn" => {
                let mut req = TxnRequest::default();
                for text in below {
                    let (part, rest) = text.split_once(' ').unwrap();
                    match part {
                        "if" => req.mut_compare().push(Line::parse(text).compare()),
                        "then" => req.mut_success().push(Line::parse(rest).op()),
                        _ => req.mut_failure().push(Line::parse(rest).op()),
                    }
                }
                let response = self.commit(state.plan_txn(&req))?;
                let mut out = vec![format!("rev={}", response.get_header().get_revision())];
                out.extend(show_txn(&response));
                Ok(out)
            }
            "watch" => {
                let interest = Interest {
                    keys: KeyRange::new(&line.bytes("key"), &line.bytes("end")),
                    puts: !line.flag("no-put"),
                    deletes: !line.flag("no-delete"),
                    previous: line.flag("prev"),
                };
                let batch = state.events(&interest, line.number("from"), usize::MAX)?;
                let mut out = vec![format!("next={}", batch.next_revision)];
                for event in &batch.events {
                    let kind = match event.get_field_type() {
                        Event_EventType::PUT => "PUT",
                        Event_EventType::DELETE => "DELETE",
                    };
                    out.push(format!("{kind} {}", show(event.get_kv())));
                    if event.has_prev_kv() {
                        out.push(format!("  was {}", show(event.get_prev_kv())));
                    }
                }
                Ok(out)
            }
            "compact" => {
                let changes = state.plan_compact(line.number("rev"))?;
                self.disk.commit(changes);
                Ok(vec![format!("records={}", self.disk.records())])
            }
            "crash" => {
                self.disk.crash(now);
                Ok(vec![format!("rev={}", self.disk.state.revision())])
            }
            _ => self.lease(line),
        }
    }

    fn lease(&mut self, line: &Line<'_>) -> EtcdResult<Vec<String>> {
        let now = self.clock.now();
        let state = &self.disk.state;
        let id = line.number("id");
        match line.command {
            "grant" => {
                let ttl = self.commit(state.plan_lease_grant(id, line.number("ttl"), now))?;
                Ok(vec![format!("ttl={ttl}")])
            }
            "revoke" => {
                let changes = state.plan_lease_revoke(id)?;
                self.disk.commit(changes);
                Ok(vec![format!("rev={}", self.disk.state.revision())])
            }
            "renew" => {
                let ttl = self.commit(state.plan_lease_renew(id, now))?;
                Ok(vec![format!("ttl={ttl}")])
            }
            "lease" => Ok(vec![match state.leases().live(id, now) {
                Some(lease) => {
                    let keys: Vec<_> = lease.keys().map(|k| k.escape_ascii().to_string()).collect();
                    let (ttl, left) = (lease.ttl, lease.remaining(now));
                    format!("ttl={ttl} remaining={left} keys={}", keys.join(","))
                }
                None => "none".to_owned(),
            }]),
            "wait" => {
                let seconds = u64::try_from(line.number("s")).unwrap();
                self.clock.advance(Duration::from_secs(seconds));
                let changes = state.plan_lease_expire(self.clock.now());
                self.disk.commit(changes);
                Ok(vec![format!("rev={}", self.disk.state.revision())])
            }
            other => panic!("no command {other}"),
        }
    }
}

fn replay(script: &str) -> String {
    let mut world = World {
        disk: Disk::new(EtcdLimits::default()),
        clock: VirtualClock::new(),
    };
    let mut out = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(out, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut below = Vec::new();
        while let Some(line) = lines.next_if(|line| *line != "----" && !line.is_empty()) {
            writeln!(out, "{line}").unwrap();
            below.push(line.trim());
        }
        if lines.next_if_eq(&"----").is_some() {
            while lines.next_if(|line| !line.is_empty()).is_some() {}
        }
        out.push_str("----\n");
        match world.call(&Line::parse(line), &below) {
            Ok(answer) => answer
                .iter()
                .for_each(|line| writeln!(out, "{line}").unwrap()),
            Err(error) => writeln!(out, "{error}").unwrap(),
        }
    }
    out
}

#[test]
fn scripts_answer_as_recorded() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/etcd");
    let mut scripts: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for path in scripts {
        let recorded = std::fs::read_to_string(&path).unwrap();
        let answered = replay(&recorded);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, answered).unwrap();
        } else {
            assert_eq!(recorded, answered, "{}", path.display());
        }
    }
}
