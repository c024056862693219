//! Settings: flags over the configuration file over defaults, under the original's names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Parser;
use online_config::ReadableDuration;
use security::Security;
use serde::Deserialize;

/// The known keys of the file, for hints about unknown ones.
const KEYS: &[&str] = &[
    "name",
    "data-dir",
    "client-urls",
    "advertise-client-urls",
    "gc-life-time",
    "gc-run-interval",
    "gc-reclaim",
    "log.level",
    "log.format",
    "log.file.filename",
    "security.cacert-path",
    "security.cert-path",
    "security.key-path",
    "security.cert-allowed-cn",
    "security.cert-allowed-san",
    "security.redact-info-log",
];

/// The placement driver of a TiKV-compatible cluster, alone.
#[derive(Debug, Parser)]
#[command(name = "pd-server", version, disable_help_subcommand = true)]
pub(crate) struct Flags {
    /// The configuration file (TOML)
    #[arg(short = 'C', long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The name of this member [default: pd]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Where the metadata is kept [default: ./default.NAME]
    #[arg(short = 's', long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Where to listen for clients, separated by commas [default: http://127.0.0.1:2379, or https
    /// with certificates]
    #[arg(
        long,
        visible_alias = "addr",
        value_name = "URL",
        value_delimiter = ','
    )]
    client_urls: Vec<String>,

    /// The URLs that clients are told [default: those of --client-urls]
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    advertise_client_urls: Vec<String>,

    /// How long versions stay readable as long as no client collects garbage; 0s leaves all of
    /// that to clients [default: 10m]
    #[arg(long, value_name = "DURATION")]
    gc_life_time: Option<ReadableDuration>,

    /// How often the safe point is moved [default: 10m]
    #[arg(long, value_name = "DURATION")]
    gc_run_interval: Option<ReadableDuration>,

    /// Takes garbage collection back from a client that had it and is gone for good
    #[arg(long)]
    gc_reclaim: bool,

    /// The least severe level of the log: trace, debug, info, warn, error
    #[arg(short = 'L', long, value_name = "LEVEL")]
    log_level: Option<logger::Level>,

    /// The log file; standard error when there is none
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,

    /// The PEM file of the authorities to trust; with --cert and --key it turns TLS on
    #[arg(long, value_name = "FILE")]
    cacert: Option<String>,

    /// The PEM file of this member's certificate
    #[arg(long, value_name = "FILE")]
    cert: Option<String>,

    /// The PEM file of the certificate's key
    #[arg(long, value_name = "FILE")]
    key: Option<String>,
}

/// The configuration file. Lists of URLs are text with commas, as in the original's.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct File {
    name: Option<String>,
    data_dir: Option<PathBuf>,
    client_urls: Option<String>,
    advertise_client_urls: Option<String>,
    gc_life_time: Option<ReadableDuration>,
    gc_run_interval: Option<ReadableDuration>,
    gc_reclaim: bool,
    log: LogSection,
    security: SecuritySection,
}

/// The original's name of the authorities' file differs from that of the stores.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct SecuritySection {
    cacert_path: String,
    cert_path: String,
    key_path: String,
    cert_allowed_cn: BTreeSet<String>,
    cert_allowed_san: BTreeSet<String>,
    redact_info_log: logger::RedactMode,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LogSection {
    level: Option<logger::Level>,
    format: logger::Format,
    file: LogFileSection,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LogFileSection {
    filename: Option<PathBuf>,
}

/// What holds in the end.
#[derive(Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) client_urls: Vec<String>,
    pub(crate) advertise_client_urls: Vec<String>,
    gc_life_time: ReadableDuration,
    gc_run_interval: ReadableDuration,
    gc_reclaim: bool,
    log_level: logger::Level,
    log_format: logger::Format,
    log_file: Option<PathBuf>,
    redact: logger::RedactMode,
    security: security::Config,
}

