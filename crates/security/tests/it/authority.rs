//! An authority that certifies whatever a test needs, and a directory with the three files.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use security::{Config, Security};
use tempfile::TempDir;

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

/// Until when a certificate holds.
#[derive(Clone, Copy)]
pub(crate) enum Validity {
    Long,
    Expired,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for this common name and these alternative names.
    pub(crate) fn certify(&self, common_name: &str, alternative: &[&str]) -> Pair {
        self.certify_until(common_name, alternative, Validity::Long)
    }

    pub(crate) fn certify_until(
        &self,
        common_name: &str,
        alternative: &[&str],
        validity: Validity,
    ) -> Pair {
        let alternative: Vec<String> = alternative.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(alternative).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = match validity {
            Validity::Long => rcgen::date_time_ymd(2100, 1, 1),
            Validity::Expired => rcgen::date_time_ymd(2021, 1, 1),
        };
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
            der: cert.der().to_vec(),
        }
    }

    /// For a server on the loopback address.
    pub(crate) fn server(&self) -> Pair {
        self.certify("server", &["127.0.0.1", "localhost"])
    }
}

/// The three files of one party.
pub(crate) struct Dir {
    dir: TempDir,
}

impl Dir {
    pub(crate) fn new(ca: &str, pair: &Pair) -> Dir {
        let dir = Dir {
            dir: TempDir::new().unwrap(),
        };
        dir.write("ca.pem", ca);
        dir.write("cert.pem", &pair.cert);
        dir.write("key.pem", &pair.key);
        dir
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file the way that careful tools do.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    pub(crate) fn config(&self) -> Config {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        Config {
            ca_path: path("ca.pem"),
            cert_path: path("cert.pem"),
            key_path: path("key.pem"),
            ..Config::default()
        }
    }

    pub(crate) fn security(&self) -> Security {
        Security::new(&self.config()).unwrap()
    }
}
