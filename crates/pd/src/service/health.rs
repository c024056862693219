//! The standard health check: clients probe every member with it once a second.

use grpcio::{RpcContext, RpcStatus, RpcStatusCode, UnarySink};
use kvproto::healthpb::{
    Health, HealthCheckRequest, HealthCheckResponse, HealthCheckResponse_ServingStatus,
};

use super::Service;

impl Health for Service {
    fn check(
        &mut self,
        ctx: RpcContext<'_>,
        req: HealthCheckRequest,
        sink: UnarySink<HealthCheckResponse>,
    ) {
        let stopping = self.shared.stop.is_triggered();
        ctx.spawn(async move {
            // The empty name is the server as a whole, the only thing that has a health here.
            let sent = if req.get_service().is_empty() {
                let mut response = HealthCheckResponse::default();
                response.set_status(if stopping {
                    HealthCheckResponse_ServingStatus::NOT_SERVING
                } else {
                    HealthCheckResponse_ServingStatus::SERVING
                });
                sink.success(response).await
            } else {
                let text = format!("unknown service {:?}", req.get_service());
                let status = RpcStatus::with_message(RpcStatusCode::NOT_FOUND, text);
                sink.fail(status).await
            };
            drop(sent);
        });
    }
}
