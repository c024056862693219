//! The health service, checked and watched.

use futures::StreamExt as _;
use futures::executor::block_on;
use grpcio::RpcStatusCode;
use kvproto::healthpb::{
    HealthCheckRequest, HealthCheckResponse_ServingStatus as Status, HealthClient,
};
use service::ServingStatus;

use crate::fixture::Fixture;

#[test]
fn check_answers_what_was_set() {
    let fixture = Fixture::new();
    let client = HealthClient::new(fixture.channel.clone());
    let mut request = HealthCheckRequest::default();
    match client.check(&request) {
        Err(grpcio::Error::RpcFailure(status)) => {
            assert_eq!(status.code(), RpcStatusCode::NOT_FOUND);
        }
        other => panic!("{other:?}"),
    }
    fixture.health.set("", ServingStatus::Serving);
    assert_eq!(
        client.check(&request).unwrap().get_status(),
        Status::SERVING
    );
    request.set_service("nobody".to_owned());
    assert!(client.check(&request).is_err());
}

#[test]
fn watch_tells_changes_until_the_end() {
    let fixture = Fixture::new();
    let client = HealthClient::new(fixture.channel.clone());
    let mut watched = client.watch(&HealthCheckRequest::default()).unwrap();
    let mut next = || block_on(watched.next()).map(|message| message.unwrap().get_status());
    assert_eq!(next(), Some(Status::SERVICE_UNKNOWN));
    fixture.health.set("", ServingStatus::Serving);
    assert_eq!(next(), Some(Status::SERVING));
    fixture.health.shutdown();
    assert_eq!(next(), Some(Status::NOT_SERVING));
    assert_eq!(next(), None);
}
