//! `meta_storagepb.MetaStorage`: the revisioned store in the words of stores, which keep their
//! resource groups and backup tasks there. It needs no first region.

use futures::{FutureExt as _, SinkExt as _};
use grpcio::{RpcContext, RpcStatus, ServerStreamingSink, UnarySink, WriteFlags};
use kvproto::etcdserverpb::{DeleteRangeRequest, PutRequest as EtcdPut, RangeRequest};
use kvproto::meta_storagepb::{
    DeleteRequest, DeleteResponse, Error as MetaError, ErrorType, Event, Event_EventType,
    GetRequest, GetResponse, KeyValue, MetaStorage, PutRequest, PutResponse, RequestHeader,
    ResponseHeader, WatchRequest, WatchResponse,
};
use kvproto::mvccpb;
use protobuf::Message as _;

use super::events::Follower;
use super::reply::Refusal;
use super::{Service, Shared};
use crate::etcd::{EtcdError, EtcdState, Interest, KeyRange};
use crate::{Error, Result};

/// An answer that carries a header of this service.
trait MetaReply: Default + Send + 'static {
    fn put_header(&mut self, header: ResponseHeader);
}

macro_rules! replies {
    ($($message:ty),*) => {
        $(impl MetaReply for $message {
            fn put_header(&mut self, header: ResponseHeader) {
                self.set_header(header);
            }
        })*
    };
}

replies!(GetResponse, PutResponse, DeleteResponse, WatchResponse);

impl MetaStorage for Service {
    fn get(&mut self, ctx: RpcContext<'_>, req: GetRequest, sink: UnarySink<GetResponse>) {
        let service = self.clone();
        self.answer_meta(&ctx, sink, async move {
            service.check_meta(req.get_header())?;
            let look = |etcd: &EtcdState| {
                let mut range = RangeRequest::default();
                range.set_key(req.get_key().to_vec());
                range.set_range_end(req.get_range_end().to_vec());
                range.set_limit(req.get_limit());
                range.set_revision(req.get_revision());
                etcd.range(&range)
            };
            let mut found = service.shared.read_etcd(look).await?;
            let mut response = GetResponse::default();
            let kvs = found.take_kvs().into_iter().map(key_value);
            response.set_kvs(kvs.collect());
            response.set_more(found.get_more());
            response.set_count(found.get_count());
            Ok((response, found.get_header().get_revision()))
        });
    }

    fn put(&mut self, ctx: RpcContext<'_>, mut req: PutRequest, sink: UnarySink<PutResponse>) {
        let service = self.clone();
        self.answer_meta(&ctx, sink, async move {
            service.check_meta(req.get_header())?;
            let bytes = req.compute_size();
            let mut put = EtcdPut::default();
            put.set_key(req.take_key());
            put.set_value(req.take_value());
            put.set_lease(req.get_lease());
            put.set_prev_kv(req.get_prev_kv());
            let plan = move |etcd: &EtcdState| etcd.plan_put(&put);
            let mut done = service.shared.change_etcd(bytes, plan).await?;
            let mut response = PutResponse::default();
            if done.has_prev_kv() {
                response.set_prev_kv(key_value(done.take_prev_kv()));
            }
            Ok((response, done.get_header().get_revision()))
        });
    }

    fn delete(
        &mut self,
        ctx: RpcContext<'_>,
        mut req: DeleteRequest,
        sink: UnarySink<DeleteResponse>,
    ) {
        let service = self.clone();
        self.answer_meta(&ctx, sink, async move {
            service.check_meta(req.get_header())?;
            let bytes = req.compute_size();
            let mut delete = DeleteRangeRequest::default();
            delete.set_key(req.take_key());
            delete.set_range_end(req.take_range_end());
            delete.set_prev_kv(req.get_prev_kv());
            let plan = move |etcd: &EtcdState| etcd.plan_delete_range(&delete);
            let mut done = service.shared.change_etcd(bytes, plan).await?;
            let mut response = DeleteResponse::default();
            response.set_deleted(done.get_deleted());
            let previous = done.take_prev_kvs().into_iter().map(key_value);
            response.set_prev_kvs(previous.collect());
            Ok((response, done.get_header().get_revision()))
        });
    }

    fn watch(
        &mut self,
        ctx: RpcContext<'_>,
        req: WatchRequest,
        sink: ServerStreamingSink<WatchResponse>,
    ) {
        let watching = watch(self.clone(), req, sink);
        ctx.spawn(watching.map(drop));
    }
}

