//! What a storage engine must do, and the conformance suite that checks it.
