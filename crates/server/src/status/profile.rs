//! `/debug/pprof/profile`: where the processors' time goes, from samples of all threads.
//!
//! Samples are taken by a timer signal, which a process has once: one profile at a time, of all
//! nodes in it. A client that goes away ends its profile. Symbols are looked up afterwards, on a
//! thread of its own, for that takes a while. Nothing of this costs anything while nobody asks, but
//! the first profile takes about 250 MiB for its tables of samples, and the library keeps 100 of them.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use serde::Deserialize;

use super::pages::gzip;
use super::pprof_format::{Frame, Profile, Stack};
use super::{Node, flame_graph, parameters, pprof_format, refusal};

/// Longer ones say no more and fill the table of samples.
const SECONDS_MAX: u64 = 300;
/// More often, the samples themselves would be what is seen.
const FREQUENCY_MAX: i32 = 1000;
/// Code in which a thread cannot be looked at without danger: the unwinder and those it calls.
const BLOCKED: &[&str] = &["libc", "libgcc", "pthread", "vdso"];

/// Held while a profile is taken.
static RUNNING: Mutex<()> = Mutex::new(());

#[derive(Deserialize)]
struct Parameters {
    /// How long it is watched.
    #[serde(default = "default_seconds")]
    seconds: u64,
    /// Samples in a second of processor time.
    #[serde(default = "default_frequency")]
    frequency: i32,
    /// `svg` for a picture.
    #[serde(default, rename = "type")]
    kind: String,
}

fn default_seconds() -> u64 {
    10
}

/// Not a divisor of anything that repeats every second or millisecond.
fn default_frequency() -> i32 {
    99
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Pprof,
    Svg,
}

/// `/debug/pprof/profile?seconds=10&frequency=99&type=svg`
pub(super) async fn cpu(State(shared): Node, uri: Uri, headers: HeaderMap) -> Response {
    let parameters: Parameters = match parameters(&uri) {
        Ok(parameters) => parameters,
        Err(refusal) => return refusal,
    };
    let form = match form(&parameters.kind, &headers) {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let (seconds, frequency) = (parameters.seconds, parameters.frequency);
    if !(1..=SECONDS_MAX).contains(&seconds) {
        let text = format!("seconds = {seconds}: must be from 1 to {SECONDS_MAX}");
        return refusal(StatusCode::BAD_REQUEST, text);
    }
    if !(1..=FREQUENCY_MAX).contains(&frequency) {
        let text = format!("frequency = {frequency}: must be from 1 to {FREQUENCY_MAX}");
        return refusal(StatusCode::BAD_REQUEST, text);
    }
    let guard = {
        let Some(_starting) = RUNNING.try_lock() else {
            return busy();
        };
        let builder = ProfilerGuardBuilder::default();
        match builder.frequency(frequency).blocklist(BLOCKED).build() {
            Ok(guard) => guard,
            Err(pprof::Error::Running) => return busy(),
            Err(error) => {
                return refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
            }
        }
    };
    let began = shared.runtime.clock.unix_nanos();
    let duration = Duration::from_secs(seconds);
    shared.runtime.timer.sleep(duration).await;
    let rendering = shared
        .runtime
        .spawner
        .spawn_dedicated("profile", async move {
            let profile = Profile {
                stacks: stacks(&guard)?,
                unix_nanos: began,
                duration,
                frequency,
            };
            render(&profile, form)
        });
    match rendering.await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn busy() -> Response {
    refusal(
        StatusCode::TOO_MANY_REQUESTS,
        "a profile of this process is being taken; ask again when it is done",
    )
}

/// What is asked for: by name, or by what the client shows.
fn form(kind: &str, headers: &HeaderMap) -> Result<Form, Response> {
    match kind {
        "svg" | "flamegraph" => Ok(Form::Svg),
        "pprof" | "protobuf" => Ok(Form::Pprof),
        "" => {
            let accepted = headers
                .get(header::ACCEPT)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default();
            let shows = ["text/html", "image/svg"]
                .iter()
                .any(|kind| accepted.contains(kind));
            Ok(if shows { Form::Svg } else { Form::Pprof })
        }
        other => Err(refusal(
            StatusCode::BAD_REQUEST,
            format!("type = {other}: must be pprof or svg"),
        )),
    }
}

/// The samples with their symbols; slow.
fn stacks(guard: &ProfilerGuard<'_>) -> Result<Vec<Stack>, String> {
    let report = guard.report().build().map_err(|error| error.to_string())?;
    // The symbols of the whole program: some hundred MiB in a debug build.
    backtrace::clear_symbol_cache();
    let frame = |symbol: &pprof::Symbol| Frame {
        name: symbol.name(),
        system_name: symbol.sys_name().into_owned(),
        file: symbol.filename().into_owned(),
        line: symbol.lineno(),
    };
    Ok(report
        .data
        .iter()
        .map(|(frames, count)| Stack {
            thread: frames.thread_name.clone(),
            frames: frames.frames.iter().flatten().map(frame).collect(),
            count: u64::try_from(*count).unwrap_or(0),
        })
        .collect())
}

fn render(profile: &Profile, form: Form) -> Result<Response, String> {
    match form {
        Form::Svg => {
            let picture = flame_graph::svg(profile);
            Ok(([(header::CONTENT_TYPE, "image/svg+xml")], picture).into_response())
        }
        Form::Pprof => {
            let packed = gzip(&pprof_format::encode(profile)).map_err(|error| error.to_string())?;
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (
                    header::CONTENT_DISPOSITION,
                    "attachment; filename=\"profile.pb.gz\"",
                ),
            ];
            Ok((headers, packed).into_response())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_form_follows_name_and_accept() {
        let asked = |kind: &str, accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            form(kind, &headers).ok()
        };
        assert!(asked("", "*/*") == Some(Form::Pprof));
        assert!(asked("", "text/html,application/xhtml+xml") == Some(Form::Svg));
        assert!(asked("", "image/svg+xml") == Some(Form::Svg));
        assert!(asked("svg", "*/*") == Some(Form::Svg));
        assert!(asked("pprof", "text/html") == Some(Form::Pprof));
        assert!(asked("pdf", "*/*").is_none());
    }
}
