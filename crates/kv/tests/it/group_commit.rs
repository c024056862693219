//! Group commit with threads, on the real engine.