impl Settings {
    /// The settings, and what is odd about the file.
    pub(crate) fn from_flags(flags: Flags) -> anyhow::Result<(Settings, Vec<String>)> {
        let (file, warnings) = match &flags.config {
            Some(path) => read(path)?,
            None => (File::default(), Vec::new()),
        };
        let name = flags.name.or(file.name).unwrap_or_else(|| "pd".to_owned());
        let default_dir = || PathBuf::from(format!("default.{name}"));
        let redact = file.security.redact_info_log;
        let security = certificates([flags.cacert, flags.cert, flags.key], file.security)?;
        let mut client_urls = first_given(flags.client_urls, file.client_urls);
        if client_urls.is_empty() {
            let scheme = if security.is_enabled() {
                "https"
            } else {
                "http"
            };
            client_urls.push(format!("{scheme}://127.0.0.1:2379"));
        }
        let settings = Settings {
            data_dir: flags.data_dir.or(file.data_dir).unwrap_or_else(default_dir),
            name,
            client_urls,
            advertise_client_urls: first_given(
                flags.advertise_client_urls,
                file.advertise_client_urls,
            ),
            gc_life_time: flags
                .gc_life_time
                .or(file.gc_life_time)
                .unwrap_or(ReadableDuration::minutes(10)),
            gc_run_interval: flags
                .gc_run_interval
                .or(file.gc_run_interval)
                .unwrap_or(ReadableDuration::minutes(10)),
            gc_reclaim: flags.gc_reclaim || file.gc_reclaim,
            log_level: flags.log_level.or(file.log.level).unwrap_or_default(),
            log_format: file.log.format,
            log_file: flags.log_file.or(file.log.file.filename),
            redact,
            security,
        };
        Ok((settings, warnings))
    }

    /// Where the certificates are.
    pub(crate) fn security(&self) -> &security::Config {
        &self.security
    }

    pub(crate) fn pd_config(&self, security: Security) -> pd::PdConfig {
        pd::PdConfig {
            security,
            name: self.name.clone(),
            client_urls: self.client_urls.clone(),
            advertise_client_urls: self.advertise_client_urls.clone(),
            gc_life_time: self.gc_life_time.0,
            gc_run_interval: self.gc_run_interval.0,
            gc_reclaim: self.gc_reclaim,
            ..pd::PdConfig::default()
        }
    }

    pub(crate) fn logger(&self) -> logger::Config {
        logger::Config {
            level: self.log_level,
            format: self.log_format,
            file: self.log_file.clone(),
            redact: self.redact,
            ..logger::Config::default()
        }
    }
}

/// The certificates, with the flags over the file.
fn certificates(
    flags: [Option<String>; 3],
    file: SecuritySection,
) -> anyhow::Result<security::Config> {
    let [ca, cert, key] = flags;
    let config = security::Config {
        ca_path: ca.unwrap_or(file.cacert_path),
        cert_path: cert.unwrap_or(file.cert_path),
        key_path: key.unwrap_or(file.key_path),
        cert_allowed_cn: file.cert_allowed_cn,
        cert_allowed_san: file.cert_allowed_san,
    };
    let problems = config.validate();
    if problems.is_empty() {
        Ok(config)
    } else {
        bail!(security::Error::Config(problems))
    }
}

fn first_given(flag: Vec<String>, file: Option<String>) -> Vec<String> {
    if !flag.is_empty() {
        return flag;
    }
    let text = file.unwrap_or_default();
    let urls = text.split(',').map(str::trim);
    urls.filter(|url| !url.is_empty())
        .map(str::to_owned)
        .collect()
}

fn read(path: &Path) -> anyhow::Result<(File, Vec<String>)> {
    let named = || format!("configuration file {}", path.display());
    let text = std::fs::read_to_string(path).with_context(named)?;
    parse(&text).with_context(named)
}

