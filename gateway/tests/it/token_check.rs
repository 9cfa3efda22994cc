//! `draftwire token check`: what a node says of a token, and why.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use serde_json::json;
use testkit::token;

/// Runs it with these further settings.
fn check(token: &str, settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_draftwire"));
    command.env_clear().env("JWT_SECRET", token::SECRET).envs(settings.iter().copied());
    command.args(["token", "check", token]).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_token_that_is_taken_says_for_whom_what_and_until_when() {
    let output = check(&token::scoped("ada", "service publish:match:*"), &[]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    for part in
        ["accepted: for user ada\n", "until ", " GMT, for another 3", "scopes: service publish:match:*"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let far = u64::MAX / 2;
    let of_topic =
        token::sign(&json!({"topic": "room:7", "scope": "publish:room:7", "exp": far}), token::SECRET);
    let text = said(&check(&of_topic, &[]));
    assert!(text.contains("whoever has it, to follow and publish to the topic room:7"), "{text}");
    let text = said(&check(&token::audience("ada", "shop"), &[("JWT_AUDIENCE", "shop")]));
    assert!(text.contains("accepted: for user ada"), "{text}");
}

#[test]
fn a_token_that_is_refused_says_why_in_the_words_of_the_node() {
    let late = token::expired("ada");
    for (token, settings, parts) in [
        (late.as_str(), &[][..], &["refused: the token has expired (exp)", "it says: exp 1", " GMT)"][..]),
        (&token::forged("ada"), &[], &["the token's signature does not verify"]),
        (&token::unsigned("ada"), &[], &["refused: ", "it says: alg \"none\""]),
        (&token::endless("ada"), &[], &["the token has no expiry (exp)"]),
        (
            &token::audience("ada", "shop"),
            &[("JWT_AUDIENCE", "bank")],
            &["the token is for another audience (aud)", "it says: aud \"shop\", expected is bank"],
        ),
        ("no.token.at-all", &[], &["refused: the token is not a signed JWT"]),
        ("", &[], &["refused: a token is required"]),
    ] {
        let output = check(token, settings);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        parts.iter().for_each(|part| assert!(text.contains(part), "{part}: {text}"));
    }
    let leeway = check(&late, &[("JWT_LEEWAY", "10m")]);
    assert_eq!(leeway.status.code(), Some(1), "an hour is more than ten minutes");
}

#[test]
fn a_token_is_read_from_the_input_and_keys_are_not_made() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_draftwire"));
    command.env_clear().env("JWT_SECRET", token::SECRET).args(["token", "check", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", token::good("ada")).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && said(&output).contains("user ada"), "{}", said(&output));

    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_draftwire"));
    command.env_clear().env("DATA_DIR", dir.path()).args(["token", "check", &token::good("ada")]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no secret in DATA_DIR"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
