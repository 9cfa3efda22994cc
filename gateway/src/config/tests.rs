#![allow(clippy::unwrap_used)]

use std::{cell::RefCell, collections::BTreeSet, path::Path};

use super::{setting::Privacy, *};
use crate::auth::KeySource;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn from(settings: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::from_source(|name| {
        settings.iter().find(|(env, _)| *env == name).map(|(_, value)| (*value).to_owned())
    })
}

/// The only complaint about these settings.
fn complaint(settings: &[(&str, &str)]) -> String {
    let ConfigErrors(mut sentences) = from(settings).unwrap_err();
    assert_eq!(sentences.len(), 1, "{sentences:?}");
    sentences.remove(0)
}

#[test]
fn nothing_set_is_an_embedded_node() {
    let config = from(&[]).unwrap();
    assert!(config.store.is_embedded());
    assert!(matches!(config.bus, Bus::InProcess));
    assert!(matches!(&config.auth.keys, KeySource::Generated { dir } if dir == Path::new("draftwire-data")));
    assert_eq!(config.listen.addr, "127.0.0.1:8080".parse().unwrap());
    assert_eq!(config.listen.origins, Origins::Same);
    assert!(config.listen.demo);
    assert_eq!(config.websocket.commands_burst(), 100);
    assert_eq!(config.websocket.message_bytes_max, 1 << 20);
    assert_eq!(config.writes.window, std::time::Duration::from_millis(5));
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert_eq!(config.store.to_string(), "SQLite in draftwire-data");
}

#[test]
fn a_cluster_has_a_database_redis_and_a_key() {
    let config = from(&[
        ("DATABASE_URL", "postgres://app:hunter2@db/draftwire"),
        ("REDIS_URL", "redis-sentinel://:hunter2@sentinel:26379"),
        ("JWT_SECRET", SECRET),
    ])
    .unwrap();
    assert!(!config.listen.demo);
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert_eq!(config.store.to_string(), "postgres://app@db:5432/draftwire");
    assert_eq!(config.bus.to_string(), "redis-sentinel://:***@sentinel:26379");
    let debug = format!("{config:?}");
    assert!(!debug.contains("hunter2") && !debug.contains(SECRET), "{debug}");
}

#[test]
fn the_schema_has_a_name_that_needs_no_quotes() {
    let database = ("DATABASE_URL", "postgres://db/draftwire");
    for name in ["Draftwire", "drop table", "x\"; --", "pg_catalog"] {
        let complaint = complaint(&[database, ("DATABASE_SCHEMA", name), ("JWT_SECRET", SECRET)]);
        assert!(complaint.starts_with("DATABASE_SCHEMA"), "{complaint}");
    }
}

#[test]
fn every_setting_that_is_listed_is_read_and_no_other() {
    let asked = RefCell::new(BTreeSet::new());
    let _ = Config::from_source(|name| {
        asked.borrow_mut().insert(name.to_owned());
        None
    });
    let listed: BTreeSet<String> = declared().map(|(_, setting)| setting.env().to_owned()).collect();
    assert_eq!(asked.into_inner(), listed);
    assert_eq!(listed.len(), declared().count(), "a setting is listed twice");
}

