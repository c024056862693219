//! Request metrics of the edge, under TiKV's series names.
//!
//! Series that a client could multiply (one per request source) are bounded: see [`RequestSources`].

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::RwLock;
use prometheus::core::Collector;
use prometheus::{
    CounterVec, Histogram, HistogramVec, IntCounter, IntCounterVec, exponential_buckets,
    register_counter_vec, register_histogram, register_histogram_vec, register_int_counter_vec,
};

use crate::rpc_table::{RPCS, RpcId, State};

/// Distinct request sources that get a series of their own; later ones are counted as `other`.
const MAX_REQUEST_SOURCES: usize = 256;
/// A longer request source is nobody's honest label.
const MAX_REQUEST_SOURCE_LEN: usize = 128;
const OTHER_SOURCE: &str = "other";
const UNKNOWN_SOURCE: &str = "unknown";

/// A metric that cannot be registered is a name used twice, which the first test run shows.
macro_rules! registered {
    ($metric:expr) => {
        $metric.unwrap_or_else(|error| panic!("a metric is registered twice: {error}"))
    };
}

static GRPC_MSG_HISTOGRAM: LazyLock<HistogramVec> = LazyLock::new(|| {
    registered!(register_histogram_vec!(
        "tikv_grpc_msg_duration_seconds",
        "Time from the arrival of a request to its response",
        &["type"],
        registered!(exponential_buckets(0.0001, 2.0, 20))
    ))
});

static GRPC_MSG_FAIL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered!(register_int_counter_vec!(
        "tikv_grpc_msg_fail_total",
        "Requests that ended with a gRPC status other than OK",
        &["type"]
    ))
});

static REQUEST_SOURCE_COUNTER: LazyLock<IntCounterVec> = LazyLock::new(|| {
    registered!(register_int_counter_vec!(
        "tikv_grpc_request_source_counter_vec",
        "Requests by the source that the client names",
        &["source"]
    ))
});

static REQUEST_SOURCE_DURATION: LazyLock<CounterVec> = LazyLock::new(|| {
    registered!(register_counter_vec!(
        "tikv_grpc_request_source_duration_vec",
        "Microseconds spent on requests by the source that the client names",
        &["source"]
    ))
});

static BATCH_REQUESTS: LazyLock<Histogram> = LazyLock::new(|| {
    registered!(register_histogram!(
        "tikv_server_grpc_req_batch_size",
        "Requests of one message of BatchCommands",
        registered!(exponential_buckets(1.0, 2.0, 14))
    ))
});

static BATCH_RESPONSES: LazyLock<Histogram> = LazyLock::new(|| {
    registered!(register_histogram!(
        "tikv_server_grpc_resp_batch_size",
        "Responses of one message of BatchCommands",
        registered!(exponential_buckets(1.0, 2.0, 14))
    ))
});

/// One metric per live RPC, resolved once, so that a request does not look up labels.
#[derive(Debug)]
pub struct PerRpc<T>(Vec<Option<T>>);

impl<T> PerRpc<T> {
    fn new(make: impl Fn(&str) -> T) -> Self {
        PerRpc(
            RPCS.iter()
                .map(|rpc| (rpc.state == State::Live).then(|| make(rpc.handler)))
                .collect(),
        )
    }

    /// The metric of `rpc`; `None` for one that is not live.
    pub fn get(&self, rpc: RpcId) -> Option<&T> {
        self.0[rpc.index()].as_ref()
    }
}

/// Duration of requests, by RPC.
pub static GRPC_MSG_HISTOGRAM_STATIC: LazyLock<PerRpc<Histogram>> =
    LazyLock::new(|| PerRpc::new(|handler| GRPC_MSG_HISTOGRAM.with_label_values(&[handler])));

/// Failed requests, by RPC.
pub static GRPC_MSG_FAIL_STATIC: LazyLock<PerRpc<IntCounter>> =
    LazyLock::new(|| PerRpc::new(|handler| GRPC_MSG_FAIL.with_label_values(&[handler])));

