//! What the files hold, checked: chain, key and authorities that belong together.
//!
//! Everything is checked here, with `rustls`, before anybody sees it: gRPC is given only what has
//! passed, so that it never has to refuse and never panics (its builders do at a zero byte).

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::files::{CA, CERT, Files, KEY};
use crate::{Config, Error, Result};

/// One reading of the files.
pub(crate) struct Material {
    /// Counts readings that differed, from 1.
    pub(crate) generation: u64,
    pub(crate) files: Files,
    /// This server's certificate with its key.
    pub(crate) identity: Arc<CertifiedKey>,
    /// Who is trusted.
    pub(crate) roots: Arc<RootCertStore>,
}

impl Material {
    /// Checks what was read under the paths of `config`.
    pub(crate) fn new(config: &Config, files: Files, generation: u64) -> Result<Material> {
        let ca = Source::new(CA, &config.ca_path);
        let cert = Source::new(CERT, &config.cert_path);
        let key = Source::new(KEY, &config.key_path);

        let mut roots = RootCertStore::empty();
        for authority in ca.certificates(&files.ca)? {
            roots.add(authority).map_err(|error| ca.wrong(error))?;
        }
        let chain = cert.certificates(&files.cert)?;
        let private = key.private_key(&files.key)?;
        let signer = provider()
            .key_provider
            .load_private_key(private)
            .map_err(|error| key.wrong(error))?;
        let identity = CertifiedKey::new(chain, signer);
        match identity.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                let reason = format!("not the key of the certificate in {}", config.cert_path);
                return Err(key.wrong(reason));
            }
            Err(error) => return Err(cert.wrong(error)),
        }
        Ok(Material {
            generation,
            files,
            identity: Arc::new(identity),
            roots: Arc::new(roots),
        })
    }

    /// When the server's certificate ends, for people.
    pub(crate) fn not_after(&self) -> String {
        let first = self.identity.cert.first();
        let parsed = first.and_then(|der| x509_parser::parse_x509_certificate(der).ok());
        parsed.map_or_else(
            || "unknown".to_owned(),
            |(_, certificate)| certificate.validity().not_after.to_string(),
        )
    }
}

/// The cryptography behind `rustls`, named so that no library can choose another for the process.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A file, for errors.
struct Source<'a> {
    key: &'static str,
    path: &'a str,
}

impl<'a> Source<'a> {
    fn new(key: &'static str, path: &'a str) -> Self {
        Source { key, path }
    }

    fn wrong(&self, reason: impl ToString) -> Error {
        Error::Content {
            key: self.key,
            path: PathBuf::from(self.path),
            reason: reason.to_string(),
        }
    }

    /// Zero bytes would end the text for gRPC, and the rest would go unread.
    fn text<'b>(&self, bytes: &'b [u8]) -> Result<&'b [u8]> {
        if bytes.contains(&0) {
            return Err(self.wrong("holds a zero byte, so it is no PEM"));
        }
        Ok(bytes)
    }

    fn certificates(&self, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
        let found = CertificateDer::pem_slice_iter(self.text(bytes)?);
        let found: Vec<_> = found
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| self.wrong(error))?;
        if found.is_empty() {
            return Err(self.wrong("no PEM certificate in it"));
        }
        Ok(found)
    }

    fn private_key(&self, bytes: &[u8]) -> Result<PrivateKeyDer<'static>> {
        // The library's error could quote the line it stumbled over.
        PrivateKeyDer::from_pem_slice(self.text(bytes)?)
            .map_err(|_| self.wrong("no private key in PEM, or an encrypted one"))
    }
}
