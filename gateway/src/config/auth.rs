//! The settings of tokens.

use std::{path::Path, time::Duration};

use reqwest::Url;

use super::{
    Listen, input,
    reader::Reader,
    setting::{
        Declared, FileSetting, Group, MINUTE, Optional, Otherwise, Setting, Value, any_text, duration,
        secret, secret_url, text,
    },
    store::{Database, Store},
};
use crate::auth::{ClaimPath, Key, KeySource, Rules, SECRET_BYTES_MIN, Secret, Settings};

/// The secret of compose.yaml and .env.example, so that `docker compose up` is one command. All the world can
/// read it: with it, anyone can be any user.
pub(crate) const DEMO_SECRET: &str = "development-only-change-me-0123456789";

pub(super) static GROUP: Group = Group {
    title: "Tokens",
    settings: &[
        &JWT_SECRET,
        &JWT_SECRET_FILE,
        &JWT_PUBLIC_KEY,
        &JWT_JWKS_URL,
        &JWT_JWKS_URL_FILE,
        &JWT_AUDIENCE,
        &JWT_ISSUER,
        &JWT_USER_CLAIM,
        &JWT_SCOPE_CLAIM,
        &JWT_LEEWAY,
    ],
};

pub(crate) static JWT_SECRET: Optional<Secret> = Setting {
    env: "JWT_SECRET",
    takes: secret(signing_secret).or_in(&JWT_SECRET_FILE),
    default: Otherwise("embedded: a random one, kept in DATA_DIR/jwt-secret"),
    help: "The secret of HS256 tokens, at least 32 bytes, on one line and taken as it is: it is not decoded. Prefer the environment or a file: other users of the machine see flags.",
};

static JWT_SECRET_FILE: FileSetting =
    FileSetting { env: "JWT_SECRET_FILE", help: "A file that holds JWT_SECRET, such as /run/secrets/jwt." };

pub(crate) static JWT_PUBLIC_KEY: Optional<String> = Setting {
    env: "JWT_PUBLIC_KEY",
    takes: any_text(),
    default: Otherwise("none"),
    help: "The public key of RS256, ES256 or EdDSA tokens: PEM text, or the path of a PEM file. The key's kind decides the algorithm.",
};

pub(crate) static JWT_JWKS_URL: Optional<Url> = Setting {
    env: "JWT_JWKS_URL",
    takes: secret_url(jwks_url).or_in(&JWT_JWKS_URL_FILE),
    default: Otherwise("none"),
    help: "Where the issuer of the tokens publishes its public keys (RFC 7517), http:// or https://.",
};

static JWT_JWKS_URL_FILE: FileSetting =
    FileSetting { env: "JWT_JWKS_URL_FILE", help: "A file that holds JWT_JWKS_URL." };

pub(crate) static JWT_AUDIENCE: Optional<String> = Setting {
    env: "JWT_AUDIENCE",
    takes: any_text(),
    default: Otherwise("none: tokens that name an audience are refused"),
    help: "The audience (aud) that every token must name.",
};

pub(crate) static JWT_ISSUER: Optional<String> = Setting {
    env: "JWT_ISSUER",
    takes: any_text(),
    default: Otherwise("none: any issuer"),
    help: "The issuer (iss) that every token must name.",
};

pub(crate) static JWT_USER_CLAIM: Setting<ClaimPath> = Setting {
    env: "JWT_USER_CLAIM",
    takes: text(claim_path),
    default: Value("sub"),
    help: "The claim that holds the user, or a path to it (user.id): text, or a whole number, which is taken as its decimal text.",
};

pub(crate) static JWT_SCOPE_CLAIM: Setting<ClaimPath> = Setting {
    env: "JWT_SCOPE_CLAIM",
    takes: text(claim_path),
    default: Value("scope"),
    help: "The claim that holds the rights, or a path to it (scp, realm_access.roles): text with blanks between the words, or a list of words.",
};

