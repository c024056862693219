//! The etcd v3 services on the placement driver's port: translation around
//! [`etcd`](crate::etcd), which holds all the rules. Users, alarms, snapshots and changes of
//! members answer `UNIMPLEMENTED`.
//!
//! These calls know no cluster id in the request: whoever reaches the port speaks to this cluster.

mod cluster;
mod kv;
mod lease;
mod watch;

use futures::TryFutureExt as _;
use grpcio::{RpcContext, RpcStatus, RpcStatusCode, UnarySink};
use kvproto::etcdserverpb::ResponseHeader;

use super::reply::deliver;
use super::{Service, Shared};
use crate::change::Change;
use crate::etcd::{EtcdChange, EtcdError, EtcdResult, EtcdState};
use crate::{Error, Result};

/// With which code each refusal goes out, as clients compare both code and words.
pub(super) fn status_code(error: &EtcdError) -> RpcStatusCode {
    match error {
        EtcdError::EmptyKey
        | EtcdError::KeyNotFound
        | EtcdError::ValueProvided
        | EtcdError::LeaseProvided
        | EtcdError::TooManyOperations
        | EtcdError::DuplicateKey => RpcStatusCode::INVALID_ARGUMENT,
        EtcdError::Compacted { .. } | EtcdError::FutureRevision | EtcdError::LeaseTtlTooLarge => {
            RpcStatusCode::OUT_OF_RANGE
        }
        EtcdError::NoSpace | EtcdError::ResponseTooLarge | EtcdError::TooManyRequests => {
            RpcStatusCode::RESOURCE_EXHAUSTED
        }
        EtcdError::LeaseNotFound => RpcStatusCode::NOT_FOUND,
        EtcdError::LeaseExists => RpcStatusCode::FAILED_PRECONDITION,
    }
}

/// The status for an etcd client, which knows other words for the driver's own errors.
fn status_of(error: &Error) -> RpcStatus {
    let (code, text) = match error {
        Error::Etcd(error) => (status_code(error), error.to_string()),
        Error::Stopped => (
            RpcStatusCode::UNAVAILABLE,
            "etcdserver: server stopped".to_owned(),
        ),
        Error::Busy => (
            RpcStatusCode::RESOURCE_EXHAUSTED,
            EtcdError::TooManyRequests.to_string(),
        ),
        error => (RpcStatusCode::UNKNOWN, error.to_string()),
    };
    RpcStatus::with_message(code, text)
}

impl Shared {
    /// Completes a header whose revision is set.
    fn fill_etcd_header(&self, header: &mut ResponseHeader) {
        header.set_cluster_id(self.cluster_id);
        header.set_member_id(self.member.get().map_or(0, |member| member.get_member_id()));
        // There has been one leader, ever: this member.
        header.set_raft_term(1);
    }

    fn etcd_header(&self, revision: i64) -> ResponseHeader {
        let mut header = ResponseHeader::default();
        header.set_revision(revision);
        self.fill_etcd_header(&mut header);
        header
    }

    fn check_running(&self) -> Result<()> {
        if self.stop.is_triggered() {
            return Err(Error::Stopped);
        }
        Ok(())
    }

    /// Looks at the revisioned store; what is seen is on disk when this returns.
    pub(super) async fn read_etcd<R>(
        &self,
        look: impl FnOnce(&EtcdState) -> EtcdResult<R>,
    ) -> Result<R> {
        self.check_running()?;
        let look = |state: &crate::state::PdState| Ok(look(state.etcd())?);
        self.cluster.read_durable(look).await
    }

    /// Changes the revisioned store by a request of `bytes`.
    pub(super) async fn change_etcd<R: Send + 'static>(
        &self,
        bytes: u32,
        plan: impl FnOnce(&EtcdState) -> EtcdResult<(Vec<EtcdChange>, R)> + Send + 'static,
    ) -> Result<R> {
        self.check_running()?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let plan = move |state: &crate::state::PdState| {
            let (changes, answer) = plan(state.etcd())?;
            Ok((changes.into_iter().map(Change::Etcd).collect(), answer))
        };
        self.cluster.mutate_sized(bytes, plan).await
    }
}

impl Service {
    /// Answers a unary call of an etcd service.
    fn answer_etcd<R: Send + 'static>(
        &self,
        ctx: &RpcContext<'_>,
        sink: UnarySink<R>,
        work: impl Future<Output = Result<R>> + Send + 'static,
    ) {
        deliver(ctx, sink, work.map_err(|error| status_of(&error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every variant: code and words are what clients of etcd compare.
    #[test]
    fn refusals_have_the_codes_and_words_of_the_protocol() {
        let cases = [
            (EtcdError::EmptyKey, 3, "key is not provided"),
            (EtcdError::KeyNotFound, 3, "key not found"),
            (EtcdError::ValueProvided, 3, "value is provided"),
            (EtcdError::LeaseProvided, 3, "lease is provided"),
            (
                EtcdError::TooManyOperations,
                3,
                "too many operations in txn request",
            ),
            (
                EtcdError::DuplicateKey,
                3,
                "duplicate key given in txn request",
            ),
            (
                EtcdError::Compacted {
                    compact_revision: 5,
                },
                11,
                "mvcc: required revision has been compacted",
            ),
            (
                EtcdError::FutureRevision,
                11,
                "mvcc: required revision is a future revision",
            ),
            (EtcdError::NoSpace, 8, "mvcc: database space exceeded"),
            (EtcdError::ResponseTooLarge, 8, "response is too large"),
            (EtcdError::LeaseNotFound, 5, "requested lease not found"),
            (EtcdError::LeaseExists, 9, "lease already exists"),
            (EtcdError::LeaseTtlTooLarge, 11, "too large lease TTL"),
            (EtcdError::TooManyRequests, 8, "too many requests"),
        ];
        for (error, code, words) in cases {
            let status = status_of(&error.into());
            let got: i32 = status.code().into();
            assert_eq!(got, code, "{words}");
            assert_eq!(status.message(), format!("etcdserver: {words}"));
        }
        assert_eq!(
            status_of(&Error::Stopped).code(),
            RpcStatusCode::UNAVAILABLE
        );
        assert_eq!(
            status_of(&Error::Busy).message(),
            "etcdserver: too many requests"
        );
    }
}
