//! The settings of tokens.

use std::path::Path;

use reqwest::Url;

use super::{
    Listen, handed_over,
    reader::Reader,
    store::{Database, Store},
};
use crate::auth::{ClaimPath, KeySource, Rules, SECRET_BYTES_MIN, Secret, Settings, key::Key};

/// The secret of compose.yaml and .env.example, so that `docker compose up` is one command. All the world can
/// read it: with it, anyone can be any user.
pub const DEMO_SECRET: &str = "development-only-change-me-0123456789";

pub(super) fn read(reader: &mut Reader<'_>, store: &Store) -> Settings {
    let sources: Vec<KeySource> =
        [secret(reader), public_key(reader), jwks(reader)].into_iter().flatten().collect();
    let given = ["JWT_SECRET", "JWT_PUBLIC_KEY", "JWT_JWKS_URL"]
        .into_iter()
        .filter(|env| reader.given(env).is_some())
        .collect::<Vec<_>>();
    if given.len() > 1 {
        reader.complain(format!("{} are set: keep one kind of key", given.join(" and ")));
    }
    let keys = match (&store.database, sources.into_iter().next()) {
        (_, Some(source)) => source,
        (Database::Embedded { dir }, None) => KeySource::Generated { dir: dir.clone() },
        (Database::Postgres { .. }, None) => {
            if given.is_empty() {
                reader.complain(
                    "No key to check tokens with: set JWT_SECRET (--jwt-secret), JWT_PUBLIC_KEY \
                     (--jwt-public-key) or JWT_JWKS_URL (--jwt-jwks-url), the same on every node",
                );
            }
            // Never used: there is a complaint by now, here or about the source.
            KeySource::Secret(Secret::new(""))
        }
    };
    Settings { keys, rules: rules(reader) }
}

/// Refuses the secret that all the world can read wherever it would matter.
pub(super) fn check_secret(keys: &KeySource, reader: &Reader<'_>, listen: &Listen) {
    let public = matches!(keys, KeySource::Secret(secret) if secret.reveal() == DEMO_SECRET);
    let harmless = listen.demo && listen.reachable_at().is_loopback();
    if public && !harmless {
        reader.wrong(
            "JWT_SECRET",
            "it is the one of the demonstration, which all the world can read: with it, anyone could be \
             any user. It is taken only with DEMO=true and where clients are on this machine alone \
             (PUBLISHED_ADDR, else LISTEN_ADDR, is a loopback address). Set one of your own, such as \
             `openssl rand -hex 32` prints; for compose.yaml, in the file .env",
        );
    }
}

fn rules(reader: &mut Reader<'_>) -> Rules {
    let mut claim = |env| reader.read(env, |text| text.parse::<ClaimPath>().map_err(str::to_owned));
    let defaults = Rules::default();
    Rules {
        user: claim("JWT_USER_CLAIM").unwrap_or(defaults.user),
        scope: claim("JWT_SCOPE_CLAIM").unwrap_or(defaults.scope),
        leeway: reader.duration("JWT_LEEWAY"),
        audience: reader.text("JWT_AUDIENCE"),
        issuer: reader.text("JWT_ISSUER"),
    }
}

fn secret(reader: &mut Reader<'_>) -> Option<KeySource> {
    let secret = reader.secret("JWT_SECRET")?;
    if secret.reveal().len() < SECRET_BYTES_MIN {
        reader.wrong(
            "JWT_SECRET",
            format!("give at least {SECRET_BYTES_MIN} bytes, such as `openssl rand -hex 32` prints"),
        );
        return None;
    }
    Some(KeySource::Secret(secret))
}

fn public_key(reader: &mut Reader<'_>) -> Option<KeySource> {
    let given = reader.text("JWT_PUBLIC_KEY")?;
    let pem = if given.contains("-----BEGIN") {
        // Many `.env` files and dashboards hold one line only.
        given.replace("\\n", "\n")
    } else {
        match handed_over::read_file(Path::new(&given)) {
            Ok(pem) => pem,
            Err(error) => {
                reader.wrong("JWT_PUBLIC_KEY", format!("give PEM text or the path of a PEM file; {error}"));
                return None;
            }
        }
    };
    match Key::from_pem(&pem) {
        Ok(key) => Some(KeySource::PublicKey(key)),
        Err(error) => {
            // The text may be a private key: it must not appear.
            reader.complain(format!("JWT_PUBLIC_KEY (--jwt-public-key) holds {error}"));
            None
        }
    }
}

fn jwks(reader: &mut Reader<'_>) -> Option<KeySource> {
    let url = reader.read("JWT_JWKS_URL", |text| match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("give a URL such as https://issuer.example.com/.well-known/jwks.json".to_owned()),
    })?;
    Some(KeySource::Jwks(url))
}
