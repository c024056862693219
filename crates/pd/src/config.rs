//! The settings of a placement driver and their limits.

use std::sync::Arc;
use std::time::Duration;

use security::Security;

use crate::etcd::EtcdLimits;
use crate::{Error, Result};

/// Called once when the disk failed a write: nothing may be assumed about it from then on.
pub type FatalHandler = Arc<dyn Fn(&str) + Send + Sync>;

/// The shortest life time and pause of garbage collection. Below it, transactions that nobody would
/// call long lose what they read.
pub const GC_TIME_MIN: Duration = Duration::from_secs(10);
/// The longest life time and pause of garbage collection: ten years.
pub const GC_TIME_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// How a placement driver presents itself.
#[derive(Clone)]
pub struct PdConfig {
    /// The member's name, for people. Default `pd`.
    pub name: String,
    /// Where to listen: `host:port` or `http://host:port`, or `https` with certificates. Port 0
    /// picks a free one.
    pub client_urls: Vec<String>,
    /// Under which URLs others reach it. Empty: the same as `client_urls`, with the ports that
    /// were picked and a wildcard host replaced by the loopback address.
    pub advertise_client_urls: Vec<String>,
    /// The version it reports, in the form of store versions.
    pub version: String,
    /// The source revision it reports.
    pub git_hash: String,
    /// Threads that serve gRPC. Default 1: a placement driver does little.
    pub grpc_threads: usize,
    /// Calls that one connection may have open at once. Default 1024.
    pub grpc_concurrent_streams: i32,
    /// Memory in bytes that gRPC may hold for all connections. Default 512 MiB.
    pub grpc_memory_quota: usize,
    /// How much the revisioned store of the etcd subset may hold.
    pub etcd: EtcdLimits,
    /// How long versions stay readable as long as no client collects garbage; 0 leaves all that to
    /// clients. Default 10 minutes. Each run resolves the locks of dead transactions in every
    /// region, at the addresses that stores have told.
    pub gc_life_time: Duration,
    /// The pause between two moves of the safe point. Default 10 minutes.
    pub gc_run_interval: Duration,
    /// Takes garbage collection back, at the start, from a client that had taken it over. Default
    /// false: nobody but a person knows that this client is gone for good.
    pub gc_reclaim: bool,
    /// Certificates of the port, and towards stores. Default: none, plain text.
    pub security: Security,
    /// What to do when the disk fails. Default: log and abort the process.
    pub on_fatal: FatalHandler,
}

impl Default for PdConfig {
    fn default() -> Self {
        PdConfig {
            name: "pd".to_owned(),
            client_urls: vec!["127.0.0.1:2379".to_owned()],
            advertise_client_urls: Vec::new(),
            version: "8.5.5".to_owned(),
            git_hash: String::new(),
            grpc_threads: 1,
            grpc_concurrent_streams: 1024,
            grpc_memory_quota: 512 << 20,
            etcd: EtcdLimits::default(),
            gc_life_time: Duration::from_secs(600),
            gc_run_interval: Duration::from_secs(600),
            gc_reclaim: false,
            security: Security::disabled(),
            on_fatal: Arc::new(|reason| {
                tracing::error!(reason, "placement driver cannot go on");
                std::process::abort();
            }),
        }
    }
}

impl PdConfig {
    /// Refuses settings that cannot work, with every reason at once.
    pub fn validate(&self) -> Result<()> {
        let mut problems = Vec::new();
        if self.name.is_empty() {
            problems.push("name must not be empty".to_owned());
        }
        if self.client_urls.is_empty() {
            problems.push("client-urls must name at least one address".to_owned());
        }
        let urls = self.client_urls.iter().map(|url| ("client-urls", url));
        let advertised = self.advertise_client_urls.iter();
        let all = urls.chain(advertised.map(|url| ("advertise-client-urls", url)));
        problems.extend(all.filter_map(|(key, url)| {
            split_url(url)
                .and_then(|_| fits(url, &self.security))
                .err()
                .map(|problem| format!("{key}: {url:?}: {problem}"))
        }));
        if let Err(error) = crate::version::parse(&self.version) {
            problems.push(error.to_string());
        }
        if !(1..=128).contains(&self.grpc_threads) {
            problems.push(format!(
                "grpc-threads is {}, allowed are 1 to 128",
                self.grpc_threads
            ));
        }
        if self.grpc_concurrent_streams < 1 {
            problems.push(format!(
                "grpc-concurrent-streams is {}, allowed are 1 and more",
                self.grpc_concurrent_streams
            ));
        }
        // Below twice the largest message a single request could starve every other.
        if self.grpc_memory_quota < 2 * crate::server::MESSAGE_BYTES_MAX {
            problems.push(format!(
                "grpc-memory-quota is {}, allowed are {} and more",
                self.grpc_memory_quota,
                2 * crate::server::MESSAGE_BYTES_MAX
            ));
        }
        for (key, duration) in [
            ("gc-life-time", self.gc_life_time),
            ("gc-run-interval", self.gc_run_interval),
        ] {
            let off = key == "gc-life-time" && duration.is_zero();
            if !off && !(GC_TIME_MIN..=GC_TIME_MAX).contains(&duration) {
                problems.push(format!(
                    "{key} is {duration:?}, allowed are {GC_TIME_MIN:?} to {GC_TIME_MAX:?}"
                ));
            }
        }
        let limits = self.etcd.problems().into_iter();
        problems.extend(limits.map(|(field, value, least, most)| {
            format!("etcd.{field} is {value}, allowed are {least} to {most}")
        }));
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Error::Config(problems.join("; ")))
        }
    }
}

