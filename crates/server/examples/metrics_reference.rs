//! Prints `docs/metrics.md`; `cargo xtask codegen` writes it to its place.

use std::io::Write as _;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(server::metrics::reference::text().as_bytes())
}
