#![allow(clippy::unwrap_used)]

mod published;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::UserId;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use websocket::frame::REASON_BYTES_MAX;

use super::{
    key::{Key, KeyError},
    *,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const RSA: &str = include_str!("../test_keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../test_keys/rsa.pub");
const EC: &str = include_str!("../test_keys/ec.pem");
const EC_NEXT: &str = include_str!("../test_keys/ec-next.pem");
const EC_PUBLIC: &str = include_str!("../test_keys/ec.pub");
const ED: &str = include_str!("../test_keys/ed.pem");
const ED_PUBLIC: &str = include_str!("../test_keys/ed.pub");

/// Some moment; every test brings its own clock.
const NOW: u64 = 1_700_000_000_000;
const EXP: u64 = NOW / 1000 + 60;
/// The default of `JWT_LEEWAY`.
const LEEWAY_MS: u64 = 60_000;

fn with_secret() -> Verifier {
    verifier(KeySource::Secret(Secret::new(SECRET)))
}

fn verifier(keys: KeySource) -> Verifier {
    with_rules(keys, Rules::default())
}

fn with_rules(keys: KeySource, rules: Rules) -> Verifier {
    Verifier::new(&Settings { keys, rules }).unwrap()
}

/// With a secret, and the names of claims as an operator sets them.
fn naming(user: &str, scope: &str) -> Verifier {
    let rules = Rules { user: user.parse().unwrap(), scope: scope.parse().unwrap(), ..Rules::default() };
    with_rules(KeySource::Secret(Secret::new(SECRET)), rules)
}

fn public(pem: &str) -> Verifier {
    verifier(KeySource::PublicKey(Key::from_pem(pem).unwrap()))
}

fn hs256(claims: &Value) -> String {
    sign(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes()))
}

fn sign(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).unwrap()
}

fn claims() -> Value {
    json!({"sub": "alice", "exp": EXP, "scope": "service  subscribe:topic:*"})
}

/// The usual claims with one changed; `null` takes it away.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

async fn refusal(verifier: &Verifier, token: &str) -> AuthError {
    verifier.verify(token, NOW).await.unwrap_err()
}

