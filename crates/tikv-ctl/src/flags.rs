//! The command line, and the same words in the shell.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use online_config::ReadableDuration;

use crate::key::KeyForm;

/// Looks into a cluster and changes its data.
///
/// Keys and values are text with escapes (\n, \377, \xff) unless --hex is given. What is printed can be
/// typed again.
#[derive(Debug, Parser)]
#[command(name = "tikv-ctl", version)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(flatten)]
    pub(crate) style: Style,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which cluster, and how to reach it.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// Placement drivers, separated by commas
    #[arg(
        long,
        visible_alias = "pd-endpoints",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:2379",
        global = true
    )]
    pub(crate) pd: Vec<String>,

    /// The status address of a store, for config and metrics [default: that of the only store]
    #[arg(long, value_name = "HOST:PORT", global = true)]
    pub(crate) status_addr: Option<String>,

    /// The keyspace to work in, where the cluster runs API V2 (as in DEFAULT)
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) keyspace: Option<String>,

    /// The longest wait for one request
    #[arg(long, value_name = "TIME", default_value = "10s", global = true)]
    pub(crate) timeout: ReadableDuration,

    /// The PEM file of the authorities to trust; with --cert-path and --key-path it turns TLS on
    #[arg(long, value_name = "FILE", requires_all = ["cert_path", "key_path"], global = true)]
    pub(crate) ca_path: Option<PathBuf>,

    /// The PEM file of this tool's certificate
    #[arg(long, value_name = "FILE", requires_all = ["ca_path", "key_path"], global = true)]
    pub(crate) cert_path: Option<PathBuf>,

    /// The PEM file of the certificate's private key
    #[arg(long, value_name = "FILE", requires_all = ["ca_path", "cert_path"], global = true)]
    pub(crate) key_path: Option<PathBuf>,
}

/// How to read arguments and write answers.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Style {
    /// Answer in JSON, one document a command
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Keys and values on the command line are hexadecimal digits
    #[arg(long, global = true)]
    hex: bool,
}

impl Style {
    pub(crate) fn form(self) -> KeyForm {
        if self.hex {
            KeyForm::Hex
        } else {
            KeyForm::Escaped
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Work on keys without transactions
    #[command(subcommand)]
    Raw(RawOp),
    /// Work on keys, each command in a transaction of its own
    #[command(subcommand)]
    Txn(TxnOp),
    /// Type commands one after the other, also inside a transaction
    ///
    /// Reads lines from standard input; without a terminal it stops at the first that fails. A word
    /// with a backslash or a blank is quoted: get 'a\x00b'.
    Shell,
    /// Everything that is stored about a key: lock, records, values
    Mvcc {
        /// The key, as clients see it
        key: String,
    },
    /// The locks of a range: whose they are, how old, how long they count
    ///
    /// Nothing is resolved or changed.
    #[command(after_help = LOCKS_EXAMPLES)]
    Locks(LocksArgs),
    /// Why a key is blocked: the lock, what became of its transaction, who waits, what to do
    ///
    /// Nothing is resolved or changed.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    ExplainKey {
        /// The key, as clients see it
        key: String,
    },
    /// The stores of the cluster
    Store {
        /// Only this one
        id: Option<u64>,
    },
    /// The region of a key
    Region {
        /// The key, as clients see it
        key: String,
        /// The region's boundaries hold raw keys: the cluster serves raw keys in API V1
        #[arg(long)]
        raw: bool,
    },
    /// Settings of a running server
    #[command(subcommand)]
    Config(ConfigOp),
    /// Figures of a running server
    Metrics {
        /// Only series whose name contains this
        #[arg(default_value = "")]
        pattern: String,
    },
    /// A key in all its forms, and what it means
    Key {
        /// The key: as clients see it, or as it is stored
        key: String,
    },
    /// Prints a script that completes commands in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

const LOCKS_EXAMPLES: &str = "Examples:
  tikv-ctl locks                             the first hundred locks there are
  tikv-ctl locks a b --older-than 1m         of keys from a to b, of transactions that began a minute ago
  tikv-ctl locks --txn 442531093651652609    of one transaction, by its start timestamp";

const EXPLAIN_EXAMPLES: &str = "Examples:
  tikv-ctl explain-key a
  tikv-ctl --hex explain-key 7480000000000000ff2d --json";

/// Which locks.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct LocksArgs {
    /// The first key
    #[arg(default_value = "")]
    pub(crate) start: String,
    /// The key behind the last [default: no bound]
    pub(crate) end: Option<String>,
    /// Only of transactions that began so long ago, as in 30s
    #[arg(long, value_name = "TIME")]
    pub(crate) older_than: Option<ReadableDuration>,
    /// Only of the transaction with this start timestamp
    #[arg(long, value_name = "START_TS")]
    pub(crate) txn: Option<u64>,
    /// The most locks to show
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: u32,
}

/// Commands on raw keys.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum RawOp {
    /// Reads one key
    Get { key: String },
    /// Writes one key
    Put {
        key: String,
        value: String,
        /// Seconds until the key is gone; needs a cluster with TTL
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        ttl: u64,
    },
    /// Removes one key
    Delete { key: String },
    /// Removes the keys of a range
    DeleteRange {
        /// The first key
        start: String,
        /// The key behind the last
        end: String,
    },
    /// Reads the keys of a range
    Scan(ScanArgs),
    /// Writes a key if it has the value that is expected
    CompareAndSwap {
        key: String,
        value: String,
        /// The expected value; without it the key must be absent
        #[arg(long)]
        previous: Option<String>,
    },
    /// Seconds until a key is gone
    Ttl { key: String },
}

