//! Tokens as long as they may be, in every place where a client may put one, with and without Nginx.

use common::time::unix_ms;
use gateway::auth::TOKEN_BYTES_MAX;
use serde_json::json;
use testkit::{Nginx, RawRequest, RawSocket, token};

use crate::{
    DEADLINE,
    harness::{Server, ask},
};

/// A token of `alice`, as long as it may be: base64 leaves up to three bytes of room.
fn longest() -> String {
    let of = |padding: usize| {
        let claims = json!({ "sub": "alice", "exp": unix_ms() / 1000 + 3600, "groups": "x".repeat(padding) });
        token::sign(&claims, token::SECRET)
    };
    let padding = (TOKEN_BYTES_MAX - of(0).len()) / 4 * 3 - 3;
    let longest = (padding..padding + 8).map(of).rfind(|token| token.len() <= TOKEN_BYTES_MAX).unwrap();
    assert!(longest.len() > TOKEN_BYTES_MAX - 4, "{}", longest.len());
    longest
}

#[tokio::test]
async fn the_longest_token_is_taken_wherever_it_is() {
    let server = Server::start().await;
    let nginx = Nginx::start(&[server.addr.port()]).await.unwrap();
    let token = longest();
    for address in [server.addr.to_string(), format!("127.0.0.1:{}", nginx.port())] {
        let drafts = format!("http://{address}/v1/drafts");
        let answer = testkit::http::get_as(&token, &drafts).await.unwrap();
        assert_eq!(answer.status, 200, "{address}, in the header: {}", answer.text);
        let answer = testkit::http::get(&format!("{drafts}?token={token}")).await.unwrap();
        assert_eq!(answer.status, 200, "{address}, in the query: {}", answer.text);

        let url = format!("ws://{address}/ws/realtime");
        let authorization = format!("Bearer {token}");
        for request in [
            RawRequest::new(&url).token(&token),
            RawRequest::new(&url).header("authorization", &authorization),
            RawRequest::new(format!("{url}?token={token}")),
        ] {
            let mut socket = RawSocket::connect(&request).await.unwrap();
            assert_eq!(socket.next(DEADLINE).await.unwrap()["type"], "WELCOME", "{address}");
            let answer = ask(&mut socket, "AUTH", "a", json!({ "token": token })).await;
            assert_eq!(answer["type"], "ACK", "{answer}");
        }
    }
}
