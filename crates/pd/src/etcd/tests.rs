//! The revisioned store against a naive model, as scripts, and over crashes.

mod disk;
mod model;
mod properties;
mod script;
