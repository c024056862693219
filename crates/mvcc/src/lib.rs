//! Multi-version reads and the changes of one transaction command.
