//! Published keys, from a server on this machine.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, routing::get};
use jsonwebtoken::jwk::Jwk;

use super::*;
use crate::auth::jwks::{Jwks, Pace};

/// An issuer that answers what it is told to, and counts.
struct Issuer {
    url: reqwest::Url,
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Issuer {
    async fn start() -> Self {
        install_crypto();
        let answer = Arc::new(Mutex::new((StatusCode::OK, String::new())));
        let asked = Arc::new(AtomicUsize::new(0));
        let (told, count) = (answer.clone(), asked.clone());
        let router = Router::new().route(
            "/jwks",
            get(async move || {
                count.fetch_add(1, Ordering::Relaxed);
                told.lock().unwrap().clone()
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap()).parse().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, answer, asked, server }
    }

    fn publishes(&self, keys: &[Value]) {
        *self.answer.lock().unwrap() = (StatusCode::OK, json!({"keys": keys}).to_string());
    }

    fn answers(&self, status: StatusCode, body: &str) {
        *self.answer.lock().unwrap() = (status, body.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn verifier(&self, after_success: Duration, after_failure: Duration) -> Verifier {
        let pace = Pace { after_success, after_failure };
        Verifier::of_jwks(Jwks::with_pace(self.url.clone(), pace).unwrap(), Rules::default())
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A wait that no test outlasts, and none at all.
const LONG: Duration = Duration::from_secs(3600);
const NONE: Duration = Duration::ZERO;

fn signing(algorithm: Algorithm) -> EncodingKey {
    match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(RSA.as_bytes()),
        Algorithm::ES256 => EncodingKey::from_ec_pem(EC.as_bytes()),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(ED.as_bytes()),
        other => panic!("no test key for {other:?}"),
    }
    .unwrap()
}

fn published(algorithm: Algorithm, kid: Option<&str>) -> Value {
    jwk(&signing(algorithm), algorithm, kid)
}

fn jwk(key: &EncodingKey, algorithm: Algorithm, kid: Option<&str>) -> Value {
    let mut jwk = Jwk::from_encoding_key(key, algorithm).unwrap();
    jwk.common.key_id = kid.map(str::to_owned);
    serde_json::to_value(jwk).unwrap()
}

fn signed(algorithm: Algorithm, kid: Option<&str>) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    sign(&header, &claims(), &signing(algorithm))
}

#[tokio::test]
async fn published_keys_of_each_kind_are_used() {
    let issuer = Issuer::start().await;
    issuer.publishes(&[
        json!({"kty": "EC", "crv": "secp256k1", "kid": "odd", "x": "AA", "y": "AA"}),
        json!({"kty": "oct", "kid": "shared", "k": URL_SAFE_NO_PAD.encode(SECRET)}),
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "short", "x": "AAAA"}),
        json!("not a key"),
        published(Algorithm::RS256, Some("r")),
        published(Algorithm::ES256, Some("e")),
        published(Algorithm::EdDSA, Some("d")),
    ]);
    let verifier = issuer.verifier(LONG, LONG);
    for (algorithm, kid) in [(Algorithm::RS256, "r"), (Algorithm::ES256, "e"), (Algorithm::EdDSA, "d")] {
        assert!(verifier.verify(&signed(algorithm, Some(kid)), NOW).await.is_ok(), "{algorithm:?}");
    }
    assert_eq!(issuer.asked(), 1);

    // A symmetric key that somebody published is no secret.
    let header = Header { kid: Some("shared".into()), ..Header::default() };
    let shared = sign(&header, &claims(), &EncodingKey::from_secret(SECRET.as_bytes()));
    assert_eq!(refusal(&verifier, &shared).await, AuthError::UnknownKey);
    // A key verifies its own algorithm only, and its own signatures.
    assert_eq!(refusal(&verifier, &signed(Algorithm::EdDSA, Some("r"))).await, AuthError::WrongAlgorithm);
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn a_token_that_names_no_key_is_tried_with_all_that_fit() {
    let issuer = Issuer::start().await;
    let next = |kid| jwk(&EncodingKey::from_ec_pem(EC_NEXT.as_bytes()).unwrap(), Algorithm::ES256, kid);
    let of_next = |kid: Option<&str>| {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
        sign(&header, &claims(), &EncodingKey::from_ec_pem(EC_NEXT.as_bytes()).unwrap())
    };
    // RSA beside EC, and two of EC while they are rotated, with and without names.
    for (first, second, other) in [(None, None, None), (Some("a"), Some("b"), Some("c"))] {
        issuer.publishes(&[
            published(Algorithm::RS256, other),
            published(Algorithm::ES256, first),
            next(second),
        ]);
        let verifier = issuer.verifier(LONG, LONG);
        for token in [signed(Algorithm::RS256, None), signed(Algorithm::ES256, None), of_next(None)] {
            assert!(verifier.verify(&token, NOW).await.is_ok());
        }
        assert_eq!(refusal(&verifier, &signed(Algorithm::EdDSA, None)).await, AuthError::WrongAlgorithm);
        let forged = with_forged_payload(&of_next(None));
        assert_eq!(refusal(&verifier, &forged).await, AuthError::BadSignature);
    }

    // A token that names its key, where keys have no names; one of two with the same name.
    issuer.publishes(&[published(Algorithm::ES256, None), next(None)]);
    let verifier = issuer.verifier(LONG, LONG);
    assert!(verifier.verify(&of_next(Some("b")), NOW).await.is_ok());
    issuer.publishes(&[
        published(Algorithm::RS256, Some("a")),
        published(Algorithm::ES256, Some("a")),
        next(Some("a")),
    ]);
    let verifier = issuer.verifier(LONG, LONG);
    assert!(verifier.verify(&of_next(Some("a")), NOW).await.is_ok());
    assert_eq!(refusal(&verifier, &with_forged_payload(&of_next(Some("a")))).await, AuthError::BadSignature);
    assert_eq!(refusal(&verifier, &of_next(Some("b"))).await, AuthError::UnknownKey);
}

#[tokio::test]
async fn a_token_that_names_no_key_finds_one_that_was_published_since() {
    let issuer = Issuer::start().await;
    let next = EncodingKey::from_ec_pem(EC_NEXT.as_bytes()).unwrap();
    issuer.publishes(&[published(Algorithm::ES256, None)]);
    let verifier = issuer.verifier(NONE, NONE);
    assert!(verifier.verify(&signed(Algorithm::ES256, None), NOW).await.is_ok());
    issuer.publishes(&[published(Algorithm::ES256, None), jwk(&next, Algorithm::ES256, None)]);
    let token = sign(&Header::new(Algorithm::ES256), &claims(), &next);
    assert!(verifier.verify(&token, NOW).await.is_ok());
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn keys_are_tried_up_to_a_bound() {
    let issuer = Issuer::start().await;
    let next = EncodingKey::from_ec_pem(EC_NEXT.as_bytes()).unwrap();
    for (others, taken) in [(7, true), (8, false)] {
        let mut keys = vec![published(Algorithm::ES256, None); others];
        // Those of another algorithm cost nothing.
        keys.extend(vec![published(Algorithm::RS256, None); 20]);
        keys.push(jwk(&next, Algorithm::ES256, None));
        issuer.publishes(&keys);
        let verifier = issuer.verifier(LONG, LONG);
        let token = sign(&Header::new(Algorithm::ES256), &claims(), &next);
        assert_eq!(verifier.verify(&token, NOW).await.is_ok(), taken, "behind {others}");
    }
}

/// The same token with other claims.
fn with_forged_payload(token: &str) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let payload = URL_SAFE_NO_PAD.encode(with("sub", json!("mallory")).to_string());
    format!("{}.{payload}.{}", parts[0], parts[2])
}

#[tokio::test]
async fn a_single_published_key_needs_no_name() {
    let issuer = Issuer::start().await;
    issuer.publishes(&[published(Algorithm::ES256, None)]);
    let verifier = issuer.verifier(LONG, LONG);
    assert!(verifier.verify(&signed(Algorithm::ES256, None), NOW).await.is_ok());
}

#[tokio::test]
async fn a_rotated_key_is_found_and_unknown_ones_do_not_flood_the_issuer() {
    let issuer = Issuer::start().await;
    issuer.publishes(&[published(Algorithm::RS256, Some("old"))]);
    let verifier = issuer.verifier(NONE, NONE);
    assert!(verifier.verify(&signed(Algorithm::RS256, Some("old")), NOW).await.is_ok());

    issuer.publishes(&[published(Algorithm::EdDSA, Some("new"))]);
    assert!(verifier.verify(&signed(Algorithm::EdDSA, Some("new")), NOW).await.is_ok());
    assert_eq!(refusal(&verifier, &signed(Algorithm::RS256, Some("old"))).await, AuthError::UnknownKey);

    let before = issuer.asked();
    let verifier = issuer.verifier(LONG, LONG);
    for i in 0..20 {
        let token = signed(Algorithm::EdDSA, Some(&format!("made-up-{i}")));
        assert_eq!(refusal(&verifier, &token).await, AuthError::UnknownKey);
    }
    assert_eq!(issuer.asked(), before + 1);
}

#[tokio::test]
async fn tokens_that_arrive_together_cause_one_fetch() {
    let issuer = Issuer::start().await;
    issuer.publishes(&[published(Algorithm::EdDSA, Some("d"))]);
    let verifier = Arc::new(issuer.verifier(NONE, NONE));
    let token = signed(Algorithm::EdDSA, Some("d"));
    let all: Vec<_> = (0..50)
        .map(|_| {
            let (verifier, token) = (verifier.clone(), token.clone());
            tokio::spawn(async move { verifier.verify(&token, NOW).await })
        })
        .collect();
    for one in all {
        assert!(one.await.unwrap().is_ok());
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn an_issuer_that_is_down_is_no_verdict_on_tokens() {
    let issuer = Issuer::start().await;
    let verifier = issuer.verifier(NONE, NONE);
    let token = signed(Algorithm::EdDSA, Some("d"));
    let redirect_like = [
        (StatusCode::SERVICE_UNAVAILABLE, String::new()),
        (StatusCode::FOUND, String::new()),
        (StatusCode::OK, "not json".to_owned()),
        (StatusCode::OK, json!({"keys": []}).to_string()),
        (StatusCode::OK, json!({"keys": [], "padding": "x".repeat(2 << 20)}).to_string()),
    ];
    for (status, body) in redirect_like {
        issuer.answers(status, &body);
        assert_eq!(refusal(&verifier, &token).await, AuthError::KeysUnavailable);
    }

    issuer.publishes(&[published(Algorithm::EdDSA, Some("d"))]);
    assert!(verifier.verify(&token, NOW).await.is_ok(), "it does not recover");

    // Known keys outlive the issuer; of others nothing can be said.
    issuer.server.abort();
    assert!(verifier.verify(&token, NOW).await.is_ok());
    issuer.answers(StatusCode::SERVICE_UNAVAILABLE, "");
    assert_eq!(refusal(&verifier, &signed(Algorithm::EdDSA, Some("x"))).await, AuthError::KeysUnavailable);
}

#[tokio::test]
async fn while_the_issuer_is_down_it_is_asked_at_a_bounded_rate() {
    let issuer = Issuer::start().await;
    issuer.answers(StatusCode::SERVICE_UNAVAILABLE, "");
    let verifier = issuer.verifier(LONG, LONG);
    for _ in 0..20 {
        let token = signed(Algorithm::EdDSA, Some("d"));
        assert_eq!(refusal(&verifier, &token).await, AuthError::KeysUnavailable);
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn keys_are_fetched_before_the_first_token() {
    let issuer = Issuer::start().await;
    issuer.publishes(&[published(Algorithm::EdDSA, Some("d"))]);
    let verifier = issuer.verifier(LONG, LONG);
    tokio::select! {
        () = verifier.keep_keys_fresh() => panic!("it ended"),
        () = async {
            while issuer.asked() == 0 {
                tokio::task::yield_now().await;
            }
        } => {}
    }
}
