//! Where the programs under test are, built when they are missing or older than their sources.
//!
//! A test of one package cannot ask cargo for the binaries of another. They stand beside the test
//! executable, `target/<profile>/`, when the workspace was built; otherwise one `cargo build` per
//! process brings them there. `TIKV_TEST_BINARIES` names another directory, used as it is.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use anyhow::{Context, bail, ensure};

/// The programs of the workspace.
const PROGRAMS: [&str; 3] = ["tikv-server", "pd-server", "tikv-ctl"];

/// Directory of ready binaries that overrides the search.
pub const OVERRIDE: &str = "TIKV_TEST_BINARIES";

/// The path of `tikv-server`.
pub fn tikv_server() -> anyhow::Result<PathBuf> {
    program("tikv-server")
}

/// The path of `pd-server`.
pub fn pd_server() -> anyhow::Result<PathBuf> {
    program("pd-server")
}

/// The path of `tikv-ctl`.
pub fn tikv_ctl() -> anyhow::Result<PathBuf> {
    program("tikv-ctl")
}

/// The path of an example of this package.
pub fn example(name: &str) -> anyhow::Result<PathBuf> {
    let place = Place::of_this_process()?;
    let path = place.output.join("examples").join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name)
        .with_extension("rs");
    if age(&path)? < newest(&source)? {
        place.build(&["--package", "integration_tests", "--example", name])?;
    }
    ensure!(
        path.is_file(),
        "cargo built {name} but not at {}",
        path.display()
    );
    Ok(path)
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let directory = match env::var_os(OVERRIDE) {
        Some(directory) => PathBuf::from(directory),
        None => BUILT
            .get_or_init(|| build_programs().map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(anyhow::Error::msg)?,
    };
    let path = directory.join(name);
    ensure!(path.is_file(), "no {name} in {}", directory.display());
    Ok(path)
}

fn build_programs() -> anyhow::Result<PathBuf> {
    let place = Place::of_this_process()?;
    let sources = newest_of_the_product()?;
    let stale = PROGRAMS
        .iter()
        .map(|name| age(&place.output.join(name)))
        .collect::<anyhow::Result<Vec<_>>>()?
        .into_iter()
        .any(|built| built < sources);
    if stale {
        let packages: Vec<_> = PROGRAMS
            .iter()
            .flat_map(|program| ["--package", program])
            .collect();
        place.build(&packages)?;
    }
    Ok(place.output)
}

/// A target directory and a profile in it.
struct Place {
    /// `target/<profile>`, or `target/<triple>/<profile>`.
    output: PathBuf,
    /// The profile's name as `--profile` takes it.
    profile: String,
}

impl Place {
    fn of_this_process() -> anyhow::Result<Place> {
        let executable = env::current_exe().context("path of this executable")?;
        Place::of(&executable)
    }

    /// `target/<profile>/deps/<name>-<hash>` is where cargo puts a test.
    fn of(executable: &Path) -> anyhow::Result<Place> {
        let output = executable
            .ancestors()
            .find(|path| path.file_name().is_some_and(|name| name == "deps"))
            .and_then(Path::parent)
            .with_context(|| format!("{} is not below a deps directory", executable.display()))?;
        let name = output
            .file_name()
            .and_then(|name| name.to_str())
            .context("profile's name")?;
        let profile = if name == "debug" { "dev" } else { name };
        Ok(Place {
            output: output.to_owned(),
            profile: profile.to_owned(),
        })
    }

    fn build(&self, what: &[&str]) -> anyhow::Result<()> {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .arg("build")
            .args(["--profile", &self.profile])
            .args(what);
        command.current_dir(workspace_root()?);
        let target = self
            .output
            .parent()
            .context("a profile without target directory")?;
        command.env("CARGO_TARGET_DIR", target);
        let output = command.output().context("start cargo")?;
        if !output.status.success() {
            bail!(
                "{command:?} failed:\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }
}

fn workspace_root() -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(manifest
        .ancestors()
        .nth(2)
        .context("the package is not in crates/")?
        .to_owned())
}

/// Modification time in nanoseconds since 1970; 0 for what does not exist.
fn age(path: &Path) -> anyhow::Result<u128> {
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error).with_context(|| format!("stat {}", path.display())),
        Ok(metadata) => Ok(metadata
            .modified()?
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos()),
    }
}

/// The newest file below `path`, or `path` itself.
fn newest(path: &Path) -> anyhow::Result<u128> {
    let mut newest = 0;
    if path.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            newest = newest.max(self::newest(&entry?.path())?);
        }
    } else {
        newest = age(path)?;
    }
    Ok(newest)
}

/// The newest source that the servers can depend on. Tests of other crates and this crate are not
/// among them: a change there must not cost a call of cargo.
fn newest_of_the_product() -> anyhow::Result<u128> {
    let root = workspace_root()?;
    let mut newest_source = newest(&root.join("Cargo.lock"))?;
    for entry in fs::read_dir(root.join("crates")).context("list crates")? {
        let entry = entry?;
        if entry.file_name() == "integration_tests" {
            continue;
        }
        for part in ["src", "proto", "build.rs", "Cargo.toml"] {
            newest_source = newest_source.max(newest(&entry.path().join(part))?);
        }
    }
    Ok(newest_source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_and_directory_come_from_the_path_of_the_test() {
        let place = Place::of(Path::new("/t/debug/deps/it-0123")).unwrap();
        assert_eq!(
            (place.output.to_str(), place.profile.as_str()),
            (Some("/t/debug"), "dev")
        );
        let place = Place::of(Path::new("/t/x86_64-unknown-linux-gnu/release/deps/it")).unwrap();
        assert_eq!(place.profile, "release");
        assert!(Place::of(Path::new("/usr/bin/it")).is_err());
    }

    #[test]
    fn a_missing_file_is_older_than_any_source() {
        assert_eq!(age(Path::new("/no/such/file")).unwrap(), 0);
        assert!(newest_of_the_product().unwrap() > 0);
    }
}
