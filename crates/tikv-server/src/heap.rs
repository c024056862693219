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

const ACTIVE: &[u8] = b"prof.active\0";
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
        // SAFETY: the name ends with a zero, and jemalloc keeps a `bool` under it.
        unsafe { raw::read::<bool>(ACTIVE) }.map_err(|error| error.to_string())
    }

    fn set_active(&self, active: bool) -> Result<(), String> {
        check()?;
        // SAFETY: the name ends with a zero, and jemalloc keeps a `bool` under it.
        unsafe { raw::write::<bool>(ACTIVE, active) }.map_err(|error| error.to_string())
    }

    fn dump(&self, path: &Path) -> Result<(), String> {
        check()?;
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        // SAFETY: the name ends with a zero, jemalloc takes a C string under it, and reads it only
        // during the call.
        unsafe { raw::write::<*const c_char>(DUMP, path.as_ptr()) }
            .map_err(|error| error.to_string())
    }
}
