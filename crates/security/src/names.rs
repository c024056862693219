//! Whom a certificate names, and whether that is enough to connect.

use std::collections::BTreeSet;
use std::net::IpAddr;

use x509_parser::extensions::GeneralName;

use crate::Config;

/// The names in a certificate that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerNames {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// DNS names, addresses, URIs and mail addresses.
    pub alternative_names: Vec<String>,
}

impl PeerNames {
    /// The names in a certificate; none when it cannot be read.
    pub fn of_certificate(der: &[u8]) -> PeerNames {
        let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else {
            return PeerNames::default();
        };
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().next();
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let alternative = alternative.map(|found| &found.value.general_names);
        PeerNames {
            common_name: common_name
                .and_then(|name| name.as_str().ok())
                .map(str::to_owned),
            alternative_names: alternative
                .into_iter()
                .flatten()
                .filter_map(text_of)
                .collect(),
        }
    }
}

/// As gRPC writes them, so that one list serves both.
fn text_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some((*text).to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = || <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            Some(v4.or_else(|_| v6()).ok()?.to_string())
        }
        _ => None,
    }
}

/// Who may connect, among those whom the authority has certified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    common_names: BTreeSet<String>,
    alternative_names: BTreeSet<String>,
}

impl AllowList {
    /// The lists of the configuration.
    pub fn new(config: &Config) -> AllowList {
        AllowList {
            common_names: config.cert_allowed_cn.clone(),
            alternative_names: config.cert_allowed_san.clone(),
        }
    }

    /// Whether it lets everybody pass.
    pub fn is_empty(&self) -> bool {
        self.common_names.is_empty() && self.alternative_names.is_empty()
    }

    /// Whether a certificate with these names may connect.
    pub fn permits(&self, names: &PeerNames) -> bool {
        let common = names.common_name.as_ref();
        let mut alternative = names.alternative_names.iter();
        self.is_empty()
            || common.is_some_and(|name| self.common_names.contains(name))
            || alternative.any(|name| self.alternative_names.contains(name))
    }
}
