//! Why certificates cannot be used. Names files and reasons, never what a file holds.

use std::path::PathBuf;

use crate::config::ConfigProblem;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration contradicts itself.
    #[error("{}", listed(.0))]
    Config(Vec<ConfigProblem>),
    /// A file cannot be read.
    #[error("{key} {}: {reason}", path.display())]
    Read {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A file was read, but cannot be used.
    #[error("{key} {}: {reason}", path.display())]
    Content {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The result of everything that reads certificates.
pub type Result<T> = std::result::Result<T, Error>;

fn listed(problems: &[ConfigProblem]) -> String {
    let lines = problems.iter();
    let lines = lines.map(|problem| {
        let ConfigProblem {
            key,
            value,
            allowed,
        } = problem;
        format!("security.{key} = {value}: {allowed}")
    });
    lines.collect::<Vec<_>>().join("; ")
}
