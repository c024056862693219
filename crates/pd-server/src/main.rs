//! The placement driver alone.
fn main() {}
