//! From `tracing` to lines: a gate that lets the wanted events through, and behind it a layer that
//! makes each of them a line, with the fields of the spans around it behind its own, the inner span
//! first.

use std::sync::Arc;

use tracing::{
    Event, Metadata, Subscriber, level_filters::LevelFilter, span, subscriber::Interest,
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{
    SLOW_LOG,
    config::Format,
    fields::Fields,
    format::{self, Record},
    setup::UnixMillis,
    sink::Sink,
};

/// Lets events of a level through, and those about slow requests at every level.
pub(crate) struct Gate(pub(crate) LevelFilter);

impl Gate {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == SLOW_LOG || *metadata.level() <= self.0
    }
}

impl<S: Subscriber> Layer<S> for Gate {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // Slow requests are told at this level.
        Some(self.0.max(LevelFilter::INFO))
    }
}

pub(crate) struct LineLayer {
    pub(crate) format: Format,
    pub(crate) clock: UnixMillis,
    pub(crate) sink: Arc<Sink>,
    /// For [`SLOW_LOG`]; `sink` when there is none.
    pub(crate) slow: Option<Arc<Sink>>,
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in ctx.event_scope(event).into_iter().flatten() {
            if let Some(around) = span.extensions().get::<Fields>() {
                fields.inherit(around);
            }
        }
        let metadata = event.metadata();
        let record = Record {
            unix_millis: (self.clock)(),
            level: level_name(*metadata.level()),
            source: metadata.file().zip(metadata.line()),
            fields: &fields,
        };
        let sink = match &self.slow {
            Some(slow) if metadata.target() == SLOW_LOG => slow,
            _ => &self.sink,
        };
        sink.write(&format::line(self.format, &record));
    }
}

fn level_name(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::TRACE => "TRACE",
        tracing::Level::DEBUG => "DEBUG",
        tracing::Level::INFO => "INFO",
        tracing::Level::WARN => "WARN",
        tracing::Level::ERROR => "ERROR",
    }
}
