//! `etcdserverpb.KV`: Range, Put, DeleteRange, Txn, Compact.

use grpcio::{RpcContext, UnarySink};
use kvproto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, Kv, PutRequest,
    PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use protobuf::Message as _;

use super::super::{Service, Shared};
use crate::Result;
use crate::etcd::txn_writes;

impl Kv for Service {
    fn range(&mut self, ctx: RpcContext<'_>, req: RangeRequest, sink: UnarySink<RangeResponse>) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move {
            let mut response = shared.read_etcd(|etcd| etcd.range(&req)).await?;
            shared.fill_etcd_header(response.mut_header());
            Ok(response)
        });
    }

    fn put(&mut self, ctx: RpcContext<'_>, req: PutRequest, sink: UnarySink<PutResponse>) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move {
            let plan = shared.change_etcd(req.compute_size(), move |etcd| etcd.plan_put(&req));
            let mut response = plan.await?;
            shared.fill_etcd_header(response.mut_header());
            Ok(response)
        });
    }

    fn delete_range(
        &mut self,
        ctx: RpcContext<'_>,
        req: DeleteRangeRequest,
        sink: UnarySink<DeleteRangeResponse>,
    ) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move {
            let bytes = req.compute_size();
            let plan = shared.change_etcd(bytes, move |etcd| etcd.plan_delete_range(&req));
            let mut response = plan.await?;
            shared.fill_etcd_header(response.mut_header());
            Ok(response)
        });
    }

    fn txn(&mut self, ctx: RpcContext<'_>, req: TxnRequest, sink: UnarySink<TxnResponse>) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move {
            let mut response = transaction(&shared, req).await?;
            shared.fill_etcd_header(response.mut_header());
            Ok(response)
        });
    }

    fn compact(
        &mut self,
        ctx: RpcContext<'_>,
        req: CompactionRequest,
        sink: UnarySink<CompactionResponse>,
    ) {
        let shared = self.shared.clone();
        self.answer_etcd(&ctx, sink, async move {
            let plan = shared.change_etcd(req.compute_size(), move |etcd| {
                let changes = etcd.plan_compact(req.get_revision())?;
                Ok((changes, etcd.revision()))
            });
            let mut response = CompactionResponse::default();
            response.set_header(shared.etcd_header(plan.await?));
            Ok(response)
        });
    }
}

/// A transaction that only reads does not wait behind those that write.
async fn transaction(shared: &Shared, req: TxnRequest) -> Result<TxnResponse> {
    if txn_writes(&req) {
        let bytes = req.compute_size();
        return shared
            .change_etcd(bytes, move |etcd| etcd.plan_txn(&req))
            .await;
    }
    shared
        .read_etcd(|etcd| etcd.plan_txn(&req).map(|(_, response)| response))
        .await
}