/// A scheme that is written must be the one that is spoken.
fn fits(url: &str, security: &Security) -> std::result::Result<(), String> {
    match url.split_once("://") {
        Some(("http", _)) if security.is_enabled() => {
            Err("certificates are configured, use https".to_owned())
        }
        Some(("https", _)) if !security.is_enabled() => {
            Err("no certificates are configured, use http".to_owned())
        }
        _ => Ok(()),
    }
}

/// Host and port of a URL or address.
pub(crate) fn split_url(url: &str) -> std::result::Result<(&str, u16), String> {
    let address = match url.split_once("://") {
        None => url,
        Some(("http" | "https", rest)) => rest.trim_end_matches('/'),
        Some((scheme, _)) => {
            return Err(format!(
                "scheme {scheme:?} is not supported, use http or https"
            ));
        }
    };
    let (host, port) = address.rsplit_once(':').ok_or("a port is missing")?;
    if host.is_empty() {
        return Err("a host is missing".to_owned());
    }
    // Else "::1" would be read as host ":" and port 1.
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err("an IPv6 host must stand in brackets".to_owned());
    }
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is no port number"))?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("http://127.0.0.1:2379", Ok(("127.0.0.1", 2379)); "url")]
    #[test_case("http://pd-0.pd:0/", Ok(("pd-0.pd", 0)); "trailing slash, free port")]
    #[test_case("[::1]:80", Ok(("[::1]", 80)); "ipv6")]
    #[test_case("localhost", Err("a port is missing"); "no port")]
    #[test_case(":1", Err("a host is missing"); "no host")]
    #[test_case("::1:1", Err("an IPv6 host must stand in brackets"); "bare ipv6")]
    #[test_case("a:70000", Err("\"70000\" is no port number"); "port range")]
    #[test_case("https://a:1", Ok(("a", 1)); "encrypted")]
    #[test_case("ftp://a:1", Err("scheme \"ftp\" is not supported, use http or https"); "scheme")]
    fn urls(url: &str, expected: std::result::Result<(&str, u16), &str>) {
        assert_eq!(split_url(url), expected.map_err(str::to_owned));
    }

    #[test]
    fn every_problem_is_named() {
        let config = PdConfig {
            name: String::new(),
            client_urls: vec!["x".to_owned()],
            advertise_client_urls: vec!["y".to_owned()],
            version: "new".to_owned(),
            grpc_threads: 0,
            grpc_concurrent_streams: 0,
            grpc_memory_quota: 1,
            gc_life_time: Duration::from_secs(1),
            gc_run_interval: Duration::ZERO,
            etcd: EtcdLimits {
                leases_max: 0,
                response_bytes_max: usize::MAX,
                ..EtcdLimits::default()
            },
            ..PdConfig::default()
        };
        let text = config.validate().unwrap_err().to_string();
        for part in [
            "name",
            "client-urls: \"x\"",
            "advertise-client-urls: \"y\"",
            "\"new\"",
            "grpc-threads is 0",
            "grpc-concurrent-streams is 0",
            "grpc-memory-quota is 1",
            "gc-life-time is 1s",
            "gc-run-interval is 0ns",
            "etcd.leases_max is 0, allowed are 16 to",
            "etcd.response_bytes_max is",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(PdConfig::default().validate(), Ok(()));
        let off = PdConfig {
            gc_life_time: Duration::ZERO,
            ..PdConfig::default()
        };
        assert_eq!(off.validate(), Ok(()));
    }
}
