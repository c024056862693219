//! The token stream of `resource_manager.ResourceManager`, which stores open when they connect.
//! There are no resource groups yet, so everybody gets more than they ask for. Its messages carry
//! no header, so there is no cluster to check.

use futures::future::{Either, select};
use futures::{SinkExt as _, StreamExt as _};
use grpcio::{DuplexSink, RequestStream, RpcContext, RpcStatus, RpcStatusCode, WriteFlags};
use kvproto::resource_manager::{
    GrantedRUTokenBucket, RequestUnitType, ResourceManager, TokenBucketRequest,
    TokenBucketResponse, TokenBucketsRequest, TokenBucketsResponse,
};

use super::Service;

/// Tokens granted beyond what was asked for.
const SPARE_TOKENS: f64 = 1_000_000.0;

impl ResourceManager for Service {
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
                    let text = "server not started".to_owned();
                    let status = RpcStatus::with_message(RpcStatusCode::UNAVAILABLE, text);
                    break sink.fail(status).await;
                };
                let Some(request) = next else {
                    break sink.close().await;
                };
                let answered = match request {
                    Ok(request) => sink.send((grant(request), WriteFlags::default())).await,
                    Err(error) => Err(error),
                };
                if answered.is_err() {
                    return;
                }
            };
            drop(sent);
        });
    }
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
