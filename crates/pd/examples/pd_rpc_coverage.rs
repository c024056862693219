//! Prints the placement driver's part of `docs/rpc-coverage.md`; `cargo xtask codegen` puts it there.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(pd::rpc_table::coverage().as_bytes())
}
