//! Who may see the console, and how it looks.

use anyhow::Result;
use testkit::{Node, NodeOptions, RawRequest, RawSocket, token};

use super::page::Console;
use crate::layout::assert_is_shown_in_full;

async fn node(demo: bool) -> Result<Node> {
    let options = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire")).env("DEMO", &demo.to_string());
    Node::start(options).await
}

const SEES_NOTHING: &str =
    "return role('content').hidden && role('content').childElementCount === 0 && role('views').hidden";

#[tokio::test]
async fn without_the_scope_nothing_is_seen() -> Result<()> {
    let node = node(false).await?;
    let console = Console::open(&node.http_url("/admin#operations")).await?;
    console.waits_for("nothing without a token", SEES_NOTHING).await;
    assert_eq!(console.run("return role('local').hidden").await?, true);
    for (token, reason) in [
        (token::scoped("alice", "subscribe:* publish:* service"), "admin"),
        (token::expired("alice"), "token"),
        ("nonsense".to_owned(), "token"),
    ] {
        console.sign_in(&token).await?;
        let said = format!("return role('sign-in-reason').textContent.includes('{reason}')");
        console.waits_for("the reason", &said).await;
        console.waits_for("nothing with such a token", SEES_NOTHING).await;
        assert_eq!(console.run("return sessionStorage.length").await?, 0);
    }
    Ok(())
}

#[tokio::test]
async fn on_the_own_machine_a_click_signs_in_and_another_one_out() -> Result<()> {
    let node = node(true).await?;
    let console = Console::open(&node.http_url("/admin")).await?;
    console.waits_for("the offer", "return !role('local').hidden").await;
    console.browser.click("[data-role=sign-in-locally]").await?;
    console.waits_for("the verdict", "return role('verdict')?.dataset.state === 'good'").await;
    console.waits_for("the node's row", "return row('node')?.State === 'up'").await;
    console.browser.click("[data-role=sign-out]").await?;
    console.waits_for("nothing after signing out", SEES_NOTHING).await;
    console.assert_no_complaints().await
}

#[tokio::test]
async fn every_view_is_shown_in_full_at_every_width() -> Result<()> {
    let node = node(false).await?;
    let console = Console::signed_in(&node.http_url("/admin")).await?;
    let device = "d".repeat(40);
    let url = format!("{}?device={device}", node.ws_url());
    let request = RawRequest::new(url).token(&token::good(&"u".repeat(60)));
    let _socket = RawSocket::connect(&request).await.expect("it connects");
    for view in ["overview", "operations", "connections", "streams", "settings", "caches"] {
        console.goes_to(view).await?;
        if view == "streams" {
            console.browser.type_into("[name=stream]", &format!("topic:{}", "t".repeat(100))).await?;
            console.browser.click("[data-role=look]").await?;
            console.waits_for("the stream", "return role('stream').childElementCount === 4").await;
        } else {
            console.waits_for("its rows", "return document.querySelectorAll('tbody tr').length > 0").await;
        }
        assert_is_shown_in_full(&console.browser, view).await?;
        console.browser.resize(1400, 1400).await?;
    }
    console.assert_no_complaints().await
}
