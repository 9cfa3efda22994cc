//! The settings of traces, by the names that OpenTelemetry gives them.

use reqwest::{
    Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};

use super::{
    reader::Reader,
    setting::{FileSetting, Group, Optional, Otherwise, Setting, Value, any_text, secret_url, text},
};
use crate::traces::Settings;

pub(super) static GROUP: Group = Group {
    title: "Traces",
    settings: &[
        &OTEL_EXPORTER_OTLP_ENDPOINT,
        &OTEL_EXPORTER_OTLP_HEADERS,
        &OTEL_EXPORTER_OTLP_HEADERS_FILE,
        &OTEL_SERVICE_NAME,
    ],
};

static OTEL_EXPORTER_OTLP_ENDPOINT: Optional<Url> = Setting {
    env: "OTEL_EXPORTER_OTLP_ENDPOINT",
    takes: text(url),
    default: Otherwise("none: nothing is traced"),
    help: "Where spans are sent by OTLP over HTTP (protobuf), such as http://collector:4318; /v1/traces is added. Requests with a sampled traceparent are traced; no trace is begun here.",
};

static OTEL_EXPORTER_OTLP_HEADERS: Optional<HeaderMap> = Setting {
    env: "OTEL_EXPORTER_OTLP_HEADERS",
    takes: secret_url(headers).or_in(&OTEL_EXPORTER_OTLP_HEADERS_FILE),
    default: Otherwise("none"),
    help: "Header fields for the receiver of spans: name=value, separated by commas; values may be percent-encoded.",
};

static OTEL_EXPORTER_OTLP_HEADERS_FILE: FileSetting = FileSetting {
    env: "OTEL_EXPORTER_OTLP_HEADERS_FILE",
    help: "A file that holds OTEL_EXPORTER_OTLP_HEADERS.",
};

static OTEL_SERVICE_NAME: Setting<String> = Setting {
    env: "OTEL_SERVICE_NAME",
    takes: any_text(),
    default: Value("draftwire"),
    help: "The name of this service in traces. The node is its instance.",
};

/// Where spans are sent; `None` where they are not.
pub(super) fn read(reader: &Reader<'_>) -> Option<Settings> {
    // Read in any case, so that mistakes are found.
    let headers = reader.optional(&OTEL_EXPORTER_OTLP_HEADERS).unwrap_or_default();
    let service = reader.value(&OTEL_SERVICE_NAME);
    let endpoint = reader.optional(&OTEL_EXPORTER_OTLP_ENDPOINT)?;
    Some(Settings { endpoint, headers, service })
}

fn url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("give a URL such as http://collector:4318".to_owned()),
    }
}

fn headers(text: &str) -> Result<HeaderMap, String> {
    let field = |field: &str| {
        let (name, value) = field.split_once('=')?;
        let value = decoded(value.trim())?;
        let mut value = HeaderValue::from_bytes(&value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name.trim()).ok()?, value))
    };
    let fields = text.split(',').filter(|part| !part.trim().is_empty()).map(field);
    let fields: Option<HeaderMap> = fields.collect();
    fields.ok_or_else(|| "give fields such as api-key=abc,team=edge".to_owned())
}

/// A value without its percent-encoding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_fields_separated_by_commas() {
        let read = headers("api-key = a%20b%3D, team=x=y,").unwrap();
        assert_eq!((read["api-key"].as_bytes(), read["team"].as_bytes()), (&b"a b="[..], &b"x=y"[..]));
        assert!(headers("").unwrap().is_empty());
        for wrong in ["name", "a b=c", "a=%2", "a=%zz", "a=%0a", "=x"] {
            assert!(headers(wrong).is_err(), "{wrong}");
        }
    }
}
