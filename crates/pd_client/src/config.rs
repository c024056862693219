//! The settings of the client and their limits.

use std::time::Duration;

use crate::{Error, Result};

/// How to find the placement driver and how long to wait for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `host:port` or a URL (`http://host:port`, or `https` with certificates) of one or more
    /// placement drivers. One that answers is enough: the others are learned from it.
    pub endpoints: Vec<String>,
    /// The longest wait for the answer to one attempt of a call. Default 2 s.
    pub request_timeout: Duration,
    /// How many times a call looks for the leader again before it gives up. Default 10.
    pub leader_retries: u32,
    /// The first wait between two searches for the leader; it doubles up to
    /// [`retry_interval_max`](Config::retry_interval_max). Default 100 ms.
    pub retry_interval: Duration,
    /// The longest wait between two searches. Default 3 s.
    pub retry_interval_max: Duration,
    /// How long [`RpcClient::connect`](crate::RpcClient::connect) looks for a leader. Default 30 s.
    pub connect_timeout: Duration,
}

impl Config {
    /// The default settings for these endpoints.
    pub fn new(endpoints: Vec<String>) -> Config {
        Config {
            endpoints,
            request_timeout: Duration::from_secs(2),
            leader_retries: 10,
            retry_interval: Duration::from_millis(100),
            retry_interval_max: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(30),
        }
    }

    /// Refuses settings that cannot work, with every reason at once.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        if self.endpoints.is_empty() {
            problems.push("no endpoint is given".to_owned());
        }
        problems.extend(
            self.endpoints
                .iter()
                .filter_map(|endpoint| dial_address(endpoint).err()),
        );
        if self.request_timeout.is_zero() {
            problems.push("request timeout must be above 0".to_owned());
        }
        if self.retry_interval.is_zero() || self.retry_interval > self.retry_interval_max {
            problems.push(format!(
                "retry interval {:?} must be above 0 and at most {:?}",
                self.retry_interval, self.retry_interval_max
            ));
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::Config(problems.join("; ")))
        }
    }
}

impl Config {
    /// Refuses what asks for encryption: for clients without certificates.
    pub(crate) fn validate_plain(&self) -> Result<()> {
        let encrypted = |endpoint: &&String| endpoint.starts_with("https://");
        match self.endpoints.iter().find(encrypted) {
            None => Ok(()),
            Some(endpoint) => Err(Error::Config(format!(
                "endpoint {endpoint:?} asks for TLS, but no certificates are configured"
            ))),
        }
    }
}

/// The `host:port` to dial for an endpoint or a member's URL, or what is wrong with it.
pub(crate) fn dial_address(endpoint: &str) -> std::result::Result<&str, String> {
    let address = match endpoint.split_once("://") {
        None => endpoint,
        // Certificates decide about encryption, so that one list of endpoints can serve both.
        Some(("http" | "https", rest)) => rest.trim_end_matches('/'),
        Some((scheme, _)) => {
            return Err(format!(
                "endpoint {endpoint:?}: scheme {scheme:?} is not supported, use http or https"
            ));
        }
    };
    match address.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(address),
        _ => Err(format!("endpoint {endpoint:?} is not host:port")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_urls_or_addresses() {
        assert_eq!(dial_address("127.0.0.1:2379"), Ok("127.0.0.1:2379"));
        assert_eq!(dial_address("http://pd-0:2379/"), Ok("pd-0:2379"));
        assert_eq!(dial_address("http://[::1]:2379"), Ok("[::1]:2379"));
        assert_eq!(dial_address("https://pd-0:2379"), Ok("pd-0:2379"));
        for bad in [
            "",
            "pd",
            "pd:",
            ":2379",
            "pd:99999",
            "http://pd",
            "ftp://pd:1",
        ] {
            assert!(dial_address(bad).is_err(), "{bad}");
        }
        assert!(dial_address("ftp://pd:1").unwrap_err().contains("https"));
    }

    #[test]
    fn encryption_needs_certificates() {
        let config = Config::new(vec!["a:1".to_owned(), "https://b:1".to_owned()]);
        assert_eq!(config.validate(), Ok(()));
        let Err(Error::Config(text)) = config.validate_plain() else {
            panic!("accepted");
        };
        assert!(text.contains("https://b:1"), "{text}");
    }

    #[test]
    fn every_problem_is_named() {
        let mut config = Config::new(vec!["nowhere".to_owned()]);
        config.request_timeout = Duration::ZERO;
        config.retry_interval = Duration::from_secs(9);
        let Err(Error::Config(text)) = config.validate() else {
            panic!("accepted");
        };
        for part in ["nowhere", "request timeout", "retry interval"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(Config::new(Vec::new()).validate().is_err());
        assert_eq!(Config::new(vec!["a:1".to_owned()]).validate(), Ok(()));
    }
}