#[test]
fn every_number_and_choice_says_what_it_takes() {
    let mut checked = 0;
    for (_, setting) in declared() {
        let (name, rule) = (setting.name(), setting.rule());
        // Free text has no rule.
        if rule.is_empty() || rule == "a path" {
            continue;
        }
        let sentence = complaint(&[(setting.env(), "abc")]);
        assert!(sentence.starts_with(&format!("{name} is \"abc\": give ")), "{sentence}");
        checked += 1;
    }
    assert!(checked > 40, "numbers and choices have a rule");
    assert_eq!(
        complaint(&[("WS_PING_INTERVAL", "abc")]),
        "WS_PING_INTERVAL (--ws-ping-interval) is \"abc\": give a duration such as 25s"
    );
    assert_eq!(complaint(&[("WRITE_SHARDS", "0")]), "WRITE_SHARDS (--write-shards) is \"0\": give 1 to 64");
    assert_eq!(
        complaint(&[("STORE_TIMEOUT", "900")]),
        "STORE_TIMEOUT (--store-timeout) is \"900\": give a duration such as 900ms"
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let postgres = ("DATABASE_URL", "postgres://db/x");
    for (settings, part) in [
        (&[("REDIS_URL", "redis://r")][..], "without DATABASE_URL"),
        (&[postgres], "No key to check tokens with"),
        (&[("JWT_SECRET", SECRET), ("JWT_JWKS_URL", "https://i/jwks")], "keep one kind of key"),
        (&[("WS_PING_INTERVAL_MIN", "26s")], "at least WS_PING_INTERVAL_MIN, which is 26s"),
        (&[("WS_PING_INTERVAL_MAX", "24s")], "at most WS_PING_INTERVAL_MAX, which is 24s"),
        (&[("PUBLIC_TOPICS", "news,match:*:1")], "\"match:*:1\" is not"),
        (&[("SWEEP_INTERVAL_UNSURE", "6s")], "at most SWEEP_INTERVAL, which is 5s"),
        (&[("METRICS_ADDR", "127.0.0.1:8080")], "different ports"),
    ] {
        let sentence = complaint(settings);
        assert!(sentence.contains(part), "{sentence}");
    }
}

#[test]
fn the_bounds_of_pings_are_those_that_help_describes() {
    let heartbeat = from(&[]).unwrap().websocket.heartbeat;
    for (env, bound) in [("WS_PING_INTERVAL_MIN", heartbeat.min), ("WS_PING_INTERVAL_MAX", heartbeat.max)] {
        let (_, setting) = declared().find(|(_, setting)| setting.env() == env).unwrap();
        let described = setting.default().text();
        assert!(described.starts_with(&format!("{}, or ", text::show_duration(bound))), "{described}");
    }
}

#[test]
fn free_text_is_checked_too() {
    for (env, value, part) in [
        ("DATABASE_URL", "mysql://app:hunter2@db/x", "give postgres://"),
        ("JWT_SECRET", "hunter2", "at least 32 bytes"),
        ("JWT_JWKS_URL", "ftp://u:hunter2@i/keys", "give a URL"),
        ("JWT_PUBLIC_KEY", "/nowhere/key.pem", "path of a PEM file"),
        ("JWT_SECRET_FILE", "/nowhere/secret", "cannot be read"),
        ("DATABASE_URL_FILE", "/nowhere/url", "cannot be read"),
        ("LISTEN_ADDR", ":8080", "IP address and port"),
        ("PUBLISHED_ADDR", "127.0.0.1:80", "without a port"),
        ("NODE_NAME", "a b", "node must be 1 to 64"),
        ("ALLOWED_ORIGINS", "app.example.com", "is no origin"),
        ("LOG_LEVEL", "verbose", "give error, warn"),
        ("REDIS_PREFIX", "a{b}", "give 1 to 64"),
    ] {
        let ConfigErrors(sentences) = from(&[(env, value)]).unwrap_err();
        let all = sentences.join("\n");
        assert!(all.contains(env) && all.contains(part), "{all}");
        assert!(!all.contains("hunter2"), "{all}");
    }
    let redis = from(&[("REDIS_URL", "http://:hunter2@r"), ("DATABASE_URL", "postgres://db/x")]);
    let all = redis.unwrap_err().to_string();
    assert!(all.contains("give redis://") && !all.contains("hunter2"), "{all}");
}

#[test]
fn a_private_key_is_refused_and_not_shown() {
    let private = include_str!("../auth/test_keys/rsa.pem");
    let sentence = complaint(&[("JWT_PUBLIC_KEY", private)]);
    assert!(sentence.contains("private key") && !sentence.contains("BEGIN PRIVATE"), "{sentence}");
}

#[test]
fn a_public_key_is_text_or_a_file_and_may_be_on_one_line() {
    let pem = include_str!("../auth/test_keys/ec.pub");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    std::fs::write(&path, pem).unwrap();
    for value in [pem, &pem.replace('\n', "\\n"), path.to_str().unwrap()] {
        let config = from(&[("JWT_PUBLIC_KEY", value)]).unwrap();
        assert_eq!(format!("{:?}", config.auth.keys), "Key(ES256)");
    }
}

/// A folder with a file in it.
fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

#[test]
fn what_holds_a_secret_can_be_in_a_file() {
    for (env, value) in [
        ("DATABASE_URL", "postgres://app:hunter2@db/x"),
        ("REDIS_URL", "redis://:hunter2@redis"),
        ("JWT_SECRET", SECRET),
        ("JWT_JWKS_URL", "https://i/jwks?key=hunter2"),
        ("BACKEND_AUTH_SECRET", "hunter2"),
        ("SUBSCRIBE_AUTH_URL", "https://app/subscribe?key=hunter2"),
        ("CONNECT_AUTH_URL", "https://app/connect?key=hunter2"),
    ] {
        let (_, setting) = declared().find(|(_, setting)| setting.env() == env).unwrap();
        let of_file = setting.file().expect("it has a file");
        assert_eq!(of_file.env(), format!("{env}_FILE"));
        let database = ("DATABASE_URL", "postgres://app:hunter2@db/x");
        let others: &[(&str, &str)] = match env {
            "DATABASE_URL" => &[("JWT_SECRET", SECRET)],
            "REDIS_URL" => &[database, ("JWT_SECRET", SECRET)],
            "JWT_SECRET" | "JWT_JWKS_URL" => &[database],
            _ => &[database, ("JWT_SECRET", SECRET)],
        };
        let direct = from(&[others, &[(env, value)]].concat()).unwrap();
        for ending in ["", "\n", "\r\n", "\n\n"] {
            let (_dir, path) = file(&format!("\u{feff}{value}{ending}"));
            let config = from(&[others, &[(of_file.env(), path.as_str())]].concat()).unwrap();
            let of = |config: &Config| match (env, &config.auth.keys, &config.store.database, &config.bus) {
                ("JWT_SECRET", KeySource::Secret(secret), ..) => secret.reveal().to_owned(),
                ("JWT_JWKS_URL", KeySource::Jwks(url), ..) => url.to_string(),
                ("DATABASE_URL", _, Database::Postgres { url, .. }, _) => url.reveal().to_owned(),
                ("REDIS_URL", _, _, Bus::Redis { url, .. }) => url.reveal().to_owned(),
                ("BACKEND_AUTH_SECRET", ..) => config.backend.secret.as_ref().unwrap().reveal().to_owned(),
                ("SUBSCRIBE_AUTH_URL", ..) => config.backend.subscribe.as_ref().unwrap().to_string(),
                ("CONNECT_AUTH_URL", ..) => config.backend.connect.as_ref().unwrap().to_string(),
                other => panic!("{other:?}"),
            };
            assert_eq!(of(&config), of(&direct), "{env} with {ending:?}");
            assert!(!format!("{config:?}").contains("hunter2"), "{env}");
        }
    }
    for (_, setting) in declared() {
        let by_file = setting.privacy() != Privacy::Shown || setting.env() == "LOG_LEVEL";
        assert_eq!(setting.file().is_some(), by_file, "{}", setting.env());
    }
}

#[test]
fn a_file_and_the_setting_itself_are_one_too_many() {
    let (_dir, path) = file(SECRET);
    let sentence = complaint(&[("JWT_SECRET", SECRET), ("JWT_SECRET_FILE", &path)]);
    assert!(sentence.contains("JWT_SECRET_FILE (--jwt-secret-file) are set: keep one"), "{sentence}");
}

#[test]
fn what_is_wrong_in_a_file_names_the_file_setting_and_nothing_of_it() {
    for (text, part) in [
        ("hunter2", "at least 32 bytes"),
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("0123456789abcdef0123456789abcdef \n", "ends with a blank"),
        ("0123456789abcdef\n0123456789abcdef\n", "more than one line"),
        ("-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----\n", "JWT_PUBLIC_KEY"),
    ] {
        let (_dir, path) = file(text);
        let sentence = complaint(&[("JWT_SECRET_FILE", &path)]);
        assert!(sentence.starts_with("JWT_SECRET_FILE (--jwt-secret-file) "), "{sentence}");
        assert!(sentence.contains(part) && !sentence.contains("hunter2"), "{sentence}");
    }
    let (_dir, path) = file(&"x".repeat(100_000));
    assert!(complaint(&[("JWT_SECRET_FILE", &path)]).contains("over 64 KiB"));
}

#[test]
fn a_secret_with_an_accident_around_it_does_not_start() {
    for (value, part) in [
        (format!("{SECRET}\n"), "ends with a line end"),
        (format!("{SECRET}\r"), "Windows line ends"),
        (format!("{SECRET} "), "blank"),
        (format!("\"{SECRET}\""), "in quotes"),
        (format!("'{SECRET}'"), "in quotes"),
    ] {
        let sentence = complaint(&[("JWT_SECRET", &value)]);
        assert!(sentence.contains(part) && !sentence.contains(SECRET), "{sentence}");
    }
    assert!(complaint(&[("JWT_AUDIENCE", "\"us\"")]).contains("in quotes"));
}

/// Every line of an environment file with Windows line ends, but the one of the secret.
#[test]
fn an_environment_file_may_have_windows_line_ends() {
    let lines = [
        ("DATABASE_URL", "postgres://app@db/x"),
        ("REDIS_URL", "redis://redis"),
        ("JWT_JWKS_URL", "https://issuer.example.com/jwks"),
        ("JWT_AUDIENCE", "us"),
        ("LINGER", "1m"),
        ("DEMO", "false"),
        ("ALLOWED_ORIGINS", "https://a.example"),
        ("NODE_NAME", "n1"),
    ];
    let windows = lines.map(|(env, value)| (env, format!("{value}\r")));
    let windows = windows.each_ref().map(|(env, value)| (*env, value.as_str()));
    let [unix, windows] = [&lines, &windows].map(|settings| from(settings).unwrap());
    assert_eq!(format!("{unix:?}"), format!("{windows:?}"));
    let urls = |config: &Config| match (&config.store.database, &config.bus) {
        (Database::Postgres { url, .. }, Bus::Redis { url: redis, .. }) => {
            [url.reveal().to_owned(), redis.reveal().to_owned()]
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(urls(&unix), urls(&windows));
}

#[test]
fn every_mistake_is_reported_at_once() {
    let ConfigErrors(sentences) =
        from(&[("WS_PING_INTERVAL", "1"), ("DEMO", "maybe"), ("LINGER", "soon")]).unwrap_err();
    assert_eq!(sentences.len(), 3, "{sentences:?}");
}

#[test]
fn empty_counts_as_not_set_and_blanks_are_cut() {
    let config = from(&[("DATABASE_URL", ""), ("DEMO", ""), ("LINGER", " 1m\n")]).unwrap();
    assert!(config.store.is_embedded());
    assert_eq!(config.fanout.linger, std::time::Duration::from_secs(60));
}

#[test]
fn the_secret_that_all_the_world_can_read_is_for_demonstrations_on_this_machine() {
    let secret = ("JWT_SECRET", DEMO_SECRET);
    let demo = ("DEMO", "true");
    let container = ("LISTEN_ADDR", "0.0.0.0:8080");
    for settings in [
        &[secret][..],
        &[secret, demo],
        &[secret, demo, ("LISTEN_ADDR", "[::1]:8080")],
        &[secret, demo, container, ("PUBLISHED_ADDR", "127.0.0.1")],
        &[secret, demo, container, ("PUBLISHED_ADDR", "[::1]")],
    ] {
        assert!(from(settings).is_ok(), "{settings:?}");
    }
    for settings in [
        &[secret, ("DEMO", "false")][..],
        &[secret, ("DATABASE_URL", "postgres://db/x")],
        &[secret, demo, container],
        &[secret, demo, ("PUBLISHED_ADDR", "0.0.0.0")],
        &[secret, demo, container, ("PUBLISHED_ADDR", "192.0.2.1")],
        &[secret, ("DEMO", "false"), container, ("PUBLISHED_ADDR", "127.0.0.1")],
    ] {
        let sentence = complaint(settings);
        assert!(sentence.contains("anyone could be any user") && sentence.contains("openssl"), "{sentence}");
        assert!(!sentence.contains(DEMO_SECRET), "{sentence}");
    }
    // It is refused for what it is, also from a file.
    let (_dir, path) = file(&format!("{DEMO_SECRET}\n"));
    let sentence = complaint(&[("JWT_SECRET_FILE", &path), ("DEMO", "false")]);
    assert!(sentence.starts_with("JWT_SECRET_FILE "), "{sentence}");
}

/// Whoever changes the one has to change the other.
#[test]
fn the_secret_of_the_demonstration_is_the_one_that_is_published() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let compose = std::fs::read_to_string(root.join("compose.yaml")).unwrap();
    assert!(compose.contains(&format!("JWT_SECRET: ${{JWT_SECRET:-{DEMO_SECRET}}}")));
    let address = "${BIND_ADDR:-127.0.0.1}";
    assert!(compose.contains(&format!("PUBLISHED_ADDR: {address}")), "it says what it publishes");
    assert!(compose.contains(&format!("- {address}:${{PORT:-8080}}:80")), "and publishes that");
    let example = std::fs::read_to_string(root.join(".env.example")).unwrap();
    assert!(example.contains(&format!("\nJWT_SECRET={DEMO_SECRET}\n")));
}

#[test]
fn what_may_be_a_mistake_is_said() {
    let config = from(&[("DATABASE_URL", "postgres://db/x"), ("JWT_SECRET", SECRET)]).unwrap();
    assert!(config.warnings()[0].contains("only by the sweep, every 5s"));
    let config = from(&[("LISTEN_ADDR", "0.0.0.0:8080")]).unwrap();
    assert!(config.warnings()[0].contains("DEMO is on"));
    let config = from(&[("LISTEN_ADDR", "0.0.0.0:8080"), ("PUBLISHED_ADDR", "127.0.0.1")]).unwrap();
    assert_eq!(config.warnings(), Vec::<String>::new());
}

/// `UPDATE_DOCS=1` writes the page instead.
#[test]
fn the_documentation_is_what_is_declared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/config.md");
    let generated = markdown::page(&GROUPS);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page == generated, "docs/config.md is stale: UPDATE_DOCS=1 cargo test -p gateway config");
}
