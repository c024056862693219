//! The placement driver: members, timestamps, stores, regions, safe points.
