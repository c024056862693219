//! Who waits for which lock.
