//! Prints `docs/rpc-coverage.md`; `cargo xtask codegen` writes it to its place.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(service::rpc_table::coverage().as_bytes())
}