/// Commands on transactional keys.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum TxnOp {
    /// Reads one key
    Get { key: String },
    /// Writes one key
    Put { key: String, value: String },
    /// Writes one key that must not exist
    Insert { key: String, value: String },
    /// Removes one key
    Delete { key: String },
    /// Reads the keys of a range
    Scan(ScanArgs),
}

/// A range to read.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub(crate) struct ScanArgs {
    /// The first key
    #[arg(default_value = "")]
    pub(crate) start: String,
    /// The key behind the last [default: no bound]
    pub(crate) end: Option<String>,
    /// The most keys to read
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10240))]
    pub(crate) limit: u32,
    /// From the end of the range to its start
    #[arg(long)]
    pub(crate) reverse: bool,
    /// Leave values out
    #[arg(long)]
    pub(crate) keys_only: bool,
}

/// Commands on settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigOp {
    /// Prints them
    Show {
        /// Only keys that contain this
        #[arg(default_value = "")]
        pattern: String,
    },
    /// Changes some that may change while the server runs
    Set {
        /// As in log.level=debug
        #[arg(required = true, value_name = "KEY=VALUE", value_parser = assignment)]
        changes: Vec<(String, String)>,
    },
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a setting is key=value".to_owned()),
    }
}

/// A line in the shell.
#[derive(Debug, Parser)]
#[command(multicall = true, disable_help_flag = true)]
pub(crate) struct ShellLine {
    #[command(subcommand)]
    pub(crate) command: ShellCommand,
}

/// The words of the shell.
#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum ShellCommand {
    /// Begin a transaction; the commands without `raw` are in it until commit or rollback
    Begin {
        /// Lock keys when they are written, instead of looking for conflicts at the end
        #[arg(long)]
        pessimistic: bool,
    },
    /// Make the transaction's changes visible
    Commit,
    /// Forget the transaction's changes
    Rollback,
    /// Lock keys in the transaction without writing them
    Lock {
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Work on keys without transactions
    #[command(subcommand)]
    Raw(RawOp),
    #[command(flatten)]
    Txn(TxnOp),
    /// Leave; an open transaction is rolled back
    #[command(visible_alias = "quit")]
    Exit,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use test_case::test_case;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Flags::command().debug_assert();
        ShellLine::command().debug_assert();
    }

    fn shell(line: &[&str]) -> Option<ShellCommand> {
        ShellLine::try_parse_from(line)
            .ok()
            .map(|line| line.command)
    }

    #[test]
    fn the_shell_knows_its_words() {
        let get = TxnOp::Get {
            key: "a".to_owned(),
        };
        assert_eq!(shell(&["get", "a"]), Some(ShellCommand::Txn(get)));
        let get = RawOp::Get {
            key: "a".to_owned(),
        };
        assert_eq!(shell(&["raw", "get", "a"]), Some(ShellCommand::Raw(get)));
        assert_eq!(
            shell(&["begin", "--pessimistic"]),
            Some(ShellCommand::Begin { pessimistic: true })
        );
        assert_eq!(shell(&["quit"]), Some(ShellCommand::Exit));
    }

    #[test_case(&["get"]; "no key")]
    #[test_case(&["put", "a"]; "no value")]
    #[test_case(&["scan", "a", "b", "--limit", "0"]; "nothing to read")]
    #[test_case(&["scan", "a", "b", "--limit", "10241"]; "more than the client reads")]
    #[test_case(&["dance"]; "no such word")]
    fn the_shell_refuses(line: &[&str]) {
        assert_eq!(shell(line), None);
    }

    #[test]
    fn certificates_come_together() {
        let parse = |arguments: &[&str]| Flags::try_parse_from(arguments).is_ok();
        assert!(!parse(&["tikv-ctl", "store", "--ca-path", "a"]));
        let all = ["--ca-path", "a", "--cert-path", "b", "--key-path", "c"];
        assert!(parse(&[&["tikv-ctl", "store"][..], &all[..]].concat()));
    }
}
