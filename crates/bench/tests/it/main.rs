//! The public API: the report as a golden file, and every driver of our server for a moment.

mod report;
mod smoke;
