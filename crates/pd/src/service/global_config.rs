//! The global configuration: named values below a path of the revisioned store, which clients
//! share. Requests carry no header, so there is no cluster to check.

use futures::{FutureExt as _, SinkExt as _};
use grpcio::{RpcContext, ServerStreamingSink, UnarySink, WriteFlags};
use kvproto::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use kvproto::mvccpb;
use kvproto::pdpb::{
    ErrorType, EventType, GlobalConfigItem, LoadGlobalConfigRequest, LoadGlobalConfigResponse,
    StoreGlobalConfigRequest, StoreGlobalConfigResponse, WatchGlobalConfigRequest,
    WatchGlobalConfigResponse,
};
use protobuf::Message as _;

use super::Service;
use super::events::Follower;
use super::reply::{Refusal, header_error};
use crate::etcd::{EtcdError, EtcdState, Interest, KeyRange};
use crate::{Error, Result};

/// The path of those who name none.
const DEFAULT_PATH: &str = "/global/config/";

/// Stores changes, all or none. A refusal stands in the answer.
pub(super) fn store(
    service: &Service,
    ctx: &RpcContext<'_>,
    req: StoreGlobalConfigRequest,
    sink: UnarySink<StoreGlobalConfigResponse>,
) {
    let service = service.clone();
    let answering = async move {
        let sent = match service.store_config(req).await.map_err(refusal) {
            Ok(()) => sink.success(StoreGlobalConfigResponse::default()).await,
            Err(Refusal::Status(status)) => sink.fail(status).await,
            Err(Refusal::Header(kind, text)) => {
                let mut response = StoreGlobalConfigResponse::default();
                response.set_error(header_error(kind, text));
                sink.success(response).await
            }
        };
        drop(sent);
    };
    ctx.spawn(answering);
}

/// Loads named values, or all below a path. A name without value is told in its own place.
pub(super) fn load(
    service: &Service,
    ctx: &RpcContext<'_>,
    req: LoadGlobalConfigRequest,
    sink: UnarySink<LoadGlobalConfigResponse>,
) {
    let service = service.clone();
    let answering = async move {
        // The answer has no place for an error.
        let sent = match service.load_config(&req).await.map_err(refusal) {
            Ok(response) => sink.success(response).await,
            Err(Refusal::Status(status)) => sink.fail(status).await,
            Err(Refusal::Header(_, text)) => {
                let code = grpcio::RpcStatusCode::INVALID_ARGUMENT;
                sink.fail(grpcio::RpcStatus::with_message(code, text)).await
            }
        };
        drop(sent);
    };
    ctx.spawn(answering);
}

/// Tells changes below a path, from a revision on.
pub(super) fn watch(
    service: &Service,
    ctx: &RpcContext<'_>,
    req: WatchGlobalConfigRequest,
    sink: ServerStreamingSink<WatchGlobalConfigResponse>,
) {
    let watching = follow(service.clone(), req, sink);
    ctx.spawn(watching.map(drop));
}

impl Service {
    async fn store_config(&self, mut req: StoreGlobalConfigRequest) -> Result<()> {
        let path = path_of(req.get_config_path());
        let bytes = req.compute_size();
        let mut txn = TxnRequest::default();
        for item in req.take_changes() {
            txn.mut_success().push(operation(&path, item));
        }
        let plan = move |etcd: &EtcdState| etcd.plan_txn(&txn);
        self.shared.change_etcd(bytes, plan).await?;
        Ok(())
    }

    async fn load_config(&self, req: &LoadGlobalConfigRequest) -> Result<LoadGlobalConfigResponse> {
        let path = path_of(req.get_config_path());
        let look = |etcd: &EtcdState| {
            let mut response = LoadGlobalConfigResponse::default();
            response.set_revision(etcd.revision());
            let items = response.mut_items();
            if req.get_names().is_empty() {
                let mut range = RangeRequest::default();
                let (key, end) = subtree(&path);
                range.set_key(key);
                range.set_range_end(end);
                for kv in etcd.range(&range)?.take_kvs() {
                    let name = String::from_utf8_lossy(kv.get_key()).into_owned();
                    items.push(loaded(name, kv));
                }
            }
            let mut bytes = 0;
            for name in req.get_names() {
                let key = key_of(&path, name);
                items.push(match etcd.get(&key) {
                    Some(kv) => {
                        // A name may be asked for again and again.
                        bytes += 2 * kv.get_value().len();
                        if bytes > etcd.limits().response_bytes_max {
                            return Err(EtcdError::ResponseTooLarge);
                        }
                        loaded(name.clone(), kv)
                    }
                    None => missing(name),
                });
            }
            Ok(response)
        };
        self.shared.read_etcd(look).await
    }
}

