//! `etcdserverpb.Cluster.MemberList` and `etcdserverpb.Maintenance.Status`: who is there.

use grpcio::{RpcContext, UnarySink};
use kvproto::etcdserverpb::{
    Cluster, Maintenance, Member, MemberListRequest, MemberListResponse, StatusRequest,
    StatusResponse,
};

use super::super::Service;
use crate::Error;

/// The release of etcd whose behaviour this is: clients choose what they ask for by it.
const ETCD_VERSION: &str = "3.5.15";

impl Cluster for Service {
    fn member_list(
        &mut self,
        ctx: RpcContext<'_>,
        _: MemberListRequest,
        sink: UnarySink<MemberListResponse>,
    ) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move {
            let revision = shared.read_etcd(|etcd| Ok(etcd.revision())).await?;
            let known = shared.member.get().ok_or(Error::Stopped)?;
            let mut member = Member::default();
            member.set_ID(known.get_member_id());
            member.set_name(known.get_name().to_owned());
            member.set_clientURLs(known.get_client_urls().to_vec().into());
            let mut response = MemberListResponse::default();
            response.set_header(shared.etcd_header(revision));
            response.mut_members().push(member);
            Ok(response)
        });
    }
}

impl Maintenance for Service {
    fn status(&mut self, ctx: RpcContext<'_>, _: StatusRequest, sink: UnarySink<StatusResponse>) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move {
            let look = |etcd: &crate::etcd::EtcdState| {
                Ok((
                    etcd.revision(),
                    etcd.total_bytes(),
                    etcd.live_bytes(),
                    etcd.limits().live_bytes_max,
                ))
            };
            let (revision, total, live, quota) = shared.read_etcd(look).await?;
            let size = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
            let mut response = StatusResponse::default();
            response.set_header(shared.etcd_header(revision));
            response.set_version(ETCD_VERSION.to_owned());
            response.set_dbSize(size(total));
            response.set_dbSizeInUse(size(live));
            response.set_dbSizeQuota(size(quota));
            response.set_leader(response.get_header().get_member_id());
            response.set_raftTerm(response.get_header().get_raft_term());
            // Every revision was one entry of the log that a replicated store would have.
            response.set_raftIndex(revision.unsigned_abs());
            response.set_raftAppliedIndex(revision.unsigned_abs());
            Ok(response)
        });
    }
}
