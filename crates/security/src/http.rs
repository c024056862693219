//! HTTP: an acceptor that encrypts connections and says whether the peer is known.
//!
//! It knows nothing of HTTP but the versions that a handshake agrees on. A handshake has bounded
//! time: whoever opens a connection and says nothing holds it no longer than that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use runtime::{Runtime, Timer};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::handle::Shared;
use crate::material::{Material, provider};
use crate::{AllowList, PeerNames, Security};

/// How long a handshake may take: a few round trips around the world, and a pause.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Whether a client without a permitted certificate may connect at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// No: the handshake fails.
    Required,
    /// Yes, as a [`Peer::Stranger`]. A certificate that the authority did not sign fails all the same.
    Optional,
}

/// What the handshake offers to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersions {
    /// HTTP/1.1.
    One,
    /// HTTP/1.1 with whoever can speak it, else HTTP/2: a port that serves pages over the one and
    /// gRPC over the other. Clients of pages mostly offer both, gRPC offers HTTP/2 alone.
    TwoAndOne,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Has shown a certificate of the authority that the lists permit.
    Known,
    /// Anybody.
    Stranger,
}

/// An encrypted connection.
pub struct Accepted<S> {
    /// What was written and read in the clear goes through here.
    pub stream: TlsStream<S>,
    /// Who is at the other end.
    pub peer: Peer,
    /// Whether the two have agreed on HTTP/2.
    pub is_http2: bool,
}

/// Encrypts connections, with the certificates of the moment. Clones share everything.
#[derive(Clone)]
pub struct HttpAcceptor {
    shared: Arc<Shared>,
    timer: Timer,
    certificate: ClientCertificate,
    versions: HttpVersions,
    /// Of the last reading of the files, with its number. Sessions can be resumed within one reading
    /// only: who was trusted before a rotation is asked again after it.
    built: Arc<Mutex<Option<Built>>>,
}

/// What handshakes use.
struct Built {
    generation: u64,
    config: Arc<ServerConfig>,
}

impl Security {
    /// The acceptor of an HTTP port, or none where connections are plain.
    pub fn http_acceptor(
        &self,
        runtime: &Runtime,
        certificate: ClientCertificate,
        versions: HttpVersions,
    ) -> Option<HttpAcceptor> {
        let shared = self.shared.as_ref()?;
        Some(HttpAcceptor {
            shared: Arc::clone(shared),
            timer: runtime.timer.clone(),
            certificate,
            versions,
            built: Arc::default(),
        })
    }
}

impl HttpAcceptor {
    /// Makes the handshake. Waits for the peer, within bounds.
    pub async fn accept<S>(&self, stream: S) -> io::Result<Accepted<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.config()?;
        let handshake = TlsAcceptor::from(config).accept(stream);
        let stream = match self.timer.timeout(HANDSHAKE_MAX, handshake).await {
            Ok(outcome) => outcome?,
            Err(_) => {
                let reason = format!("no TLS handshake within {HANDSHAKE_MAX:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
        };
        let (_, connection) = stream.get_ref();
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let peer = match shown {
            Some(der) if self.shared.allow.permits(&PeerNames::of_certificate(der)) => Peer::Known,
            _ => Peer::Stranger,
        };
        let is_http2 = connection.alpn_protocol() == Some(b"h2");
        Ok(Accepted {
            stream,
            peer,
            is_http2,
        })
    }

    fn config(&self) -> io::Result<Arc<ServerConfig>> {
        let material = self.shared.current();
        let mut built = self.built.lock();
        if let Some(built) = &*built
            && built.generation >= material.generation
        {
            return Ok(Arc::clone(&built.config));
        }
        let config = Arc::new(self.build(&material).map_err(io::Error::other)?);
        *built = Some(Built {
            generation: material.generation,
            config: Arc::clone(&config),
        });
        Ok(config)
    }

    fn build(&self, material: &Material) -> Result<ServerConfig, rustls::Error> {
        let roots = Arc::clone(&material.roots);
        let mut authority = WebPkiClientVerifier::builder_with_provider(roots, provider());
        if self.certificate == ClientCertificate::Optional {
            authority = authority.allow_unauthenticated();
        }
        let authority = authority
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        let verifier: Arc<dyn ClientCertVerifier> = match self.certificate {
            ClientCertificate::Optional => authority,
            ClientCertificate::Required => Arc::new(ListedClients {
                authority,
                allow: self.shared.allow.clone(),
            }),
        };
        let identity = SingleCertAndKey::from(Arc::clone(&material.identity));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(identity));
        config.alpn_protocols = match self.versions {
            HttpVersions::One => vec![b"http/1.1".to_vec()],
            HttpVersions::TwoAndOne => vec![b"http/1.1".to_vec(), b"h2".to_vec()],
        };
        Ok(config)
    }
}

/// Asks the authority, then the lists, so that the client hears within the handshake.
#[derive(Debug)]
struct ListedClients {
    authority: Arc<dyn ClientCertVerifier>,
    allow: AllowList,
}

impl ClientCertVerifier for ListedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .authority
            .verify_client_cert(end_entity, intermediates, now)?;
        let names = PeerNames::of_certificate(end_entity);
        if self.allow.permits(&names) {
            return Ok(verified);
        }
        tracing::info!(
            common_name = names.common_name,
            alternative_names = ?names.alternative_names,
            "a client was refused: its certificate is on no list"
        );
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authority
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authority
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.supported_verify_schemes()
    }
}
