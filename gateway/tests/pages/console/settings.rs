//! Settings, changed from the page.

use anyhow::Result;
use serde_json::json;
use testkit::{Node, NodeOptions, http, token};

use super::page::Console;

const VALUE: &str = "[name=value]";

/// Opens the dialog of a setting, which then shows its value.
async fn opens(console: &Console, value: &str) -> Result<()> {
    console.browser.click("[data-setting=SLOW_OPERATION]").await?;
    console
        .waits_for("its value", &format!("return document.querySelector('{VALUE}').value === '{value}'"))
        .await;
    Ok(())
}

/// Writes another value over the one that is selected.
async fn changes_to(console: &Console, value: &str) -> Result<()> {
    console.browser.run("document.querySelector(arguments[0]).value = ''", json!([VALUE])).await?;
    console.browser.type_into(VALUE, value).await?;
    console.browser.click("[data-role=set]").await
}

#[tokio::test]
async fn a_change_is_made_told_of_and_taken_back() -> Result<()> {
    let node = Node::start(NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"))).await?;
    let console = Console::signed_in(&node.http_url("/admin")).await?;
    console.goes_to("settings").await?;
    console.waits_for("the setting", "return row('SLOW_OPERATION') !== null").await;
    opens(&console, "100ms").await?;
    changes_to(&console, "nonsense").await?;
    console
        .waits_for("the refusal", "return role('setting-error').textContent.includes('SLOW_OPERATION')")
        .await;
    changes_to(&console, "250ms").await?;
    console.waits_for("the new value", "return row('SLOW_OPERATION').Value === '250ms'").await;
    console
        .waits_for("who changed it", "return row('SLOW_OPERATION')['Last change'].startsWith('operator')")
        .await;

    // Another operator is quicker.
    opens(&console, "250ms").await?;
    let bearer = format!("Bearer {}", token::scoped("other", "admin"));
    let url = node.http_url("/v1/admin/settings/SLOW_OPERATION");
    let headers = [("authorization", bearer.as_str())];
    let answer = http::request("PUT", &url, &headers, Some(&json!({ "value": "300ms" }))).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    changes_to(&console, "400ms").await?;
    console.waits_for("the refusal", "return role('setting-error').textContent !== ''").await;
    console.browser.run("document.querySelector('dialog').close()", json!([])).await?;
    console.waits_for("the other's value", "return row('SLOW_OPERATION').Value === '300ms'").await;

    opens(&console, "300ms").await?;
    console.browser.click("[data-role=unset]").await?;
    console.waits_for("the value of the start", "return row('SLOW_OPERATION').Value === '100ms'").await;
    console
        .waits_for("three changes", "return document.querySelectorAll('tr[data-key^=change-]').length === 3")
        .await;
    console.assert_no_complaints().await
}
