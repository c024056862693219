//! From `tracing` to lines: an event becomes a line, with the fields of the spans around it behind
//! its own, the inner span first. Filtering by level is done before, by the layer in front.

use std::sync::Arc;

use tracing::{Event, Subscriber, span};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{
    config::Format,
    fields::Fields,
    format::{self, Record},
    setup::UnixMillis,
    sink::Sink,
};

pub(crate) struct LineLayer {
    pub(crate) format: Format,
    pub(crate) clock: UnixMillis,
    pub(crate) sink: Arc<Sink>,
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
        self.sink.write(&format::line(self.format, &record));
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
