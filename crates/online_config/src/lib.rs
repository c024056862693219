//! Configuration values that can change while the server runs; sizes and durations.
