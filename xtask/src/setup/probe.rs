//! What the machine has. Each question is put to the tool that will answer it in the build, so that
//! "it is there" means "the build will find it", however it came there.

use std::env;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::ask;

/// The facts that the plan is made from.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) compiler: bool,
    pub(crate) make: bool,
    pub(crate) pkg_config: bool,
    pub(crate) openssl: bool,
    pub(crate) libclang: bool,
    pub(crate) cmake: bool,
    /// Major version of the installed gRPC core library, if pkg-config can resolve all of it.
    pub(crate) grpc_core: Option<u32>,
    /// Version (major, minor) of the gRPC that apt would install.
    pub(crate) grpc_offered: Option<(u32, u32)>,
    pub(crate) ccache: bool,
    pub(crate) curl: bool,
    /// The program; `openssl` is about the headers.
    pub(crate) openssl_program: bool,
}

impl Found {
    pub(crate) fn look() -> Found {
        let pkg_config = ask(Command::new("pkg-config").arg("--version")).is_some();
        Found {
            compiler: compiles_cpp20(),
            make: ask(Command::new("make").arg("--version")).is_some(),
            pkg_config,
            openssl: pkg_config
                && ask(Command::new("pkg-config").args(["--exists", "openssl"])).is_some(),
            libclang: has_libclang(),
            cmake: ask(Command::new("cmake").arg("--version")).is_some(),
            grpc_core: if pkg_config { installed_grpc() } else { None },
            grpc_offered: offered_grpc(),
            ccache: ask(Command::new("ccache").arg("--version")).is_some(),
            curl: ask(Command::new("curl").arg("--version")).is_some(),
            openssl_program: ask(Command::new("openssl").arg("version")).is_some(),
        }
    }
}

/// Whether the default C++ compiler knows C++20 well enough for RocksDB's headers.
fn compiles_cpp20() -> bool {
    let program = "#include <concepts>\n#include <span>\n#include <string_view>\n\
                   template <std::integral T> T twice(T x) { return x + x; }\n\
                   int main() { return twice(0); }\n";
    let child = Command::new("c++")
        .args(["-std=c++20", "-fsyntax-only", "-x", "c++", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else { return false };
    if let Some(mut input) = child.stdin.take() {
        // A compiler that does not read its input fails below.
        let _ = input.write_all(program.as_bytes());
    }
    child.wait().is_ok_and(|status| status.success())
}

/// The core version, only if the library and everything it requires is there.
fn installed_grpc() -> Option<u32> {
    ask(Command::new("pkg-config").args(["--cflags", "--libs", "grpc"]))?;
    let version = ask(Command::new("pkg-config").args(["--modversion", "grpc"]))?;
    version.split('.').next()?.parse().ok()
}

/// The version apt would install, read from the lists on the disk. A machine whose lists were never
/// fetched offers nothing here; `install` fetches them before the plan is made a second time.
fn offered_grpc() -> Option<(u32, u32)> {
    candidate_version(&ask(
        Command::new("apt-cache").args(["policy", "libgrpc-dev"])
    )?)
}

/// `1.51.1-3+b1` in a line `Candidate: 1.51.1-3+b1` gives (1, 51).
fn candidate_version(policy: &str) -> Option<(u32, u32)> {
    let line = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate:"))?;
    let mut numbers = line.trim().split('.').map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether libclang and the compiler's own headers (`stddef.h` and its like) are there. The search
/// follows `clang-sys`, which loads the library for bindgen.
fn has_libclang() -> bool {
    let mut libraries: Vec<PathBuf> = Vec::new();
    if let Some(path) = env::var_os("LIBCLANG_PATH") {
        libraries.push(PathBuf::from(path));
    }
    if let Some(directory) = ask(Command::new("llvm-config").arg("--libdir")) {
        libraries.push(PathBuf::from(directory));
    }
    for fixed in [
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/usr/local/opt/llvm/lib",
    ] {
        libraries.push(PathBuf::from(fixed));
    }
    libraries.push(PathBuf::from("/opt/homebrew/opt/llvm/lib"));
    libraries.push(PathBuf::from("/Library/Developer/CommandLineTools/usr/lib"));
    for parent in ["/usr/lib", "/usr/lib64"] {
        libraries.extend(entries(Path::new(parent)).into_iter().filter_map(|entry| {
            let name = entry.file_name()?.to_str()?;
            if name.starts_with("llvm") {
                Some(entry.join("lib"))
            } else {
                name.contains("-linux-").then_some(entry)
            }
        }));
    }
    let library = libraries.iter().any(|directory| {
        directory.is_file() || entries(directory).iter().any(|path| is_libclang(path))
    });
    let headers = libraries.iter().any(|directory| {
        entries(&directory.join("clang"))
            .iter()
            .any(|version| version.join("include/stddef.h").is_file())
    });
    library && headers
}

/// `libclang.so`, `libclang.so.1`, `libclang-14.so`, `libclang-14.so.14.0.6`, `libclang.dylib`; not
/// `libclang-cpp.so`, which is another library.
fn is_libclang(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let Some(rest) = name.strip_prefix("libclang") else {
        return false;
    };
    let rest = rest.trim_start_matches(|c: char| c == '-' || c == '.' || c.is_ascii_digit());
    rest.starts_with("so") || rest == "dylib"
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory)
        .map(|entries| {
            entries
                .filter_map(|entry| Some(entry.ok()?.path()))
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_read_from_apts_answer() {
        let policy =
            "libgrpc-dev:\n  Installed: (none)\n  Candidate: 1.51.1-3+b1\n  Version table:";
        assert_eq!(candidate_version(policy), Some((1, 51)));
        assert_eq!(
            candidate_version("libgrpc-dev:\n  Candidate: (none)\n"),
            None
        );
        assert_eq!(candidate_version(""), None);
    }

    #[test]
    fn libclang_is_told_from_its_neighbours() {
        for name in [
            "libclang.so",
            "libclang.so.1",
            "libclang-14.so",
            "libclang-14.so.14.0.6",
        ] {
            assert!(is_libclang(Path::new(name)), "{name}");
        }
        assert!(is_libclang(Path::new("libclang.dylib")));
        for name in [
            "libclang-cpp.so.14",
            "libclangBasic.a",
            "libclc.so",
            "clang",
        ] {
            assert!(!is_libclang(Path::new(name)), "{name}");
        }
    }
}
