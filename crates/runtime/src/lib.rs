//! The seams to the outside: clock, timers, randomness, tasks, shutdown.
