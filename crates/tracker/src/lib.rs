//! What one request cost: its times and what it scanned.
