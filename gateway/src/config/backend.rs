//! The settings of questions to the application's backend.

use std::time::Duration;

use reqwest::Url;

use super::{
    reader::Reader,
    setting::{
        DAY, FileSetting, Group, MINUTE, MS, Optional, Otherwise, SECOND, Setting, Value, duration, secret,
        secret_url,
    },
};
use crate::auth::{BackendSettings, Secret};

pub(super) static GROUP: Group = Group {
    title: "Asking the backend",
    settings: &[
        &SUBSCRIBE_AUTH_URL,
        &SUBSCRIBE_AUTH_URL_FILE,
        &CONNECT_AUTH_URL,
        &CONNECT_AUTH_URL_FILE,
        &BACKEND_AUTH_SECRET,
        &BACKEND_AUTH_SECRET_FILE,
        &BACKEND_AUTH_TIMEOUT,
        &BACKEND_AUTH_TTL,
        &BACKEND_AUTH_GRACE,
    ],
};

static SUBSCRIBE_AUTH_URL: Optional<Url> = Setting {
    env: "SUBSCRIBE_AUTH_URL",
    takes: secret_url(url).or_in(&SUBSCRIBE_AUTH_URL_FILE),
    default: Otherwise("none"),
    help: "Where the application is asked whether a user may follow a topic that neither the token nor PUBLIC_TOPICS allows, http:// or https://.",
};

static SUBSCRIBE_AUTH_URL_FILE: FileSetting =
    FileSetting { env: "SUBSCRIBE_AUTH_URL_FILE", help: "A file that holds SUBSCRIBE_AUTH_URL." };

static CONNECT_AUTH_URL: Optional<Url> = Setting {
    env: "CONNECT_AUTH_URL",
    takes: secret_url(url).or_in(&CONNECT_AUTH_URL_FILE),
    default: Otherwise("none"),
    help: "Where the application is asked whether a user may connect, http:// or https://.",
};

static CONNECT_AUTH_URL_FILE: FileSetting =
    FileSetting { env: "CONNECT_AUTH_URL_FILE", help: "A file that holds CONNECT_AUTH_URL." };

static BACKEND_AUTH_SECRET: Optional<Secret> = Setting {
    env: "BACKEND_AUTH_SECRET",
    takes: secret(bearer).or_in(&BACKEND_AUTH_SECRET_FILE),
    default: Otherwise("none: the application cannot tell who asks"),
    help: "What the application knows this server by: sent with each question as Authorization: Bearer.",
};

static BACKEND_AUTH_SECRET_FILE: FileSetting =
    FileSetting { env: "BACKEND_AUTH_SECRET_FILE", help: "A file that holds BACKEND_AUTH_SECRET." };

static BACKEND_AUTH_TIMEOUT: Setting<Duration> = Setting {
    env: "BACKEND_AUTH_TIMEOUT",
    takes: duration(MS.saturating_mul(10), MINUTE),
    default: Value("2s"),
    help: "How long a question may take, the wait for its turn included. Beyond it the answer to the client is unavailable.",
};

static BACKEND_AUTH_TTL: Setting<Duration> = Setting {
    env: "BACKEND_AUTH_TTL",
    takes: duration(SECOND, DAY),
    default: Value("60s"),
    help: "How long a yes holds that has no ttlMs of its own. Then the application is asked again, also about topics that are followed.",
};

static BACKEND_AUTH_GRACE: Setting<Duration> = Setting {
    env: "BACKEND_AUTH_GRACE",
    takes: duration(Duration::ZERO, DAY),
    default: Value("5m"),
    help: "How long a topic is followed on where the application cannot be asked again. New subscriptions wait for its answer.",
};

pub(super) fn read(reader: &Reader<'_>) -> BackendSettings {
    BackendSettings {
        subscribe: reader.optional(&SUBSCRIBE_AUTH_URL),
        connect: reader.optional(&CONNECT_AUTH_URL),
        secret: reader.optional(&BACKEND_AUTH_SECRET),
        timeout: reader.value(&BACKEND_AUTH_TIMEOUT),
        ttl: reader.value(&BACKEND_AUTH_TTL),
        grace: reader.value(&BACKEND_AUTH_GRACE),
    }
}

fn url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("give a URL such as https://app.example.com/draftwire/subscribe".to_owned()),
    }
}

/// Reads what has to fit into a header field.
fn bearer(text: &str) -> Result<Secret, String> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| Secret::new(text)).ok_or_else(|| "give visible ASCII characters without blanks".to_owned())
}
