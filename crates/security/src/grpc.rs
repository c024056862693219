//! gRPC: credentials that follow rotated files, the allow lists, channels.
//!
//! gRPC asks its server's credentials before each handshake whether there are newer ones; a
//! connection keeps the ones it began with. A channel has fixed credentials: it must be made anew to
//! use newer files, which whoever reconnects does.

use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use grpcio::{
    CertificateRequestType, Channel, ChannelBuilder, ChannelCredentialsBuilder, CheckResult,
    RpcContext, RpcStatus, RpcStatusCode, ServerBuilder, ServerChecker, ServerCredentials,
    ServerCredentialsBuilder, ServerCredentialsFetcher,
};

use crate::handle::Shared;
use crate::{AllowList, PeerNames, Security};

const COMMON_NAME: &str = "x509_common_name";
const ALTERNATIVE_NAME: &str = "x509_subject_alternative_name";
const CLIENT_MUST_SHOW: CertificateRequestType =
    CertificateRequestType::RequestAndRequireClientCertificateAndVerify;

impl Security {
    /// What a gRPC server's port shows and asks for.
    pub fn server_credentials(&self) -> ServerCredentials {
        match &self.shared {
            None => ServerCredentials::insecure(),
            Some(shared) => {
                let fetcher = Fetcher {
                    shared: Arc::clone(shared),
                    given: AtomicU64::new(0),
                };
                ServerCredentials::with_fetcher(Box::new(fetcher), CLIENT_MUST_SHOW)
            }
        }
    }

    /// Lets `server` refuse the calls of those who are on no list.
    #[must_use]
    pub fn guard(&self, server: ServerBuilder) -> ServerBuilder {
        match self.restriction() {
            None => server,
            Some(_) => server.add_checker(Guard(self.clone())),
        }
    }

    /// Whether the caller may call; if not, the answer for it.
    pub fn check_peer(&self, context: &RpcContext<'_>) -> Result<(), RpcStatus> {
        let Some(allow) = self.restriction() else {
            return Ok(());
        };
        let refuse = |reason: String| {
            // The code that TiKV answers in both cases.
            RpcStatus::with_message(RpcStatusCode::UNAUTHENTICATED, reason)
        };
        let Some(names) = names_of(context) else {
            return Err(refuse("the client has shown no certificate".to_owned()));
        };
        if allow.permits(&names) {
            return Ok(());
        }
        Err(refuse(format!(
            "the client certificate's common name {:?} and alternative names {:?} are not on the \
             server's lists",
            names.common_name.unwrap_or_default(),
            names.alternative_names
        )))
    }

    /// A channel of `builder` to `addr`, which is `host:port`; with the certificates of now.
    pub fn channel(&self, builder: ChannelBuilder, addr: &str) -> Channel {
        let Some(shared) = &self.shared else {
            return builder.connect(addr);
        };
        let files = &shared.current().files;
        let credentials = ChannelCredentialsBuilder::new()
            .root_cert(files.ca.clone())
            .cert(files.cert.clone(), files.key.clone())
            .build();
        builder.set_credentials(credentials).connect(addr)
    }

    fn restriction(&self) -> Option<&AllowList> {
        let shared = self.shared.as_ref()?;
        (!shared.allow.is_empty()).then_some(&shared.allow)
    }
}

fn names_of(context: &RpcContext<'_>) -> Option<PeerNames> {
    let authenticated = context.auth_context()?;
    if !authenticated.peer_is_authenticated() {
        return None;
    }
    let mut names = PeerNames::default();
    for property in &authenticated {
        let Ok(value) = property.value_str() else {
            continue;
        };
        match property.name() {
            COMMON_NAME => names.common_name = Some(value.to_owned()),
            ALTERNATIVE_NAME => names.alternative_names.push(value.to_owned()),
            _ => {}
        }
    }
    Some(names)
}

/// Gives a server's port the newest files.
struct Fetcher {
    shared: Arc<Shared>,
    /// The reading that the port has. gRPC asks under a lock of its own.
    given: AtomicU64,
}

impl ServerCredentialsFetcher for Fetcher {
    fn fetch(&self) -> Result<Option<ServerCredentialsBuilder>, Box<dyn StdError>> {
        let material = self.shared.current();
        if self.given.swap(material.generation, Ordering::Relaxed) == material.generation {
            return Ok(None);
        }
        let files = &material.files;
        Ok(Some(
            ServerCredentialsBuilder::new()
                .root_cert(files.ca.clone(), CLIENT_MUST_SHOW)
                .add_cert(files.cert.clone(), files.key.clone()),
        ))
    }
}

/// The allow lists in front of every handler of a server.
struct Guard(Security);

impl ServerChecker for Guard {
    fn check(&mut self, context: &RpcContext<'_>) -> CheckResult {
        match self.0.check_peer(context) {
            Ok(()) => CheckResult::Continue,
            Err(status) => CheckResult::Abort(status),
        }
    }

    fn box_clone(&self) -> Box<dyn ServerChecker> {
        Box::new(Guard(self.0.clone()))
    }
}