async fn watch(
    service: Service,
    req: WatchRequest,
    mut sink: ServerStreamingSink<WatchResponse>,
) -> grpcio::Result<()> {
    let interest = Interest {
        keys: KeyRange::new(req.get_key(), req.get_range_end()),
        puts: true,
        deletes: true,
        previous: req.get_prev_kv(),
    };
    let shared = &service.shared;
    let begun = async {
        service.check_meta(req.get_header())?;
        if req.get_key().is_empty() {
            return Err(EtcdError::EmptyKey.into());
        }
        Follower::new(shared, interest, req.get_start_revision()).await
    };
    let mut follower = match begun.await {
        Ok(follower) => follower,
        Err(error) => return end(&service, error, sink).await,
    };
    loop {
        let (batch, revision) = match follower.next(shared).await {
            Ok(found) => found,
            Err(error) => return end(&service, error, sink).await,
        };
        let mut response = WatchResponse::default();
        response.set_events(batch.events.into_iter().map(event).collect());
        response.set_header(meta_header(shared, revision));
        sink.send((response, WriteFlags::default())).await?;
    }
}

/// The last words of a watch: in a header where the protocol has a place for them.
async fn end(
    service: &Service,
    error: Error,
    mut sink: ServerStreamingSink<WatchResponse>,
) -> grpcio::Result<()> {
    let compacted = match &error {
        Error::Etcd(EtcdError::Compacted { compact_revision }) => *compact_revision,
        _ => 0,
    };
    match service.complete_meta::<WatchResponse>(Err(error)) {
        Ok(mut response) => {
            response.set_compact_revision(compacted);
            sink.send((response, WriteFlags::default())).await?;
            sink.close().await
        }
        Err(status) => sink.fail(status).await,
    }
}

impl Service {
    fn check_meta(&self, header: &RequestHeader) -> Result<()> {
        self.shared.check_cluster_id(header.get_cluster_id())
    }

    /// A result is an answer and the revision it was given at.
    fn complete_meta<R: MetaReply>(
        &self,
        result: Result<(R, i64)>,
    ) -> std::result::Result<R, RpcStatus> {
        let mut header = meta_header(&self.shared, 0);
        let error = match result {
            Ok((mut response, revision)) => {
                header.set_revision(revision);
                response.put_header(header);
                return Ok(response);
            }
            Err(error) => error,
        };
        let kind = match &error {
            Error::Etcd(EtcdError::Compacted { .. }) => ErrorType::DATA_COMPACTED,
            _ => ErrorType::UNKNOWN,
        };
        let text = error.to_string();
        match (Refusal::from(error.clone()), error) {
            (_, Error::Etcd(_)) | (Refusal::Header(..), _) => {}
            (Refusal::Status(status), _) => return Err(status),
        }
        let mut told = MetaError::default();
        told.set_field_type(kind);
        told.set_message(text);
        header.set_error(told);
        let mut response = R::default();
        response.put_header(header);
        Ok(response)
    }

    fn answer_meta<R: MetaReply>(
        &self,
        ctx: &RpcContext<'_>,
        sink: UnarySink<R>,
        work: impl Future<Output = Result<(R, i64)>> + Send + 'static,
    ) {
        let service = self.clone();
        let answering = async move {
            let sent = match service.complete_meta(work.await) {
                Ok(response) => sink.success(response).await,
                Err(status) => sink.fail(status).await,
            };
            if let Err(error) = sent {
                tracing::debug!(error = %error, "answer not delivered");
            }
        };
        ctx.spawn(answering.map(drop));
    }
}

fn meta_header(shared: &Shared, revision: i64) -> ResponseHeader {
    let mut header = ResponseHeader::default();
    header.set_cluster_id(shared.cluster_id);
    header.set_revision(revision);
    header
}

fn key_value(mut kv: mvccpb::KeyValue) -> KeyValue {
    let mut told = KeyValue::default();
    told.set_key(kv.take_key());
    told.set_value(kv.take_value());
    told.set_create_revision(kv.get_create_revision());
    told.set_mod_revision(kv.get_mod_revision());
    told.set_version(kv.get_version());
    told.set_lease(kv.get_lease());
    told
}

fn event(mut event: mvccpb::Event) -> Event {
    let mut told = Event::default();
    told.set_field_type(match event.get_field_type() {
        mvccpb::Event_EventType::PUT => Event_EventType::PUT,
        mvccpb::Event_EventType::DELETE => Event_EventType::DELETE,
    });
    told.set_kv(key_value(event.take_kv()));
    if event.has_prev_kv() {
        told.set_prev_kv(key_value(event.take_prev_kv()));
    }
    told
}