pub(crate) static JWT_LEEWAY: Setting<Duration> = Setting {
    env: "JWT_LEEWAY",
    takes: duration(Duration::ZERO, MINUTE.saturating_mul(10)),
    default: Value("60s"),
    help: "How far the clocks of the issuer and of this node may differ: a token is taken that much before its nbf and after its exp. A connection ends with it at the latest.",
};

pub(super) fn read(reader: &Reader<'_>, store: &Store) -> Settings {
    Settings { keys: keys(reader, store), rules: rules(reader) }
}

/// The one kind of key that is set; embedded, a secret is made where none is.
fn keys(reader: &Reader<'_>, store: &Store) -> KeySource {
    let sources = [
        reader.optional(&JWT_SECRET).map(KeySource::Secret),
        public_key(reader).map(KeySource::PublicKey),
        reader.optional(&JWT_JWKS_URL).map(KeySource::Jwks),
    ];
    let settings: [&dyn Declared; 3] = [&JWT_SECRET, &JWT_PUBLIC_KEY, &JWT_JWKS_URL];
    let given: Vec<&str> = settings
        .into_iter()
        .filter(|setting| reader.is_given(*setting))
        .map(|setting| setting.env())
        .collect();
    if given.len() > 1 {
        reader.complain(format!("{} are set: keep one kind of key", given.join(" and ")));
    }
    match (&store.database, sources.into_iter().flatten().next()) {
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
    }
}

fn rules(reader: &Reader<'_>) -> Rules {
    Rules {
        user: reader.value(&JWT_USER_CLAIM),
        scope: reader.value(&JWT_SCOPE_CLAIM),
        leeway: reader.value(&JWT_LEEWAY),
        audience: reader.optional(&JWT_AUDIENCE),
        issuer: reader.optional(&JWT_ISSUER),
    }
}

/// Reads the PEM text of the setting, or of the file that it names.
fn public_key(reader: &Reader<'_>) -> Option<Key> {
    let given = reader.optional(&JWT_PUBLIC_KEY)?;
    let pem = if given.contains("-----BEGIN") {
        // Many `.env` files and dashboards hold one line only.
        given.replace("\\n", "\n")
    } else {
        let read = input::read_file(Path::new(&given));
        let mend = |error| format!("give PEM text or the path of a PEM file; {error}");
        read.map_err(|error| reader.wrong(&JWT_PUBLIC_KEY, mend(error))).ok()?
    };
    // The text may be a private key: it must not appear.
    let complain = |error| reader.complain(format!("{} holds {error}", JWT_PUBLIC_KEY.name()));
    Key::from_pem(&pem).map_err(complain).ok()
}

/// Refuses the secret that all the world can read wherever it would matter.
pub(super) fn check_secret(keys: &KeySource, reader: &Reader<'_>, listen: &Listen) {
    let public = matches!(keys, KeySource::Secret(secret) if secret.reveal() == DEMO_SECRET);
    let harmless = listen.demo && listen.reachable_at().is_loopback();
    if public && !harmless {
        reader.wrong(
            &JWT_SECRET,
            "it is the one of the demonstration, which all the world can read: with it, anyone could be \
             any user. It is taken only with DEMO=true and where clients are on this machine alone \
             (PUBLISHED_ADDR, else LISTEN_ADDR, is a loopback address). Set one of your own, such as \
             `openssl rand -hex 32` prints; for compose.yaml, in the file .env",
        );
    }
}

fn signing_secret(text: &str) -> Result<Secret, String> {
    if text.len() < SECRET_BYTES_MIN {
        return Err(format!("give at least {SECRET_BYTES_MIN} bytes, such as `openssl rand -hex 32` prints"));
    }
    Ok(Secret::new(text))
}

fn jwks_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("give a URL such as https://issuer.example.com/.well-known/jwks.json".to_owned()),
    }
}

fn claim_path(text: &str) -> Result<ClaimPath, String> {
    text.parse().map_err(str::to_owned)
}
