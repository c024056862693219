//! What to install and which gRPC to use, decided from what was found. No input or output here.

use super::probe::Found;

/// The gRPC core versions whose C interface `grpcio` 0.13 can be linked against: 29 (gRPC 1.51) to
/// 33 (gRPC 1.56, which it was written for). Within this range the structs, enums and functions
/// that it uses are the same; see docs/adr/0006-native-libraries.md.
const GRPC_CORE_FIRST: u32 = 29;
const GRPC_CORE_LAST: u32 = 33;

/// The same range by gRPC's own version, as distributions name their packages: 1.51 to 1.56.
const GRPC_MINOR_FIRST: u32 = 51;
const GRPC_MINOR_LAST: u32 = 56;

/// Where gRPC comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grpc {
    /// The system's library, found by pkg-config.
    Linked,
    /// The sources inside `grpcio-sys`, built with cmake.
    FromSource,
}

/// A thing the build needs and the machine does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Compiler,
    Make,
    PkgConfig,
    OpenSsl,
    LibClang,
    Grpc,
    Cmake,
    Curl,
    OpenSslProgram,
}

impl Missing {
    pub(crate) fn what(self) -> &'static str {
        match self {
            Missing::Compiler => "a C++20 compiler",
            Missing::Make => "make",
            Missing::PkgConfig => "pkg-config",
            Missing::OpenSsl => "OpenSSL's headers",
            Missing::LibClang => "libclang with headers",
            Missing::Grpc => "gRPC's headers",
            Missing::Cmake => "cmake",
            Missing::Curl => "curl",
            Missing::OpenSslProgram => "the openssl program",
        }
    }

    pub(crate) fn why(self) -> &'static str {
        match self {
            Missing::Compiler => {
                "compiles RocksDB and what binds gRPC (g++ 11 or clang 14 or newer)"
            }
            Missing::Make => "builds jemalloc",
            Missing::PkgConfig => "finds OpenSSL and gRPC",
            Missing::OpenSsl => "TLS of the gRPC connections",
            Missing::LibClang => "generates the binding to RocksDB",
            Missing::Grpc => "linking the system's gRPC saves building it, a quarter of an hour",
            Missing::Cmake => "builds gRPC, since the system has none that fits",
            Missing::Curl => "asks servers in the documents, whose commands the tests run",
            Missing::OpenSslProgram => "makes certificates in the documents, as the tests do",
        }
    }
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) missing: Vec<Missing>,
    pub(crate) grpc: Grpc,
}

/// Decides. An installed gRPC that fits is linked; otherwise one that the distribution offers and
/// that fits is installed; otherwise it is built from source, for which cmake is needed.
pub(crate) fn plan(found: &Found) -> Plan {
    let installed = found.grpc_core.is_some_and(|core| {
        let range = GRPC_CORE_FIRST..=GRPC_CORE_LAST;
        range.contains(&core)
    });
    let offered = found.grpc_core.is_none()
        && found.grpc_offered.is_some_and(|(major, minor)| {
            major == 1 && (GRPC_MINOR_FIRST..=GRPC_MINOR_LAST).contains(&minor)
        });
    let grpc = if installed || offered {
        Grpc::Linked
    } else {
        Grpc::FromSource
    };

    let wanted = [
        (Missing::Compiler, !found.compiler),
        (Missing::Make, !found.make),
        (Missing::PkgConfig, !found.pkg_config),
        (Missing::OpenSsl, !found.openssl),
        (Missing::LibClang, !found.libclang),
        (Missing::Grpc, offered),
        (Missing::Cmake, grpc == Grpc::FromSource && !found.cmake),
        (Missing::Curl, !found.curl),
        (Missing::OpenSslProgram, !found.openssl_program),
    ];
    let missing = wanted
        .into_iter()
        .filter_map(|(part, lacks)| lacks.then_some(part))
        .collect();
    Plan { missing, grpc }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Found {
        Found {
            compiler: true,
            make: true,
            pkg_config: true,
            openssl: true,
            libclang: true,
            cmake: false,
            grpc_core: Some(29),
            grpc_offered: Some((1, 51)),
            ccache: false,
            curl: true,
            openssl_program: true,
        }
    }

    #[test]
    fn a_complete_machine_needs_nothing() {
        assert_eq!(
            plan(&complete()),
            Plan {
                missing: vec![],
                grpc: Grpc::Linked
            }
        );
    }

    #[test]
    fn a_bare_debian_12_gets_its_grpc_and_no_cmake() {
        let bare = Found {
            make: false,
            pkg_config: false,
            openssl: false,
            libclang: false,
            grpc_core: None,
            curl: false,
            openssl_program: false,
            ..complete()
        };
        let missing = vec![
            Missing::Make,
            Missing::PkgConfig,
            Missing::OpenSsl,
            Missing::LibClang,
            Missing::Grpc,
            Missing::Curl,
            Missing::OpenSslProgram,
        ];
        assert_eq!(
            plan(&bare),
            Plan {
                missing,
                grpc: Grpc::Linked
            }
        );
    }

    #[test]
    fn a_grpc_too_old_or_too_new_means_source_and_cmake() {
        for (core, offered) in [
            (None, Some((1, 30))),
            (None, None),
            (Some(10), Some((1, 30))),
        ] {
            let found = Found {
                grpc_core: core,
                grpc_offered: offered,
                ..complete()
            };
            let plan = plan(&found);
            assert_eq!(
                plan,
                Plan {
                    missing: vec![Missing::Cmake],
                    grpc: Grpc::FromSource
                }
            );
        }
        let newer = Found {
            grpc_core: Some(34),
            grpc_offered: None,
            cmake: true,
            ..complete()
        };
        assert_eq!(
            plan(&newer),
            Plan {
                missing: vec![],
                grpc: Grpc::FromSource
            }
        );
    }

    #[test]
    fn the_ends_of_the_range_are_in_it() {
        for core in [29, 33] {
            let found = Found {
                grpc_core: Some(core),
                ..complete()
            };
            assert_eq!(plan(&found).grpc, Grpc::Linked);
        }
        for core in [28, 34] {
            let found = Found {
                grpc_core: Some(core),
                ..complete()
            };
            assert_eq!(plan(&found).grpc, Grpc::FromSource);
        }
        for minor in [51, 56] {
            let found = Found {
                grpc_core: None,
                grpc_offered: Some((1, minor)),
                ..complete()
            };
            assert_eq!(plan(&found).missing, [Missing::Grpc]);
        }
        let found = Found {
            grpc_core: None,
            grpc_offered: Some((1, 57)),
            ..complete()
        };
        assert_eq!(plan(&found).grpc, Grpc::FromSource);
    }

    #[test]
    fn an_old_compiler_is_named() {
        let found = Found {
            compiler: false,
            ..complete()
        };
        assert_eq!(plan(&found).missing, [Missing::Compiler]);
    }
}
