//! The flags of `tikv-server`: the original's names, over the configuration file.
//!
//! Precedence: flag, then file, then default. A flag exists only if it changes something.

use std::path::PathBuf;

use clap::Parser;
use online_config::ReadableSize;
use server::config::Config;

/// A TiKV-compatible key-value server. Without flags it runs alone, with a placement driver of its own.
#[derive(Debug, Parser)]
#[command(name = "tikv-server", version, disable_help_subcommand = true)]
pub(crate) struct Flags {
    /// The configuration file
    #[arg(short = 'C', long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Check the configuration and exit
    #[arg(long)]
    pub(crate) config_check: bool,

    /// The least severe level of the log: trace, debug, info, warn, error
    #[arg(short = 'L', long, visible_alias = "log", value_name = "LEVEL")]
    log_level: Option<logger::Level>,

    /// The log file; standard error when there is none
    #[arg(short = 'f', long, value_name = "FILE")]
    log_file: Option<String>,

    /// Where to listen for clients [default: 127.0.0.1:20160]
    #[arg(short = 'A', long, value_name = "IP:PORT")]
    addr: Option<String>,

    /// The address that clients are told [default: the one of --addr]
    #[arg(long, visible_alias = "advertise", value_name = "HOST:PORT")]
    advertise_addr: Option<String>,

    /// Where to listen for HTTP requests for status and metrics [default: 127.0.0.1:20180]
    #[arg(long, value_name = "IP:PORT")]
    status_addr: Option<String>,

    /// The status address that others are told [default: the one of --status-addr]
    #[arg(long, value_name = "HOST:PORT")]
    advertise_status_addr: Option<String>,

    /// Where the data is kept [default: ./tikv-data]
    #[arg(short = 's', long, visible_alias = "store", value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Space that the store may use, as in 100GiB [default: all of the disk]
    #[arg(long, value_name = "SIZE")]
    capacity: Option<ReadableSize>,

    /// Placement drivers, separated by commas; without any the server runs one of its own
    #[arg(
        long,
        visible_alias = "pd",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        conflicts_with_all = ["pd_addr", "advertise_pd_addr"]
    )]
    pd_endpoints: Vec<String>,

    /// Where the server's own placement driver listens [default: 127.0.0.1:2379]
    #[arg(long, value_name = "IP:PORT")]
    pd_addr: Option<String>,

    /// The address of the server's own placement driver that clients are told
    #[arg(long, value_name = "HOST:PORT")]
    advertise_pd_addr: Option<String>,

    /// Labels of this store, as in zone=z1,host=h1
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    labels: Vec<(String, String)>,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a label is key=value".to_owned()),
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

impl Flags {
    /// Writes what was given over `config`.
    pub(crate) fn apply(self, config: &mut Config) {
        set(&mut config.log.level, self.log_level);
        set(&mut config.log.file.filename, self.log_file);
        set(&mut config.server.addr, self.addr);
        set(&mut config.server.advertise_addr, self.advertise_addr);
        set(&mut config.server.status_addr, self.status_addr);
        set(
            &mut config.server.advertise_status_addr,
            self.advertise_status_addr,
        );
        set(&mut config.storage.data_dir, self.data_dir);
        set(&mut config.raftstore.capacity, self.capacity);
        if self.pd_addr.is_some() {
            // Asking for an own placement driver overrides the file's list of others.
            config.pd.endpoints.clear();
        }
        set(&mut config.pd.embedded.addr, self.pd_addr);
        set(
            &mut config.pd.embedded.advertise_addr,
            self.advertise_pd_addr,
        );
        if !self.pd_endpoints.is_empty() {
            config.pd.endpoints = self.pd_endpoints;
        }
        config.server.labels.extend(self.labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(args: &[&str]) -> Config {
        let mut config = Config::default();
        let flags = Flags::parse_from([&["tikv-server"], args].concat());
        flags.apply(&mut config);
        config
    }

    #[test]
    fn flags_go_over_the_configuration() {
        assert_eq!(config(&[]), Config::default());
        let config = config(&[
            "-A",
            "10.0.0.1:1",
            "--advertise-addr",
            "h:2",
            "--status-addr",
            "10.0.0.1:3",
            "-s",
            "/data",
            "--pd",
            "a:1,b:2",
            "-L",
            "warn",
            "-f",
            "/tmp/log",
            "--capacity",
            "10GiB",
            "--labels",
            "zone=z1,host=h1",
        ]);
        assert_eq!(config.server.addr, "10.0.0.1:1");
        assert_eq!(config.server.advertise_addr, "h:2");
        assert_eq!(config.server.status_addr, "10.0.0.1:3");
        assert_eq!(config.storage.data_dir, PathBuf::from("/data"));
        assert_eq!(config.pd.endpoints, ["a:1", "b:2"]);
        assert_eq!(config.log.level, logger::Level::Warn);
        assert_eq!(config.log.file.filename, "/tmp/log");
        assert_eq!(config.raftstore.capacity, ReadableSize::gb(10));
        assert_eq!(config.server.labels.len(), 2);
    }

    #[test]
    fn a_server_has_one_kind_of_placement_driver() {
        let both = ["tikv-server", "--pd", "a:1", "--pd-addr", "127.0.0.1:1"];
        assert!(Flags::try_parse_from(both).is_err());
        let mut config = Config::default();
        config.pd.endpoints = vec!["a:1".to_owned()];
        Flags::parse_from(["tikv-server", "--pd-addr", "127.0.0.1:1"]).apply(&mut config);
        assert_eq!(config.pd.endpoints, Vec::<String>::new());
        assert_eq!(config.pd.embedded.addr, "127.0.0.1:1");
    }

    #[test]
    fn a_label_has_a_key() {
        assert!(Flags::try_parse_from(["tikv-server", "--labels", "zone"]).is_err());
        assert!(Flags::try_parse_from(["tikv-server", "--labels", "=z"]).is_err());
    }
}
