//! The gRPC face: checks in the order that clients rely on, translation, nothing else.
//!
//! Order of checks of every call, unless its handler says otherwise: the cluster id of the header
//! (gRPC status), bootstrapped or not (error in the header), then what the call itself demands
//! (error in the header). A response always carries its header, and `error` only when there is one.

mod etcd;
mod events;
mod gc;
mod global_config;
mod health;
mod keyspace;
mod meta_storage;
mod pd;
mod regions;
mod reply;
mod resource;
mod streams;

use std::sync::{Arc, OnceLock};

use kvproto::pdpb;
use runtime::{Runtime, Shutdown};

use crate::cluster::Cluster;
use crate::gc_report::GcReports;
use crate::oracle::Oracle;
use crate::{Error, Result};

/// Implements every gRPC service of the placement driver. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    pub(crate) shared: Arc<Shared>,
}

/// What all calls share.
pub(crate) struct Shared {
    pub(crate) cluster_id: u64,
    /// This member, as clients are told. It is the only one, hence the leader.
    /// Set when the ports are known, before the first call is taken.
    pub(crate) member: OnceLock<pdpb::Member>,
    pub(crate) cluster: Cluster,
    pub(crate) oracle: Arc<Oracle>,
    pub(crate) gc_reports: GcReports,
    pub(crate) runtime: Runtime,
    /// Set off when the server stops: streams end then.
    pub(crate) stop: Shutdown,
}

impl Service {
    pub(crate) fn new(shared: Shared) -> Service {
        Service {
            shared: Arc::new(shared),
        }
    }

    pub(crate) fn set_member(&self, member: pdpb::Member) {
        self.shared.member.get_or_init(|| member);
    }

    pub(crate) fn client_urls(&self) -> Vec<String> {
        let member = self.shared.member.get();
        member.map_or_else(Vec::new, |member| member.get_client_urls().to_vec())
    }

    /// The id of the cluster, never 0.
    pub fn cluster_id(&self) -> u64 {
        self.shared.cluster_id
    }
}

impl Shared {
    /// Whether the request is meant for this cluster, while this server runs.
    pub(crate) fn check_header(&self, header: &pdpb::RequestHeader) -> Result<()> {
        self.check_cluster_id(header.get_cluster_id())
    }

    fn check_cluster_id(&self, got: u64) -> Result<()> {
        if self.stop.is_triggered() {
            return Err(Error::Stopped);
        }
        if got != self.cluster_id {
            return Err(Error::ClusterIdMismatch {
                expected: self.cluster_id,
                got,
            });
        }
        Ok(())
    }

    /// The header of an answer without error.
    pub(crate) fn header(&self) -> pdpb::ResponseHeader {
        let mut header = pdpb::ResponseHeader::default();
        header.set_cluster_id(self.cluster_id);
        header
    }
}
