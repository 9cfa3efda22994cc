//! A browser's own `EventSource`, which a status that it does not expect ends for good.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testkit::{Node, NodeOptions, RawRequest, RawSocket, Service, http, token, wait};

use crate::browser::Browser;

/// Far more than anything here takes; it only bounds a failing test.
const WAIT: Duration = Duration::from_secs(30);

const OPEN_SCRIPT: &str = r#"
const source = new EventSource(arguments[0]);
window.seen = { source, opened: 0, welcomes: 0 };
source.addEventListener("open", () => { window.seen.opened += 1; });
source.addEventListener("WELCOME", () => { window.seen.welcomes += 1; });
"#;

const LOOK_SCRIPT: &str = r#"
const { source, opened, welcomes } = window.seen;
return { closed: source.readyState === EventSource.CLOSED, opened, welcomes };
"#;

async fn look(browser: &Browser, what: &str, is: impl Fn(&Value) -> bool) {
    wait::until(what, WAIT, || async {
        let seen = browser.run(LOOK_SCRIPT, json!([])).await?;
        ensure!(is(&seen), "it is {seen}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_event_source_outlives_a_restart_of_its_node() -> Result<()> {
    let binary = env!("CARGO_BIN_EXE_draftwire");
    let pages = Node::start(NodeOptions::embedded(binary)).await?;
    let options =
        NodeOptions::embedded(binary).env("ALLOWED_ORIGINS", &pages.http_url("")).env("DRAIN_WINDOW", "30s");
    let mut server = Node::start(options).await?;
    let browser = Browser::start().await?;
    browser.open(&pages.http_url("/livez")).await?;
    // Whoever stays keeps the node stopping.
    let stays = RawRequest::new(server.ws_url()).token(&token::good("alice"));
    let Ok(stays) = RawSocket::connect(&stays).await else { anyhow::bail!("no socket") };
    server.terminate();
    let ready = server.http_url("/readyz");
    wait::until("the node to stop", WAIT, || async {
        ensure!(http::get(&ready).await?.status == 503, "it is ready");
        Ok(())
    })
    .await;
    let url = server.http_url(&format!("/v1/stream?token={}", token::good("alice")));
    browser.run(OPEN_SCRIPT, json!([url])).await?;
    look(&browser, "the stopping node to answer", |seen| seen["opened"] != 0).await;
    stays.drop_connection();
    server.wait_exit(WAIT).await?;
    server.start_again().await?;
    look(&browser, "the stream to be back", |seen| seen["welcomes"] != 0 && seen["closed"] == false).await;
    Ok(())
}
