//! Installs what is missing where that can be done without asking, and says what to type elsewhere.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::bail;

use super::plan::Missing;
use crate::process::{ask, run};

/// How software comes to a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manager {
    Apt,
    Dnf,
    Pacman,
    Zypper,
    Apk,
    Brew,
}

impl Manager {
    /// The package manager of this machine, if it is one that we know.
    pub(super) fn detect() -> Option<Manager> {
        [
            ("apt-get", Manager::Apt),
            ("dnf", Manager::Dnf),
            ("pacman", Manager::Pacman),
            ("zypper", Manager::Zypper),
            ("apk", Manager::Apk),
            ("brew", Manager::Brew),
        ]
        .into_iter()
        .find_map(|(program, manager)| {
            ask(Command::new(program).arg("--version"))
                .is_some()
                .then_some(manager)
        })
    }

    /// What a person types to install packages.
    fn command(self) -> &'static str {
        match self {
            Manager::Apt => "apt-get install -y --no-install-recommends",
            Manager::Dnf => "dnf install -y",
            Manager::Pacman => "pacman -S --needed",
            Manager::Zypper => "zypper install",
            Manager::Apk => "apk add",
            Manager::Brew => "brew install",
        }
    }

    fn package(self, part: Missing) -> &'static str {
        match (self, part) {
            (Manager::Apt, Missing::Compiler) => "g++",
            (Manager::Apt, Missing::PkgConfig) => "pkg-config",
            (Manager::Apt, Missing::OpenSsl) => "libssl-dev",
            (Manager::Apt, Missing::LibClang) => "libclang-dev",
            (Manager::Apt, Missing::Grpc) => "libgrpc-dev",
            (Manager::Dnf | Manager::Zypper, Missing::Compiler) => "gcc-c++",
            (Manager::Dnf | Manager::Zypper, Missing::PkgConfig) => "pkgconf-pkg-config",
            (Manager::Dnf, Missing::OpenSsl) => "openssl-devel",
            (Manager::Zypper, Missing::OpenSsl) => "libopenssl-devel",
            (Manager::Dnf | Manager::Zypper, Missing::LibClang) => "clang-devel",
            (Manager::Pacman, Missing::Compiler) => "gcc",
            (Manager::Pacman, Missing::OpenSsl) => "openssl",
            (Manager::Pacman, Missing::LibClang) => "clang",
            (Manager::Apk, Missing::Compiler) => "g++ linux-headers",
            (Manager::Apk, Missing::OpenSsl) => "openssl-dev",
            (Manager::Apk, Missing::LibClang) => "clang-dev",
            (Manager::Brew, Missing::Compiler | Missing::LibClang) => "llvm",
            (Manager::Brew, Missing::OpenSsl) => "openssl@3",
            (Manager::Pacman | Manager::Apk | Manager::Brew, Missing::PkgConfig) => "pkgconf",
            (_, Missing::Make) => "make",
            (_, Missing::Cmake) => "cmake",
            (_, Missing::Curl) => "curl",
            (Manager::Brew, Missing::OpenSslProgram) => "openssl@3",
            (_, Missing::OpenSslProgram) => "openssl",
            // Only apt's offer is looked at, so elsewhere this is never missing.
            (_, Missing::Grpc) => "grpc",
        }
    }

    /// The whole line a person types for `missing`.
    fn line(self, missing: &[Missing]) -> String {
        let mut line = self.command().to_owned();
        let mut packages: Vec<&str> = missing.iter().map(|part| self.package(*part)).collect();
        packages.dedup();
        for package in packages {
            line.push(' ');
            line.push_str(package);
        }
        line
    }
}

/// How to become root without being asked for a password.
enum Root {
    Already,
    Sudo,
    No,
}

fn root() -> Root {
    if ask(Command::new("id").arg("-u")).as_deref() == Some("0") {
        Root::Already
    } else if ask(Command::new("sudo").args(["-n", "true"])).is_some() {
        Root::Sudo
    } else {
        Root::No
    }
}

/// Fetches apt's package lists if this is an apt machine where that is allowed: before this, a bare
/// machine cannot say which gRPC it would get. Failing is no error; installing will tell.
pub(super) fn refresh() {
    if Manager::detect() == Some(Manager::Apt)
        && let Some(mut update) = apt(&["update"])
    {
        println!("setup: fetching the package lists");
        let _ = run(&mut update);
    }
}

/// Installs `missing`, or fails with what a person has to type.
pub(super) fn install(missing: &[Missing]) -> anyhow::Result<()> {
    let Some(manager) = Manager::detect() else {
        bail!(
            "install what is listed above, then run this again ({})",
            system()
        );
    };
    if manager == Manager::Apt {
        let mut arguments = vec!["install", "-y", "--no-install-recommends"];
        arguments.extend(missing.iter().map(|part| manager.package(*part)));
        if let Some(mut command) = apt(&arguments) {
            return run(&mut command);
        }
        bail!("type `sudo {}`, then run this again", manager.line(missing));
    }
    let sudo = if manager == Manager::Brew {
        ""
    } else {
        "sudo "
    };
    bail!(
        "type `{sudo}{}`, then run this again ({})",
        manager.line(missing),
        system()
    );
}

/// Installs Debian packages that are no part of the build, without starting what they contain.
pub(crate) fn install_packages(packages: &[&str]) -> anyhow::Result<()> {
    let by_hand = format!("apt-get install {}", packages.join(" "));
    if Manager::detect() != Some(Manager::Apt) {
        bail!("on Debian `{by_hand}` would bring them ({})", system());
    }
    refresh();
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    match apt(&arguments) {
        // At run level 1 the maintainers' scripts start no service.
        Some(mut command) => run(command.env("RUNLEVEL", "1")),
        None => bail!("`sudo {by_hand}` brings them"),
    }
}

/// apt-get with `arguments`, in a form that asks nobody; `None` without the rights to run it.
fn apt(arguments: &[&str]) -> Option<Command> {
    let mut command = match root() {
        Root::Already => Command::new("apt-get"),
        Root::Sudo => {
            let mut command = Command::new("sudo");
            command.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
            command
        }
        Root::No => return None,
    };
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-q"])
        .args(arguments);
    command.stdin(Stdio::null());
    Some(command)
}

/// The name of the operating system, for messages.
fn system() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(
            || std::env::consts::OS.to_owned(),
            |name| name.trim_matches('"').to_owned(),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_gets_its_own_names() {
        let missing = [
            Missing::PkgConfig,
            Missing::OpenSsl,
            Missing::LibClang,
            Missing::Cmake,
        ];
        assert_eq!(
            Manager::Dnf.line(&missing),
            "dnf install -y pkgconf-pkg-config openssl-devel clang-devel cmake"
        );
        assert_eq!(
            Manager::Pacman.line(&missing),
            "pacman -S --needed pkgconf openssl clang cmake"
        );
        assert_eq!(
            Manager::Brew.line(&missing),
            "brew install pkgconf openssl@3 llvm cmake"
        );
        let bare = [Missing::Make, Missing::OpenSsl, Missing::Grpc];
        assert_eq!(
            Manager::Apt.line(&bare),
            "apt-get install -y --no-install-recommends make libssl-dev libgrpc-dev"
        );
    }
}
