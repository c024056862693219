//! Brings the machine to where the workspace builds.
//!
//! Three steps: look (`probe`), decide (`plan`, a plain function of what was seen), act: install
//! with apt or say what to type, then write `.cargo/native.toml`, which cargo's configuration
//! includes, so that a plain `cargo build` builds the same way from then on.
//!
//! gRPC decides the time of the first build. Linked from the distribution it costs seconds, built
//! from the sources inside `grpcio-sys` a quarter of an hour; `plan` says which one fits.

mod install;
mod native;
mod plan;
mod probe;

use anyhow::bail;

use crate::repo::Repo;
pub(crate) use install::install_packages;
pub(crate) use native::{Machine, host};
use plan::{Grpc, Missing};
use probe::Found;

/// Installs what is missing and returns the machine, ready to build.
pub(crate) fn setup(repo: &Repo) -> anyhow::Result<Machine> {
    let mut found = Found::look();
    let mut plan = plan::plan(&found);
    if !plan.missing.is_empty() {
        install::refresh();
        found = Found::look();
        plan = plan::plan(&found);
        say_missing(&plan.missing);
        install::install(&plan.missing)?;
        found = Found::look();
        plan = plan::plan(&found);
        if !plan.missing.is_empty() {
            say_missing(&plan.missing);
            bail!("these are still missing after the installation");
        }
    }
    let machine = native::write(repo, plan.grpc, &found)?;
    match plan.grpc {
        Grpc::Linked => println!("setup: ready; gRPC is the system's"),
        Grpc::FromSource => println!(
            "setup: ready; gRPC is built from source once (about 15 minutes on two cores), \
             because the system's does not fit"
        ),
    }
    Ok(machine)
}

fn say_missing(missing: &[Missing]) {
    println!("setup: this machine lacks");
    for part in missing {
        println!("  {:<24} {}", part.what(), part.why());
    }
}