/// Registers every series, so that a scrape shows them before the first request.
pub fn register() {
    LazyLock::force(&GRPC_MSG_HISTOGRAM_STATIC);
    LazyLock::force(&GRPC_MSG_FAIL_STATIC);
    LazyLock::force(&REQUEST_SOURCES);
    LazyLock::force(&BATCH_REQUESTS);
    LazyLock::force(&BATCH_RESPONSES);
}

/// Every metric of this crate.
pub fn all() -> Vec<&'static dyn Collector> {
    vec![
        &*GRPC_MSG_HISTOGRAM,
        &*GRPC_MSG_FAIL,
        &*REQUEST_SOURCE_COUNTER,
        &*REQUEST_SOURCE_DURATION,
        &*BATCH_REQUESTS,
        &*BATCH_RESPONSES,
    ]
}

struct SourceSeries {
    count: IntCounter,
    duration: prometheus::Counter,
}

impl SourceSeries {
    fn new(source: &str) -> Self {
        SourceSeries {
            count: REQUEST_SOURCE_COUNTER.with_label_values(&[source]),
            duration: REQUEST_SOURCE_DURATION.with_label_values(&[source]),
        }
    }

    fn record(&self, elapsed: Duration) {
        self.count.inc();
        self.duration.inc_by(elapsed.as_micros() as f64);
    }
}

/// Series by request source. The source is text that clients choose, therefore the number of series
/// is limited and the rest share one.
struct RequestSources {
    known: RwLock<HashMap<String, SourceSeries>>,
    unknown: SourceSeries,
    other: SourceSeries,
}

static REQUEST_SOURCES: LazyLock<RequestSources> = LazyLock::new(|| RequestSources {
    known: RwLock::new(HashMap::new()),
    unknown: SourceSeries::new(UNKNOWN_SOURCE),
    other: SourceSeries::new(OTHER_SOURCE),
});

impl RequestSources {
    fn record(&self, source: &str, elapsed: Duration) {
        if source.is_empty() {
            return self.unknown.record(elapsed);
        }
        if source.len() > MAX_REQUEST_SOURCE_LEN {
            return self.other.record(elapsed);
        }
        if let Some(series) = self.known.read().get(source) {
            return series.record(elapsed);
        }
        let mut known = self.known.write();
        if known.len() >= MAX_REQUEST_SOURCES && !known.contains_key(source) {
            return self.other.record(elapsed);
        }
        known
            .entry(source.to_owned())
            .or_insert_with(|| SourceSeries::new(source))
            .record(elapsed);
    }
}

/// Records a message of BatchCommands with so many requests.
pub(crate) fn batch_received(requests: usize) {
    BATCH_REQUESTS.observe(requests as f64);
}

/// Records a message of BatchCommands with so many responses.
pub(crate) fn batch_sent(responses: usize) {
    BATCH_RESPONSES.observe(responses as f64);
}

/// Records a request that was answered.
pub(crate) fn answered(rpc: RpcId, source: &str, elapsed: Duration) {
    if let Some(histogram) = GRPC_MSG_HISTOGRAM_STATIC.get(rpc) {
        histogram.observe(elapsed.as_secs_f64());
    }
    REQUEST_SOURCES.record(source, elapsed);
}

/// Records a request that ended with a gRPC status other than OK.
pub(crate) fn failed(rpc: RpcId) {
    if let Some(counter) = GRPC_MSG_FAIL_STATIC.get(rpc) {
        counter.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_sources_are_bounded() {
        let sources = RequestSources {
            known: RwLock::new(HashMap::new()),
            unknown: SourceSeries::new(UNKNOWN_SOURCE),
            other: SourceSeries::new(OTHER_SOURCE),
        };
        let before = sources.other.count.get();
        for i in 0..MAX_REQUEST_SOURCES + 10 {
            sources.record(&format!("test_source_{i}"), Duration::from_micros(5));
        }
        sources.record(&"x".repeat(MAX_REQUEST_SOURCE_LEN + 1), Duration::ZERO);
        sources.record("test_source_0", Duration::ZERO);
        assert_eq!(sources.known.read().len(), MAX_REQUEST_SOURCES);
        assert_eq!(sources.other.count.get() - before, 11);
    }
}