fn parse(text: &str) -> anyhow::Result<(File, Vec<String>)> {
    let table: toml::Table = toml::from_str(text)?;
    // A file that asks for it believes in a promise that would not be kept.
    if table.contains_key("replication-mode") {
        bail!("[replication-mode] is not supported; remove the section");
    }
    let mut warnings = Vec::new();
    let file = serde_ignored::deserialize(table, |key| warnings.push(unknown(&key.to_string())))?;
    Ok((file, warnings))
}

fn unknown(key: &str) -> String {
    let nearest = KEYS
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    match nearest {
        Some((_, known)) => format!("unknown key {key:?}, did you mean {known:?}?"),
        None => format!("unknown key {key:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &[&str]) -> anyhow::Result<(Settings, Vec<String>)> {
        let args = ["pd-server"].iter().chain(args);
        Settings::from_flags(Flags::try_parse_from(args)?)
    }

    #[test]
    fn defaults_are_those_of_the_original() {
        let (settings, warnings) = settings(&[]).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(settings.data_dir, Path::new("default.pd"));
        assert_eq!(settings.client_urls, ["http://127.0.0.1:2379"]);
        settings.pd_config(Security::disabled()).validate().unwrap();
    }

    #[test]
    fn flags_win_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "name = 'a'\ngc-life-time = '1h'\ndata-dir = '/x'\nclient-urls = 'http://a:1, http://b:2'\n\
                    [log]\nlevel = 'warn'\n[log.file]\nfilename = '/l'\n";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let (from_file, _) = settings(&["--config", path]).unwrap();
        assert_eq!(from_file.client_urls, ["http://a:1", "http://b:2"]);
        assert_eq!(from_file.data_dir, Path::new("/x"));
        assert_eq!(from_file.log_level, logger::Level::Warn);
        assert_eq!(from_file.log_file.as_deref(), Some(Path::new("/l")));
        assert_eq!(from_file.gc_life_time, ReadableDuration::hours(1));
        let flags = ["-C", path, "--name", "b", "--addr", "c:3", "-L", "debug"];
        let (both, _) = settings(&flags).unwrap();
        assert_eq!(
            (both.name.as_str(), &both.client_urls[..]),
            ("b", &["c:3".to_owned()][..])
        );
        assert_eq!(both.data_dir, Path::new("/x"));
        assert_eq!(both.log_level, logger::Level::Debug);
    }

    #[test]
    fn certificates_come_from_flags_and_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[security]\ncacert-path = 'a'\ncert-path = 'b'\nkey-path = 'c'\n\
                    cert-allowed-cn = ['tikv']\nredact-info-log = true\n";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let (from_file, warnings) = settings(&["--config", path]).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(from_file.client_urls, ["https://127.0.0.1:2379"]);
        assert_eq!(from_file.logger().redact, logger::RedactMode::On);
        assert!(from_file.security().cert_allowed_cn.contains("tikv"));
        let (both, _) = settings(&["--config", path, "--cert", "x"]).unwrap();
        assert_eq!(
            (both.security.cert_path, both.security.key_path),
            ("x".to_owned(), "c".to_owned())
        );
        let all = ["--cacert", "a", "--cert", "b", "--key", "c"];
        assert!(settings(&all).unwrap().0.security.is_enabled());
        let half = settings(&["--cacert", "a"]).unwrap_err().to_string();
        assert!(half.contains("security.cert-path"), "{half}");
    }

    #[test]
    fn odd_files_are_told_apart_from_wrong_ones() {
        let (_, warnings) = parse("client-url = 'x'\n[schedule]\nmax = 1\n").unwrap();
        assert_eq!(
            warnings,
            [
                "unknown key \"client-url\", did you mean \"client-urls\"?",
                "unknown key \"schedule\""
            ]
        );
        for wrong in [
            "name = 1",
            "[log]\nlevel = 'loud'",
            "name =",
            "[replication-mode]\nreplication-mode = 'majority'",
            "[security]\ncert-allowed-cn = 'a'",
            "[security]\nredact-info-log = 7",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(settings(&["--config", "/does/not/exist"]).is_err());
        assert!(settings(&["--peer-urls", "x"]).is_err());
    }
}
