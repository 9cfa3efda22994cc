//! Spans as OTLP has them.

use common::trace::{self, SpanKind};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status::StatusCode},
};
use prost::Message;

/// The request that carries these spans.
pub(super) fn encode(spans: Vec<trace::Span>, service: &str, node: &str) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let resource = Resource {
        attributes: vec![
            attribute("service.name", service.to_owned()),
            attribute("service.version", version.to_owned()),
            attribute("service.instance.id", node.to_owned()),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "draftwire".to_owned(),
        version: version.to_owned(),
        ..Default::default()
    };
    let spans = spans.into_iter().map(of_span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn of_span(of: trace::Span) -> Span {
    let kind = match of.kind {
        SpanKind::Server => span::SpanKind::Server,
        SpanKind::Consumer => span::SpanKind::Consumer,
        SpanKind::Internal => span::SpanKind::Internal,
    };
    let failed = of.failed.then(|| Status { message: String::new(), code: StatusCode::Error.into() });
    let (began, ended) = of.time;
    Span {
        trace_id: of.context.trace.to_vec(),
        span_id: of.context.span.to_vec(),
        parent_span_id: of.parent.to_vec(),
        // Sampled.
        flags: 1,
        name: of.name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: began.saturating_mul(1000),
        end_time_unix_nano: ended.saturating_mul(1000),
        attributes: of.attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        status: failed,
        ..Span::default()
    }
}

fn attribute(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
