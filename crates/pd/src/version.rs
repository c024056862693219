//! Versions of stores and of the cluster: semantic versions with the liberties that stores take.

use semver::Version;

use crate::{Error, Result};

/// Parses what a store calls its version: a leading `v` is allowed, nothing counts as 1.0.0.
pub fn parse(text: &str) -> Result<Version> {
    let bare = text.strip_prefix('v').unwrap_or(text);
    if bare.is_empty() {
        return Ok(Version::new(1, 0, 0));
    }
    Version::parse(bare)
        .map_err(|error| Error::Refused(format!("invalid store version {text:?}: {error}")))
}

/// Whether a store of this version may join: it is newer, or of the same minor release.
pub fn is_compatible(cluster: &Version, store: &Version) -> bool {
    store > cluster || (store.major, store.minor) == (cluster.major, cluster.minor)
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::*;

    #[test_case("8.5.5", "8.5.5", true; "same")]
    #[test_case("8.5.5", "8.5.1", true; "same minor release")]
    #[test_case("8.5.5", "9.0.0-alpha", true; "newer")]
    #[test_case("8.5.5", "8.4.9", false; "older minor release")]
    #[test_case("8.5.5", "7.5.5", false; "older major release")]
    #[test_case("8.5.5", "v8.5.9", true; "leading v")]
    #[test_case("1.0.0", "", true; "no version")]
    fn compatibility(cluster: &str, store: &str, expected: bool) {
        let answer = is_compatible(&parse(cluster).unwrap(), &parse(store).unwrap());
        assert_eq!(answer, expected);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["abc", "1", "1.2", "1.2.x", "vv1.2.3"] {
            assert!(parse(text).unwrap_err().to_string().contains(text));
        }
    }
}
