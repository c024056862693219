//! `resource_manager.ResourceManager`: the groups, and the token stream, which stores open when
//! they connect. Nothing is metered yet, so everybody gets more tokens than they ask for. The
//! messages carry no header, so there is no cluster to check; refusals stand in the answers.

use futures::future::{Either, select};
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{DuplexSink, RequestStream, RpcContext, UnarySink, WriteFlags};
use kvproto::resource_manager::{
    DeleteResourceGroupRequest, DeleteResourceGroupResponse, Error as GroupError,
    GetResourceGroupRequest, GetResourceGroupResponse, GrantedRUTokenBucket, KeyspaceIDValue,
    ListResourceGroupsRequest, ListResourceGroupsResponse, PutResourceGroupRequest,
    PutResourceGroupResponse, RequestUnitType, ResourceManager, TokenBucketRequest,
    TokenBucketResponse, TokenBucketsRequest, TokenBucketsResponse,
};
use protobuf::Message as _;

use super::Service;
use super::reply::Refusal;
use super::streams::{malformed, stopped};
use crate::change::Change;
use crate::gc::NULL_KEYSPACE;
use crate::resource_groups::{self, Put};
use crate::state::PdState;
use crate::{Error, Result};

/// What a change that was made is answered with.
const DONE: &str = "Success!";
/// Ids of keyspaces have 24 bits. Above, a number means the null keyspace.
const KEYSPACE_ID_MAX: u32 = (1 << 24) - 1;
/// Tokens granted beyond what was asked for.
const SPARE_TOKENS: f64 = 1_000_000.0;

/// An answer with a place for words of refusal.
trait GroupReply: Default + Send + 'static {
    fn put_error(&mut self, error: GroupError);
}

macro_rules! replies {
    ($($message:ty),*) => {
        $(impl GroupReply for $message {
            fn put_error(&mut self, error: GroupError) {
                self.set_error(error);
            }
        })*
    };
}

replies!(
    ListResourceGroupsResponse,
    GetResourceGroupResponse,
    PutResourceGroupResponse,
    DeleteResourceGroupResponse
);

impl ResourceManager for Service {
    fn list_resource_groups(
        &mut self,
        ctx: RpcContext<'_>,
        req: ListResourceGroupsRequest,
        sink: UnarySink<ListResourceGroupsResponse>,
    ) {
        let service = self.clone();
        self.answer_group(&ctx, sink, async move {
            let keyspace_id = keyspace_of(req.get_keyspace_id())?;
            let look = |state: &PdState| resource_groups::list(state.etcd(), keyspace_id);
            let mut response = ListResourceGroupsResponse::default();
            response.set_groups(service.read_groups(look).await?.into());
            Ok(response)
        });
    }

    fn get_resource_group(
        &mut self,
        ctx: RpcContext<'_>,
        req: GetResourceGroupRequest,
        sink: UnarySink<GetResourceGroupResponse>,
    ) {
        let service = self.clone();
        self.answer_group(&ctx, sink, async move {
            let keyspace_id = keyspace_of(req.get_keyspace_id())?;
            let name = req.get_resource_group_name();
            let look = |state: &PdState| resource_groups::get(state.etcd(), keyspace_id, name);
            let mut response = GetResourceGroupResponse::default();
            response.set_group(service.read_groups(look).await?);
            Ok(response)
        });
    }

    fn add_resource_group(
        &mut self,
        ctx: RpcContext<'_>,
        req: PutResourceGroupRequest,
        sink: UnarySink<PutResourceGroupResponse>,
    ) {
        let service = self.clone();
        self.answer_group(
            &ctx,
            sink,
            async move { service.put_group(req, Put::Add).await },
        );
    }

    fn modify_resource_group(
        &mut self,
        ctx: RpcContext<'_>,
        req: PutResourceGroupRequest,
        sink: UnarySink<PutResourceGroupResponse>,
    ) {
        let service = self.clone();
        self.answer_group(&ctx, sink, async move {
            service.put_group(req, Put::Modify).await
        });
    }

    fn delete_resource_group(
        &mut self,
        ctx: RpcContext<'_>,
        req: DeleteResourceGroupRequest,
        sink: UnarySink<DeleteResourceGroupResponse>,
    ) {
        let service = self.clone();
        self.answer_group(&ctx, sink, async move {
            let keyspace_id = keyspace_of(req.get_keyspace_id())?;
            let bytes = req.compute_size();
            let name = req.get_resource_group_name().to_owned();
            let plan = move |state: &PdState| {
                resource_groups::plan_delete(state.etcd(), keyspace_id, &name)
            };
            service.change_groups(bytes, plan).await?;
            let mut response = DeleteResourceGroupResponse::default();
            response.set_body(DONE.to_owned());
            Ok(response)
        });
    }

