//! The heap of this process as jemalloc's samples tell it. jemalloc is built with profiling and
//! started with `prof:true,prof_active:false`: until somebody switches the samples on it only counts
//! down to samples that it then does not take.

#![allow(
    unsafe_code,
    reason = "the safe interface of jemalloc's binding has no names for these options"
)]

use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use server::HeapProfiler;
use tikv_jemalloc_ctl::{profiling, raw};

/// jemalloc keeps a C `bool` here, which only ever is 0 or 1. The binding checks that a name ends
/// with a zero, and jemalloc that the size of what it is given is that of what it keeps.
const ACTIVE: &[u8] = b"prof.active\0";
/// jemalloc takes a pointer to a C string here: the path of the file that it writes.
const DUMP: &[u8] = b"prof.dump\0";

/// See the module.
pub(crate) struct Heap;

/// Fails when jemalloc was told at its start not to profile.
fn check() -> Result<(), String> {
    match profiling::prof::read() {
        Ok(true) => Ok(()),
        Ok(false) => Err("the allocator was started without prof:true".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

impl HeapProfiler for Heap {
    fn is_active(&self) -> Result<bool, String> {
        check()?;
        // SAFETY: what stands under the name is a `bool`, see `ACTIVE`.
        unsafe { raw::read::<bool>(ACTIVE) }.map_err(|error| error.to_string())
    }

    fn set_active(&self, active: bool) -> Result<(), String> {
        check()?;
        // SAFETY: what stands under the name is a `bool`, see `ACTIVE`.
        unsafe { raw::write::<bool>(ACTIVE, active) }.map_err(|error| error.to_string())
    }

    fn dump(&self, path: &Path) -> Result<(), String> {
        check()?;
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: the type is that of `DUMP`. `path` owns the string until the end of this function,
        // ends it with a zero, and jemalloc reads it during the call and copies what it keeps.
        unsafe { raw::write::<*const c_char>(DUMP, path.as_ptr()) }
            .map_err(|error| error.to_string())
    }
}
