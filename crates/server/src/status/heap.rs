//! `/debug/pprof/heap`: who holds the memory, as the allocator's own samples tell it.
//!
//! The allocator belongs to the program, not to a node: whoever has one that can be asked hands it
//! in as a [`HeapProfiler`]. Samples are taken only while they are switched on; what was allocated
//! before is not in them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::{Node, Shared, parameters, refusal};

/// Longer watching is done by switching on and off.
const SECONDS_MAX: u64 = 300;

/// An allocator that can say who holds the memory. Errors are for people.
pub trait HeapProfiler: Send + Sync {
    /// Whether it takes samples now.
    fn is_active(&self) -> Result<bool, String>;

    /// Begins or ends to take samples.
    fn set_active(&self, active: bool) -> Result<(), String>;

    /// Writes its samples to a file that exists.
    fn dump(&self, path: &Path) -> Result<(), String>;
}

/// The profiler, or the answer when there is none.
fn profiler(shared: &Shared) -> Result<&Arc<dyn HeapProfiler>, Response> {
    shared.heap.as_ref().ok_or_else(|| {
        refusal(
            StatusCode::NOT_IMPLEMENTED,
            "the program around this node has no heap profiler; tikv-server has one",
        )
    })
}

/// The allocator refused: most likely it was told at its start to be unable.
fn failed(error: String) -> Response {
    refusal(
        StatusCode::NOT_IMPLEMENTED,
        format!(
            "heap profiling is not possible: {error}; it needs the allocator's option prof:true, \
             which is the default unless the variable MALLOC_CONF says otherwise"
        ),
    )
}

fn switch(shared: &Shared, active: bool) -> Response {
    let profiler = match profiler(shared) {
        Ok(profiler) => profiler,
        Err(refusal) => return refusal,
    };
    match profiler.set_active(active) {
        Ok(()) => {
            tracing::info!(active, "heap profiling");
            let state = if active { "on" } else { "off" };
            format!("heap profiling is {state}\n").into_response()
        }
        Err(error) => failed(error),
    }
}

/// `/debug/pprof/heap_activate`
pub(super) async fn activate(State(shared): Node) -> Response {
    switch(&shared, true)
}

/// `/debug/pprof/heap_deactivate`
pub(super) async fn deactivate(State(shared): Node) -> Response {
    switch(&shared, false)
}

#[derive(Deserialize)]
struct Parameters {
    /// How long samples are taken when they are off; 0 for not at all.
    #[serde(default)]
    seconds: u64,
}

/// Ends what this request began, also when its client has gone.
struct SwitchedOn<'a>(&'a dyn HeapProfiler);

impl Drop for SwitchedOn<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.set_active(false) {
            tracing::warn!(error, "heap profiling stays on");
        }
    }
}

/// `/debug/pprof/heap?seconds=10`: the samples, in the format of the allocator.
pub(super) async fn dump(State(shared): Node, uri: Uri) -> Response {
    let Parameters { seconds } = match parameters(&uri) {
        Ok(parameters) => parameters,
        Err(refusal) => return refusal,
    };
    if seconds > SECONDS_MAX {
        let text = format!("seconds = {seconds}: must be from 0 to {SECONDS_MAX}");
        return refusal(StatusCode::BAD_REQUEST, text);
    }
    let profiler = match profiler(&shared) {
        Ok(profiler) => profiler,
        Err(refusal) => return refusal,
    };
    let active = match profiler.is_active() {
        Ok(active) => active,
        Err(error) => return failed(error),
    };
    let switched_on = match (active, seconds) {
        (true, _) => None,
        (false, 0) => {
            return refusal(
                StatusCode::CONFLICT,
                "heap profiling is off: ask for /debug/pprof/heap_activate first, or here with \
                 ?seconds=10 to watch for that long",
            );
        }
        (false, _) => {
            if let Err(error) = profiler.set_active(true) {
                return failed(error);
            }
            Some(SwitchedOn(profiler.as_ref()))
        }
    };
    if switched_on.is_some() {
        let duration = Duration::from_secs(seconds);
        shared.runtime.timer.sleep(duration).await;
    }
    let answer = match read_dump(profiler.as_ref()) {
        Ok(bytes) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (
                    header::CONTENT_DISPOSITION,
                    "attachment; filename=\"tikv.heap\"",
                ),
            ];
            (headers, bytes).into_response()
        }
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error),
    };
    drop(switched_on);
    answer
}

fn read_dump(profiler: &dyn HeapProfiler) -> Result<Vec<u8>, String> {
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    profiler.dump(file.path())?;
    std::fs::read(file.path()).map_err(|error| error.to_string())
}
