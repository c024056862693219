//! Layout of a store's own key space.
