//! The public API: the report as a golden file, its end on request, and every driver of our server for a moment.

mod interrupt;
mod report;
mod smoke;

/// As the program has it: the scenario about memory asks it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
