//! The newest heartbeat of each region, and which of them still have to be sent. No IO.
//!
//! A region that reports faster than the stream drains is sent once, with its newest report: the
//! outbox holds at most one message per region of the store.

use std::collections::{HashMap, HashSet, VecDeque};

use kvproto::pdpb::RegionHeartbeatRequest;

/// See the module.
#[derive(Default)]
pub(crate) struct HeartbeatOutbox {
    newest: HashMap<u64, RegionHeartbeatRequest>,
    order: VecDeque<u64>,
    unsent: HashSet<u64>,
}

impl HeartbeatOutbox {
    /// Takes a report in place of the region's earlier one.
    pub(crate) fn put(&mut self, heartbeat: RegionHeartbeatRequest) {
        let region_id = heartbeat.get_region().get_id();
        self.newest.insert(region_id, heartbeat);
        self.mark(region_id);
    }

    /// Drops a region.
    pub(crate) fn forget(&mut self, region_id: u64) {
        self.newest.remove(&region_id);
        if self.unsent.remove(&region_id) {
            self.order.retain(|id| *id != region_id);
        }
    }

    /// The next report to send.
    pub(crate) fn next(&mut self) -> Option<RegionHeartbeatRequest> {
        let region_id = self.order.pop_front()?;
        self.unsent.remove(&region_id);
        self.newest.get(&region_id).cloned()
    }

    /// A new stream begins: its other end may know nothing.
    pub(crate) fn restart(&mut self) {
        let mut ids: Vec<u64> = self.newest.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            self.mark(id);
        }
    }

    fn mark(&mut self, region_id: u64) {
        if self.unsent.insert(region_id) {
            self.order.push_back(region_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heartbeat(region_id: u64, term: u64) -> RegionHeartbeatRequest {
        let mut heartbeat = RegionHeartbeatRequest::default();
        heartbeat.mut_region().set_id(region_id);
        heartbeat.set_term(term);
        heartbeat
    }

    fn drain(outbox: &mut HeartbeatOutbox) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| outbox.next())
            .map(|heartbeat| (heartbeat.get_region().get_id(), heartbeat.get_term()))
            .collect()
    }

    #[test]
    fn the_newest_report_of_each_region_is_sent_once_and_again_after_a_restart() {
        let mut outbox = HeartbeatOutbox::default();
        for (region_id, term) in [(3, 1), (1, 1), (3, 2)] {
            outbox.put(heartbeat(region_id, term));
        }
        assert_eq!(drain(&mut outbox), [(3, 2), (1, 1)]);
        assert_eq!(drain(&mut outbox), []);
        outbox.put(heartbeat(1, 4));
        outbox.restart();
        assert_eq!(drain(&mut outbox), [(1, 4), (3, 2)]);
        outbox.put(heartbeat(3, 5));
        outbox.forget(3);
        outbox.restart();
        assert_eq!(drain(&mut outbox), [(1, 4)]);
    }
}