    fn acquire_token_buckets(
        &mut self,
        ctx: RpcContext<'_>,
        mut stream: RequestStream<TokenBucketsRequest>,
        mut sink: DuplexSink<TokenBucketsResponse>,
    ) {
        let stop = self.shared.stop.clone();
        ctx.spawn(async move {
            let sent = loop {
                let next = select(stream.next(), stop.wait()).await;
                let Either::Left((next, _)) = next else {
                    break sink.fail(stopped()).await;
                };
                let Some(request) = next else {
                    break sink.close().await;
                };
                let request = match request {
                    Ok(request) => request,
                    Err(error) => match malformed(&error) {
                        Some(status) => break sink.fail(status).await,
                        None => return,
                    },
                };
                let answer = (grant(request), WriteFlags::default());
                if sink.send(answer).await.is_err() {
                    return;
                }
            };
            drop(sent);
        });
    }
}

impl Service {
    async fn put_group(
        &self,
        mut req: PutResourceGroupRequest,
        put: Put,
    ) -> Result<PutResourceGroupResponse> {
        let bytes = req.compute_size();
        let group = req.take_group();
        let keyspace_id = keyspace_of(group.get_keyspace_id())?;
        let plan =
            move |state: &PdState| resource_groups::plan_put(state.etcd(), keyspace_id, group, put);
        self.change_groups(bytes, plan).await?;
        let mut response = PutResourceGroupResponse::default();
        response.set_body(DONE.to_owned());
        Ok(response)
    }

    async fn read_groups<R>(&self, look: impl FnOnce(&PdState) -> Result<R>) -> Result<R> {
        if self.shared.stop.is_triggered() {
            return Err(Error::Stopped);
        }
        self.shared.cluster.read_durable(look).await
    }

    async fn change_groups(
        &self,
        bytes: u32,
        plan: impl FnOnce(&PdState) -> Result<Vec<Change>> + Send + 'static,
    ) -> Result<()> {
        if self.shared.stop.is_triggered() {
            return Err(Error::Stopped);
        }
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let plan = move |state: &PdState| Ok((plan(state)?, ()));
        self.shared.cluster.mutate_sized(bytes, plan).await
    }

    fn answer_group<R: GroupReply>(
        &self,
        ctx: &RpcContext<'_>,
        sink: UnarySink<R>,
        work: impl Future<Output = Result<R>> + Send + 'static,
    ) {
        ctx.spawn(async move {
            let sent = match work.await.map_err(Refusal::from) {
                Ok(response) => sink.success(response).await,
                Err(Refusal::Status(status)) => sink.fail(status).await,
                Err(Refusal::Header(_, text)) => {
                    let mut error = GroupError::default();
                    error.set_message(text);
                    let mut response = R::default();
                    response.put_error(error);
                    sink.success(response).await
                }
            };
            drop(sent);
        });
    }
}

fn keyspace_of(value: &KeyspaceIDValue) -> Result<u32> {
    if value.has_keyspace_identity() {
        let text = "keyspace identities are not supported: name the keyspace by its id";
        return Err(Error::Refused(text.to_owned()));
    }
    Ok(match value.get_value() {
        id if value.has_value() && id <= KEYSPACE_ID_MAX => id,
        _ => NULL_KEYSPACE,
    })
}

fn grant(mut request: TokenBucketsRequest) -> TokenBucketsResponse {
    let mut response = TokenBucketsResponse::default();
    let granted = request.take_requests().into_iter().map(grant_group);
    response.set_responses(granted.collect());
    response
}

fn grant_group(mut request: TokenBucketRequest) -> TokenBucketResponse {
    let items = request.get_ru_items().get_request_r_u();
    let asked: f64 = items.iter().map(|item| item.get_value().max(0.0)).sum();
    let mut granted = GrantedRUTokenBucket::default();
    granted.set_field_type(RequestUnitType::RU);
    granted
        .mut_granted_tokens()
        .set_tokens(asked + SPARE_TOKENS);
    let settings = granted.mut_granted_tokens().mut_settings();
    settings.set_fill_rate(u64::from(i32::MAX.unsigned_abs()));
    settings.set_burst_limit(-1);
    let mut response = TokenBucketResponse::default();
    response.set_resource_group_name(request.take_resource_group_name());
    if request.has_keyspace_id() {
        response.set_keyspace_id(request.take_keyspace_id());
    }
    response.mut_granted_r_u_tokens().push(granted);
    response
}
