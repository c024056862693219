//! HTTP over TLS: who a test trusts and who it is, for servers with certificates.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::http::{self, Response};

const PATIENCE: Duration = Duration::from_secs(30);

/// Whom to trust, and who one is.
#[derive(Clone)]
pub struct Trust(TlsConnector);

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Trust")
    }
}

impl Trust {
    /// Trusts the authorities in a PEM file and shows no certificate.
    pub fn anonymous(ca: &Path) -> anyhow::Result<Trust> {
        let config = trusting(ca)?.with_no_client_auth();
        Ok(Trust(TlsConnector::from(Arc::new(config))))
    }

    /// Trusts the authorities in a PEM file and shows a certificate.
    pub fn certified(ca: &Path, cert: &Path, key: &Path) -> anyhow::Result<Trust> {
        let chain = certificates(cert)?;
        let key = PrivateKeyDer::from_pem_file(key)?;
        let config = trusting(ca)?.with_client_auth_cert(chain, key)?;
        Ok(Trust(TlsConnector::from(Arc::new(config))))
    }

    /// One GET on an encrypted connection of its own.
    pub async fn get(&self, address: SocketAddr, path: &str) -> anyhow::Result<Response> {
        self.request(address, "GET", path, b"").await
    }

    /// One request on an encrypted connection of its own.
    pub async fn request(
        &self,
        address: SocketAddr,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> anyhow::Result<Response> {
        let exchange = async {
            let mut stream = self.connect(address).await?;
            let head = http::head(method, address, path, &[], body.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(body).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            http::parse(&answer)
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .with_context(|| format!("{address} did not answer within {PATIENCE:?}"))?
    }

    /// The certificate that the server shows to a new connection.
    pub async fn shown_by(&self, address: SocketAddr) -> anyhow::Result<Vec<u8>> {
        let stream = self.connect(address).await?;
        let (_, connection) = stream.get_ref();
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        Ok(shown.context("no certificate was shown")?.to_vec())
    }

    async fn connect(&self, address: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
        let name = ServerName::from(address.ip());
        let stream = TcpStream::connect(address).await?;
        Ok(self.0.connect(name, stream).await?)
    }
}

type WantsIdentity = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

fn trusting(ca: &Path) -> anyhow::Result<WantsIdentity> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(ca)? {
        roots.add(authority)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    Ok(builder
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>();
    found.with_context(|| format!("certificates in {}", path.display()))
}
