//! `etcdserverpb.Lease`: all five calls.

use futures::{SinkExt as _, StreamExt as _};
use grpcio::{DuplexSink, RequestStream, RpcContext, UnarySink, WriteFlags};
use kvproto::etcdserverpb::{
    Lease, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use protobuf::Message as _;

use super::super::streams::malformed;
use super::super::{Service, Shared};
use super::status_of;
use crate::etcd::EtcdError;
use crate::{Error, Result};

impl Lease for Service {
    fn lease_grant(
        &mut self,
        ctx: RpcContext<'_>,
        req: LeaseGrantRequest,
        sink: UnarySink<LeaseGrantResponse>,
    ) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move {
            let now = shared.runtime.clock.now();
            // Positive, like those that clients of etcd are used to see.
            let random = (shared.runtime.rng.u64() >> 1).max(1).cast_signed();
            let plan = shared.change_etcd(req.compute_size(), move |etcd| {
                let id = match req.get_ID() {
                    0 => (random..)
                        .find(|id| etcd.leases().get(*id).is_none())
                        .unwrap_or(random),
                    id => id,
                };
                let (changes, ttl) = etcd.plan_lease_grant(id, req.get_TTL(), now)?;
                Ok((changes, (id, ttl, etcd.revision())))
            });
            let (id, ttl, revision) = plan.await?;
            let mut response = LeaseGrantResponse::default();
            response.set_header(shared.etcd_header(revision));
            response.set_ID(id);
            response.set_TTL(ttl);
            Ok(response)
        });
    }

    fn lease_revoke(
        &mut self,
        ctx: RpcContext<'_>,
        req: LeaseRevokeRequest,
        sink: UnarySink<LeaseRevokeResponse>,
    ) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move {
            let plan = shared.change_etcd(req.compute_size(), move |etcd| {
                let changes = etcd.plan_lease_revoke(req.get_ID())?;
                // Its keys go in a revision of their own, if there are any.
                let writes = changes.len() > 1;
                Ok((changes, etcd.revision() + i64::from(writes)))
            });
            let mut response = LeaseRevokeResponse::default();
            response.set_header(shared.etcd_header(plan.await?));
            Ok(response)
        });
    }

    fn lease_keep_alive(
        &mut self,
        ctx: RpcContext<'_>,
        stream: RequestStream<LeaseKeepAliveRequest>,
        sink: DuplexSink<LeaseKeepAliveResponse>,
    ) {
        ctx.spawn(keep_alive(self.clone(), stream, sink));
    }

    fn lease_time_to_live(
        &mut self,
        ctx: RpcContext<'_>,
        req: LeaseTimeToLiveRequest,
        sink: UnarySink<LeaseTimeToLiveResponse>,
    ) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move { time_to_live(&shared, &req).await });
    }

    fn lease_leases(
        &mut self,
        ctx: RpcContext<'_>,
        _: LeaseLeasesRequest,
        sink: UnarySink<LeaseLeasesResponse>,
    ) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move {
            let look = shared.read_etcd(|etcd| {
                let statuses = etcd.leases().ids().map(|id| {
                    let mut status = LeaseStatus::default();
                    status.set_ID(id);
                    status
                });
                Ok((etcd.revision(), statuses.collect::<Vec<_>>()))
            });
            let (revision, leases) = look.await?;
            let mut response = LeaseLeasesResponse::default();
            response.set_header(shared.etcd_header(revision));
            response.set_leases(leases.into());
            Ok(response)
        });
    }
}

/// A lease that does not exist has the time -1, which is no error.
async fn time_to_live(
    shared: &Shared,
    req: &LeaseTimeToLiveRequest,
) -> Result<LeaseTimeToLiveResponse> {
    let now = shared.runtime.clock.now();
    let look = shared.read_etcd(|etcd| {
        let mut response = LeaseTimeToLiveResponse::default();
        response.mut_header().set_revision(etcd.revision());
        response.set_ID(req.get_ID());
        response.set_TTL(-1);
        if let Some(lease) = etcd.leases().live(req.get_ID(), now) {
            response.set_TTL(lease.remaining(now));
            response.set_grantedTTL(lease.ttl);
            if req.get_keys() {
                response.set_keys(lease.keys().map(<[u8]>::to_vec).collect());
            }
        }
        Ok(response)
    });
    let mut response = look.await?;
    shared.fill_etcd_header(response.mut_header());
    Ok(response)
}

/// Signs of life, answered in their order. One for a lease that does not exist is answered with the
/// time 0 and leaves the stream open.
async fn keep_alive(
    service: Service,
    mut stream: RequestStream<LeaseKeepAliveRequest>,
    mut sink: DuplexSink<LeaseKeepAliveResponse>,
) {
    let shared = &service.shared;
    let serving = async {
        loop {
            let request = tokio::select! {
                biased;
                () = shared.stop.wait() => return Err(status_of(&Error::Stopped)),
                request = stream.next() => request,
            };
            let request = match request {
                None => return Ok(()),
                Some(Ok(request)) => request,
                Some(Err(error)) => return malformed(&error).map_or(Ok(()), Err),
            };
            let renewed = renew(shared, request.get_ID()).await;
            let response = renewed.map_err(|error| status_of(&error))?;
            if sink.send((response, WriteFlags::default())).await.is_err() {
                return Ok(());
            }
        }
    };
    let sent = match serving.await {
        Ok(()) => sink.close().await,
        Err(status) => sink.fail(status).await,
    };
    if let Err(error) = sent {
        tracing::debug!(error = %error, "stream ended without its client");
    }
}

async fn renew(shared: &Shared, id: i64) -> Result<LeaseKeepAliveResponse> {
    let now = shared.runtime.clock.now();
    let plan = move |etcd: &crate::etcd::EtcdState| {
        let (changes, ttl) = match etcd.plan_lease_renew(id, now) {
            Err(EtcdError::LeaseNotFound) => (Vec::new(), 0),
            planned => planned?,
        };
        Ok((changes, (ttl, etcd.revision())))
    };
    let (ttl, revision) = shared.change_etcd(0, plan).await?;
    let mut response = LeaseKeepAliveResponse::default();
    response.set_header(shared.etcd_header(revision));
    response.set_ID(id);
    response.set_TTL(ttl);
    Ok(response)
}