async fn follow(
    service: Service,
    req: WatchGlobalConfigRequest,
    mut sink: ServerStreamingSink<WatchGlobalConfigResponse>,
) -> grpcio::Result<()> {
    let shared = &service.shared;
    let (key, end) = subtree(&path_of(req.get_config_path()));
    let interest = Interest {
        keys: KeyRange::new(&key, &end),
        puts: true,
        deletes: true,
        previous: true,
    };
    let mut follower = Follower::new(shared, interest, req.get_revision()).await;
    loop {
        let next = match &mut follower {
            Ok(follower) => follower.next(shared).await,
            Err(error) => Err(error.clone()),
        };
        let mut response = WatchGlobalConfigResponse::default();
        let mut header = shared.header();
        match next.map_err(refusal) {
            Ok((batch, revision)) => {
                response.set_changes(batch.events.into_iter().map(changed).collect());
                response.set_revision(revision);
                response.set_header(header);
                sink.send((response, WriteFlags::default())).await?;
            }
            Err(Refusal::Status(status)) => return sink.fail(status).await,
            Err(Refusal::Header(kind, text)) => {
                header.set_error(header_error(kind, text));
                response.set_header(header);
                sink.send((response, WriteFlags::default())).await?;
                return sink.close().await;
            }
        }
    }
}

/// How the store's refusals are told here: by words in a place of their own.
fn refusal(error: Error) -> Refusal {
    let text = error.to_string();
    match error {
        Error::Etcd(EtcdError::Compacted { .. }) => {
            Refusal::Header(ErrorType::DATA_COMPACTED, text)
        }
        Error::Etcd(EtcdError::NoSpace | EtcdError::ResponseTooLarge) => Refusal::from(error),
        Error::Etcd(_) => Refusal::Header(ErrorType::INVALID_VALUE, text),
        _ => Refusal::from(error),
    }
}

fn path_of(path: &str) -> String {
    let path = if path.is_empty() { DEFAULT_PATH } else { path };
    path.trim_end_matches('/').to_owned()
}

fn key_of(path: &str, name: &str) -> Vec<u8> {
    format!("{path}/{}", name.trim_start_matches('/')).into_bytes()
}

/// The keys below a path, as a range.
fn subtree(path: &str) -> (Vec<u8>, Vec<u8>) {
    // '0' follows '/'.
    (
        format!("{path}/").into_bytes(),
        format!("{path}0").into_bytes(),
    )
}

fn operation(path: &str, mut item: GlobalConfigItem) -> RequestOp {
    let key = key_of(path, item.get_name());
    let mut operation = RequestOp::default();
    match item.get_kind() {
        EventType::PUT => {
            let mut put = PutRequest::default();
            put.set_key(key);
            // Old clients know the text only.
            put.set_value(if item.get_payload().is_empty() {
                item.take_value().into_bytes()
            } else {
                item.take_payload()
            });
            operation.set_request_put(put);
        }
        EventType::DELETE => {
            let mut delete = DeleteRangeRequest::default();
            delete.set_key(key);
            operation.set_request_delete_range(delete);
        }
    }
    operation
}

/// A value in both of its forms; the text only when it is one.
fn item(name: String, kind: EventType, value: Vec<u8>) -> GlobalConfigItem {
    let mut item = GlobalConfigItem::default();
    item.set_name(name);
    item.set_kind(kind);
    if let Ok(text) = std::str::from_utf8(&value) {
        item.set_value(text.to_owned());
    }
    item.set_payload(value);
    item
}

fn loaded(name: String, mut kv: mvccpb::KeyValue) -> GlobalConfigItem {
    item(name, EventType::PUT, kv.take_value())
}

fn missing(name: &str) -> GlobalConfigItem {
    let mut item = GlobalConfigItem::default();
    item.set_name(name.to_owned());
    let text = format!("no global configuration {name:?}");
    item.set_error(header_error(ErrorType::GLOBAL_CONFIG_NOT_FOUND, text));
    item
}

fn changed(mut event: mvccpb::Event) -> GlobalConfigItem {
    let key = event.get_kv().get_key();
    let name = String::from_utf8_lossy(key).into_owned();
    match event.get_field_type() {
        mvccpb::Event_EventType::PUT => item(name, EventType::PUT, event.mut_kv().take_value()),
        // What it was before.
        mvccpb::Event_EventType::DELETE => {
            item(name, EventType::DELETE, event.mut_prev_kv().take_value())
        }
    }
}
