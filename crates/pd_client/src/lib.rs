//! How a store speaks to the placement driver.
