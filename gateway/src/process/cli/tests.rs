#![allow(clippy::unwrap_used)]

use super::*;

fn run(line: &str, env: &[(&str, &str)]) -> Result<Invocation, CliError> {
    let args = std::iter::once("draftwire").chain(line.split_whitespace()).map(OsString::from);
    parse(args, |name| env.iter().find(|(env, _)| *env == name).map(|(_, value)| (*value).to_owned()))
}

fn serve(line: &str, env: &[(&str, &str)]) -> Config {
    match run(line, env).unwrap() {
        Invocation::Serve(config) => *config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn serve_is_the_default() {
    for line in ["", "serve"] {
        assert_eq!(serve(line, &[]).listen.addr.port(), 8080);
    }
    for line in ["--listen-addr 127.0.0.1:0", "serve --listen-addr=127.0.0.1:0"] {
        assert_eq!(serve(line, &[]).listen.addr.port(), 0);
    }
}

#[test]
fn a_flag_wins_over_the_environment() {
    let env = [("LINGER", "1s"), ("LISTEN_ADDR", "127.0.0.1:1")];
    let config = serve("--linger 2s", &env);
    assert_eq!(config.fanout.linger.as_secs(), 2);
    assert_eq!(config.listen.addr.port(), 1);
    // Also an empty one, and also where the variable is wrong.
    assert_eq!(serve("--linger=", &[("LINGER", "abc")]).fanout.linger.as_secs(), 30);
}

#[test]
fn unknown_flags_and_commands_are_usage_errors() {
    for line in ["--no-such-flag", "serve --no-such-flag", "frobnicate", "token", "token --user u --ttl 5"] {
        assert!(matches!(run(line, &[]), Err(CliError::Usage(_))), "{line:?} was taken");
    }
    assert!(matches!(run("--linger abc", &[]), Err(CliError::Config(_))));
}

#[test]
fn help_shows_every_setting() {
    let Err(CliError::Usage(help)) = run("serve --help", &[]) else { panic!("help is no invocation") };
    assert_eq!(help.exit_code(), 0);
    let help = help.to_string();
    for (title, setting) in config::declared() {
        for part in
            [format!("--{} ", setting.flag()), format!("[env: {}]", setting.env()), format!("{title}:\n")]
        {
            assert!(help.contains(&part), "{part} is missing");
        }
    }
}

#[test]
fn version_is_told() {
    let Err(CliError::Usage(version)) = run("--version", &[]) else { panic!("it is no invocation") };
    assert_eq!(version.to_string(), format!("draftwire {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn a_token_is_one_that_the_same_server_takes() {
    let dir = tempfile::tempdir().unwrap();
    let env = [("DATA_DIR", dir.path().to_str().unwrap()), ("JWT_AUDIENCE", "draftwire")];
    let line = "token --user alice --scope service --ttl 5m";
    let Invocation::Token(request) = run(line, &env).unwrap() else { panic!("not a token") };
    let token = request.mint().unwrap();
    let verifier = crate::auth::Verifier::new(&serve("", &env).auth).unwrap();
    let identity = verifier.verify(&token, common::time::unix_ms()).await.unwrap();
    assert_eq!(identity.user.as_str(), "alice");
    assert!(identity.scopes.is_service());
}

#[tokio::test]
async fn a_token_of_a_topic_is_for_that_topic() {
    let dir = tempfile::tempdir().unwrap();
    let env = [("DATA_DIR", dir.path().to_str().unwrap())];
    let verifier = crate::auth::Verifier::new(&serve("", &env).auth).unwrap();
    let now = common::time::unix_ms();
    for (user, line) in [
        (None, "token --topic room:7 --scope publish:room:7"),
        (Some("alice"), "token --user alice --topic room:7 --scope publish:room:7"),
    ] {
        let Invocation::Token(request) = run(line, &env).unwrap() else { panic!("not a token") };
        let token = request.mint().unwrap();
        let of_topic = verifier.verify_topic(&token, now).await.unwrap();
        assert_eq!((of_topic.topic.as_str(), of_topic.may_publish), ("room:7", true));
        assert_eq!(of_topic.user.as_ref().map(common::UserId::as_str), user);
        assert!(verifier.verify(&token, now).await.is_err(), "it opens no connection");
    }
    assert!(matches!(run("token", &env), Err(CliError::Usage(_))), "nobody and nothing is named");
}

#[test]
fn a_token_cannot_be_signed_with_public_keys() {
    let env = [("JWT_JWKS_URL", "https://issuer.example.com/jwks")];
    let Invocation::Token(request) = run("token --user alice", &env).unwrap() else { panic!("not a token") };
    assert!(matches!(request.mint(), Err(TokenError::PublicKeysOnly)));
}

#[test]
fn migrate_needs_a_database() {
    assert!(matches!(run("migrate", &[]), Err(CliError::Config(_))));
    let Invocation::Migrate(migration) = run("migrate --database-url postgres://db/x", &[]).unwrap() else {
        panic!("not a migration")
    };
    assert_eq!(migration.url.reveal(), "postgres://db/x");
}

#[tokio::test]
async fn healthcheck_asks_this_machine() {
    let Invocation::Healthcheck(addr) = run("healthcheck --listen-addr 0.0.0.0:81", &[]).unwrap() else {
        panic!("not a healthcheck")
    };
    assert_eq!(addr.to_string(), "127.0.0.1:81");
    let Invocation::Healthcheck(addr) = run("healthcheck", &[("LISTEN_ADDR", "[::]:81")]).unwrap() else {
        panic!("not a healthcheck")
    };
    assert_eq!(addr.to_string(), "[::1]:81");

    let ready = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
    let answer = ready.clone();
    let router = axum::Router::new().route(
        "/readyz",
        axum::routing::get(async move || match answer.load(std::sync::atomic::Ordering::Relaxed) {
            true => axum::http::StatusCode::OK,
            false => axum::http::StatusCode::SERVICE_UNAVAILABLE,
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    healthcheck(addr).await.unwrap();
    ready.store(false, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(healthcheck(addr).await, Err(HealthError::NotReady(503))));
    server.abort();
    let _ = server.await;
    assert!(matches!(healthcheck(addr).await, Err(HealthError::Unreachable(_))));
}
