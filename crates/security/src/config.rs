//! The keys of `[security]` that concern encryption. They are TiKV's, apart from the list of
//! alternative names. Reading the files is not done here.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Where the certificates are and who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Config {
    /// The PEM file of the authorities whose certificates are trusted, for clients and for other
    /// servers. Empty, the default: no encryption. Set it together with `cert-path` and `key-path`;
    /// then every port is encrypted and gRPC clients must show a certificate of these authorities.
    pub ca_path: String,
    /// The PEM file of this server's certificate, followed by the intermediate ones up to the
    /// authority. It is also what this server shows as a client. Files that are replaced while the
    /// server runs are used from the next connection on.
    pub cert_path: String,
    /// The PEM file of the certificate's private key, not encrypted. Nobody but the server's user
    /// should be able to read it.
    pub key_path: String,
    /// Common names of the client certificates that may connect. Empty, the default: the name does
    /// not matter. Set it when the authority also signs for others.
    pub cert_allowed_cn: BTreeSet<String>,
    /// Alternative names (DNS names, addresses, URIs, as they stand in the certificate) of the client
    /// certificates that may connect. A client passes when either list has one of its names.
    pub cert_allowed_san: BTreeSet<String>,
}

/// A value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key without its section.
    pub key: &'static str,
    /// The refused value.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl Config {
    /// Whether certificates are configured.
    pub fn is_enabled(&self) -> bool {
        self.paths().iter().all(|(_, path)| !path.is_empty())
    }

    /// Every value that cannot be used.
    pub fn validate(&self) -> Vec<ConfigProblem> {
        let paths = self.paths();
        if self.is_enabled() {
            return Vec::new();
        }
        if paths.iter().any(|(_, path)| !path.is_empty()) {
            let missing = paths.iter().filter(|(_, path)| path.is_empty());
            return missing
                .map(|(key, path)| ConfigProblem {
                    key,
                    value: format!("{path:?}"),
                    allowed: "ca-path, cert-path and key-path are set together or not at all"
                        .to_owned(),
                })
                .collect();
        }
        let lists = [
            ("cert-allowed-cn", &self.cert_allowed_cn),
            ("cert-allowed-san", &self.cert_allowed_san),
        ];
        let set = lists.into_iter().filter(|(_, list)| !list.is_empty());
        set.map(|(key, list)| ConfigProblem {
            key,
            value: format!("{list:?}"),
            allowed: "without ca-path, cert-path and key-path nobody shows a certificate"
                .to_owned(),
        })
        .collect()
    }

    fn paths(&self) -> [(&'static str, &str); 3] {
        [
            ("ca-path", &self.ca_path),
            ("cert-path", &self.cert_path),
            ("key-path", &self.key_path),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<&'static str> {
        let config: Config = toml::from_str(text).unwrap();
        config
            .validate()
            .iter()
            .map(|problem| problem.key)
            .collect()
    }

    #[test]
    fn files_come_together() {
        assert_eq!(problems(""), Vec::<&str>::new());
        assert!(!Config::default().is_enabled());
        let all = "ca-path = 'a'\ncert-path = 'b'\nkey-path = 'c'";
        assert_eq!(problems(all), Vec::<&str>::new());
        assert_eq!(problems("ca-path = 'a'"), ["cert-path", "key-path"]);
        assert_eq!(problems("cert-path = 'b'\nkey-path = 'c'"), ["ca-path"]);
    }

    #[test]
    fn a_list_without_certificates_promises_nothing() {
        assert_eq!(problems("cert-allowed-cn = ['a']"), ["cert-allowed-cn"]);
        assert_eq!(problems("cert-allowed-san = ['a']"), ["cert-allowed-san"]);
        let all = "ca-path = 'a'\ncert-path = 'b'\nkey-path = 'c'\ncert-allowed-cn = ['x']";
        assert_eq!(problems(all), Vec::<&str>::new());
    }
}
