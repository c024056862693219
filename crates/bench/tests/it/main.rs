//! The public API: the report as a golden file, and every driver of our server for a moment.

mod report;
mod smoke;

/// As the program has it: the scenario about memory asks it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