#[tokio::test]
async fn a_good_token_is_an_identity() {
    let identity = with_secret().verify(&hs256(&claims()), NOW).await.unwrap();
    assert_eq!(identity.user.as_str(), "alice");
    assert_eq!((identity.expires_at, identity.ends_at), (EXP * 1000, EXP * 1000 + LEEWAY_MS));
    assert!(identity.scopes.is_service() && identity.scopes.may_subscribe(&"topic:1".parse().unwrap()));
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused() {
    let verifier = with_secret();
    let claim = || "sub".parse::<ClaimPath>().unwrap();
    let user = || AuthError::BadUser { claim: claim(), rule: "text or a whole number of up to 64 bits" };
    let id =
        |text: &str| AuthError::BadUser { claim: claim(), rule: text.parse::<UserId>().unwrap_err().rule };
    let scope = || AuthError::BadScope { claim: "scope".parse().unwrap() };
    let ended = (NOW - LEEWAY_MS) / 1000;
    for (name, value, reason) in [
        ("exp", Value::Null, AuthError::NoExpiry),
        ("exp", json!("tomorrow"), AuthError::BadExpiry),
        ("exp", json!(EXP.to_string()), AuthError::BadExpiry),
        ("exp", json!(ended), AuthError::Expired),
        ("exp", json!(0), AuthError::Expired),
        ("exp", json!(-1), AuthError::Expired),
        ("nbf", json!((NOW + LEEWAY_MS) / 1000 + 1), AuthError::NotYetValid),
        ("nbf", json!("soon"), AuthError::BadNotBefore),
        ("sub", Value::Null, AuthError::NoUser { claim: claim() }),
        ("sub", json!(""), id("")),
        ("sub", json!(7.5), user()),
        ("sub", json!(1e30), user()),
        ("sub", json!(true), user()),
        ("sub", json!(["alice"]), user()),
        ("sub", json!("a\u{0}b"), id("a\u{0}b")),
        ("sub", json!("x".repeat(1000)), id("")),
        ("scope", json!(7), scope()),
        ("scope", json!([7]), scope()),
        ("scope", json!({ "service": true }), scope()),
        ("aud", json!("others"), AuthError::UnexpectedAudience),
        ("aud", json!([]), AuthError::UnexpectedAudience),
    ] {
        let token = hs256(&with(name, value.clone()));
        let error = refusal(&verifier, &token).await;
        assert_eq!(error, reason, "{name}: {value}");
        assert!(error.to_string().contains(&format!("({name})")), "{error} names no claim");
    }
}

#[tokio::test]
async fn a_user_is_text_or_a_number() {
    let verifier = with_secret();
    for (sub, user) in [
        (json!("alice"), "alice"),
        (json!("007"), "007"),
        (json!(7), "7"),
        (json!(-7), "-7"),
        (json!(u64::MAX), "18446744073709551615"),
    ] {
        let identity = verifier.verify(&hs256(&with("sub", sub)), NOW).await.unwrap();
        assert_eq!(identity.user.as_str(), user);
    }
}

#[tokio::test]
async fn rights_are_words_or_a_list() {
    let topic = "match:1".parse().unwrap();
    for (scope, follow, service) in [
        (json!("service subscribe:match:*"), true, true),
        (json!(["subscribe:match:*", "service"]), true, true),
        (json!(["subscribe:match:*"]), true, false),
        (json!([]), false, false),
        (json!(""), false, false),
        // A role of somebody else's, with a blank in its name, is no right of ours.
        (json!(["service desk", "subscribe:match:*"]), true, false),
        (json!(["a\tservice", "\nservice"]), false, false),
    ] {
        let scopes = with_secret().verify(&hs256(&with("scope", scope.clone())), NOW).await.unwrap().scopes;
        assert_eq!((scopes.may_subscribe(&topic), scopes.is_service()), (follow, service), "{scope}");
    }
}

/// Claims as issuers make them: user and rights, and where they are.
#[tokio::test]
async fn claims_are_where_the_operator_says() {
    let of = |more: Value| {
        let mut claims = json!({ "exp": EXP });
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        hs256(&claims)
    };
    for (user, scope, claims) in [
        ("sub", "scp", json!({ "sub": "alice", "scp": ["service"] })),
        ("sub", "realm_access.roles", json!({ "sub": "alice", "realm_access": { "roles": ["service"] } })),
        ("user.id", "perms", json!({ "user": { "id": "alice" }, "perms": "service", "sub": "other" })),
        ("https://a.example/user", "x", json!({ "https://a.example/user": "alice", "x": "service" })),
        ("a.b.c.d", "x", json!({ "a.b": { "c.d": "alice" }, "a": { "b": 7 }, "x": "service" })),
    ] {
        let identity = naming(user, scope).verify(&of(claims.clone()), NOW).await.unwrap();
        assert_eq!((identity.user.as_str(), identity.scopes.is_service()), ("alice", true), "{claims}");
    }
    let error = refusal(&naming("user.id", "scp"), &of(json!({ "sub": "alice", "user": "alice" }))).await;
    assert!(error.to_string().contains("(user.id)"), "{error}");
    let error = refusal(&naming("sub", "r.s"), &of(json!({ "sub": "alice", "r": { "s": {} } }))).await;
    assert!(error.to_string().contains("(r.s)"), "{error}");
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway_at_both_ends() {
    let verifier = with_secret();
    let token = hs256(&claims());
    assert!(verifier.verify(&token, EXP * 1000 + LEEWAY_MS - 1).await.is_ok());
    assert_eq!(verifier.verify(&token, EXP * 1000 + LEEWAY_MS).await, Err(AuthError::Expired));
    let half = hs256(&with("exp", json!(EXP as f64 + 0.5)));
    assert_eq!(verifier.verify(&half, NOW).await.unwrap().expires_at, EXP * 1000 + 500);
    let ahead = hs256(&with("nbf", json!((NOW + LEEWAY_MS) / 1000)));
    assert!(verifier.verify(&ahead, NOW).await.is_ok());
    let for_ever = hs256(&with("exp", json!(u64::MAX)));
    assert_eq!(verifier.verify(&for_ever, NOW).await.unwrap().ends_at, u64::MAX);

    let rules = Rules { leeway: Duration::ZERO, ..Rules::default() };
    let sharp = with_rules(KeySource::Secret(Secret::new(SECRET)), rules);
    assert!(sharp.verify(&token, EXP * 1000 - 1).await.is_ok());
    assert_eq!(sharp.verify(&token, EXP * 1000).await, Err(AuthError::Expired));
    let ahead = hs256(&with("nbf", json!(NOW / 1000 + 1)));
    assert_eq!(sharp.verify(&ahead, NOW).await, Err(AuthError::NotYetValid));
}

#[tokio::test]
async fn audience_and_issuer_are_held_to_what_is_configured() {
    let keys = KeySource::Secret(Secret::new(SECRET));
    let rules = Rules { audience: Some("us".into()), issuer: Some("idp".into()), ..Rules::default() };
    let verifier = with_rules(keys, rules);
    let token = |aud: Value, iss: Value| hs256(&json!({"sub": "alice", "exp": EXP, "aud": aud, "iss": iss}));
    for aud in [json!("us"), json!(["them", "us"])] {
        assert!(verifier.verify(&token(aud, json!("idp")), NOW).await.is_ok());
    }
    for aud in [Value::Null, json!("them"), json!(["them"]), json!([]), json!(7), json!({"us": 1})] {
        let error = refusal(&verifier, &token(aud.clone(), json!("idp"))).await;
        assert_eq!(error, AuthError::WrongAudience, "{aud}");
    }
    for iss in [Value::Null, json!("other"), json!(["idp"])] {
        let error = refusal(&verifier, &token(json!("us"), iss.clone())).await;
        assert_eq!(error, AuthError::WrongIssuer, "{iss}");
    }
}

#[tokio::test]
async fn a_token_is_signed_by_the_right_key_or_refused() {
    let verifier = with_secret();
    let other = sign(&Header::default(), &claims(), &EncodingKey::from_secret(&[7; 32]));
    assert_eq!(refusal(&verifier, &other).await, AuthError::BadSignature);

    let good = hs256(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let forged = URL_SAFE_NO_PAD.encode(with("sub", json!("bob")).to_string());
    assert_eq!(refusal(&verifier, &format!("{header}.{forged}.{signature}")).await, AuthError::BadSignature);
    assert_eq!(refusal(&verifier, &format!("{message}.")).await, AuthError::BadSignature);

    // A bad signature is told before anything of the claims.
    let expired = sign(&Header::default(), &with("exp", json!(0)), &EncodingKey::from_secret(&[7; 32]));
    assert_eq!(refusal(&verifier, &expired).await, AuthError::BadSignature);
}

#[tokio::test]
async fn the_algorithm_is_the_keys_and_not_the_tokens() {
    let hs512 = sign(&Header::new(Algorithm::HS512), &claims(), &EncodingKey::from_secret(SECRET.as_bytes()));
    assert_eq!(refusal(&with_secret(), &hs512).await, AuthError::WrongAlgorithm);

    // The classic: whoever knows the public key uses it as the secret of HS256.
    for pem in [RSA_PUBLIC, EC_PUBLIC, ED_PUBLIC] {
        let confused = sign(&Header::default(), &claims(), &EncodingKey::from_secret(pem.as_bytes()));
        assert_eq!(refusal(&public(pem), &confused).await, AuthError::WrongAlgorithm);
    }

    let payload = URL_SAFE_NO_PAD.encode(claims().to_string());
    for alg in ["none", "None", "NONE", ""] {
        let header = URL_SAFE_NO_PAD.encode(json!({"typ": "JWT", "alg": alg}).to_string());
        for verifier in [with_secret(), public(RSA_PUBLIC)] {
            for token in [format!("{header}.{payload}."), format!("{header}.{payload}")] {
                assert_eq!(refusal(&verifier, &token).await, AuthError::Malformed, "{alg:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let verifier = with_secret();
    assert_eq!(refusal(&verifier, "").await, AuthError::Missing);
    for token in [".", "..", "...", "a.b.c", "not a token", "é.é.é", &hs256(&json!(["no object"]))] {
        assert_eq!(refusal(&verifier, token).await, AuthError::Malformed, "{token:?}");
    }
    let long = hs256(&with("padding", json!("x".repeat(TOKEN_BYTES_MAX))));
    assert_eq!(refusal(&verifier, &long).await, AuthError::TooLong);

    let header = Header { crit: Some(vec!["b64".into()]), ..Header::default() };
    let critical = sign(&header, &claims(), &EncodingKey::from_secret(SECRET.as_bytes()));
    assert_eq!(refusal(&verifier, &critical).await, AuthError::UnknownExtension);
}

#[tokio::test]
async fn each_kind_of_public_key_verifies_its_own_tokens_only() {
    let kinds = [
        (Algorithm::RS256, EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap(), RSA_PUBLIC),
        (Algorithm::ES256, EncodingKey::from_ec_pem(EC.as_bytes()).unwrap(), EC_PUBLIC),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(ED.as_bytes()).unwrap(), ED_PUBLIC),
    ];
    for (algorithm, signing, _) in &kinds {
        let token = sign(&Header::new(*algorithm), &claims(), signing);
        for (own, _, pem) in &kinds {
            let verified = public(pem).verify(&token, NOW).await;
            if own == algorithm {
                assert_eq!(verified.unwrap().user.as_str(), "alice");
            } else {
                assert_eq!(verified, Err(AuthError::WrongAlgorithm));
            }
        }
    }
    let (_, rsa, _) = &kinds[0];
    let pss = sign(&Header::new(Algorithm::PS256), &claims(), rsa);
    assert_eq!(refusal(&public(RSA_PUBLIC), &pss).await, AuthError::WrongAlgorithm);
}

#[test]
fn keys_that_are_unfit_are_refused() {
    for (pem, reason) in [
        (RSA, KeyError::Private),
        (EC, KeyError::Private),
        (ED, KeyError::Private),
        ("", KeyError::Unreadable),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", KeyError::Certificate),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", KeyError::Unreadable),
        (include_str!("../test_keys/weak.pub"), KeyError::RsaSize),
        (include_str!("../test_keys/p384.pub"), KeyError::Unsupported),
    ] {
        assert_eq!(Key::from_pem(pem).unwrap_err(), reason);
    }
}

#[tokio::test]
async fn minted_tokens_are_taken() {
    let grant = mint::Grant {
        user: Some("alice".parse().unwrap()),
        topic: None,
        scope: "service".to_owned(),
        ttl: Duration::from_secs(60),
    };
    let elsewhere = Rules {
        user: "user.id".parse().unwrap(),
        scope: "realm_access.roles".parse().unwrap(),
        audience: Some("us".into()),
        issuer: Some("idp".into()),
        ..Rules::default()
    };
    for rules in [Rules::default(), elsewhere] {
        let token = mint::mint(&Secret::new(SECRET), &grant, &rules, NOW).unwrap();
        let verifier = with_rules(KeySource::Secret(Secret::new(SECRET)), rules);
        let identity = verifier.verify(&token, NOW).await.unwrap();
        assert_eq!((Some(&identity.user), identity.expires_at), (grant.user.as_ref(), NOW + 60_000));
        assert!(identity.scopes.is_service());
    }
}

/// Every reason for a refusal.
fn reasons() -> [AuthError; 22] {
    let Rules { user, scope, .. } = Rules::default();
    [
        AuthError::Missing,
        AuthError::TooLong,
        AuthError::Malformed,
        AuthError::UnknownExtension,
        AuthError::WrongAlgorithm,
        AuthError::BadSignature,
        AuthError::UnknownKey,
        AuthError::KeysUnavailable,
        AuthError::NoExpiry,
        AuthError::BadExpiry,
        AuthError::Expired,
        AuthError::BadNotBefore,
        AuthError::NotYetValid,
        AuthError::NoUser { claim: user.clone() },
        AuthError::BadUser { claim: user, rule: "without characters that change the direction of text" },
        AuthError::BadScope { claim: scope },
        AuthError::OfTopic,
        AuthError::NoTopic,
        AuthError::BadTopic,
        AuthError::WrongAudience,
        AuthError::UnexpectedAudience,
        AuthError::WrongIssuer,
    ]
}

#[test]
fn reasons_fit_a_close_frame_and_labels_differ() {
    let mut labels = std::collections::BTreeSet::new();
    for error in reasons() {
        assert!(error.to_string().len() <= REASON_BYTES_MAX, "{error}");
        assert!(labels.insert(error.label()), "{} is there twice", error.label());
        assert_eq!(error.is_retriable(), error.close().come_back());
    }
}
