//! What the page looks like from a small phone to a wide screen: nothing is cut, nothing lies on something else.

use anyhow::Result;
use serde_json::json;

use super::{
    device::DraftsPage,
    viewer::{MatchPage, VIEWERS},
};
use crate::layout::assert_is_shown_in_full;

/// The longest things that the page can say, which a test cannot bring about all at once.
const LONGEST_SCRIPT: &str = r#"
const longest = {
    state: "Reconnecting",
    node: "gateway-7f8b9c6d5-x2x4z.production.svc.cluster.local",
    seq: "123456789",
    replayed: "caught up: 12345 missed events",
    flood: "flood: 50 in 50 frames",
    flash: "Drop your caches: squads, odds",
    saved: "Your choice, please",
    version: "12345",
    "notice-text": "Stopped: the token does not allow to follow match:1. Switch offline and back to try again.",
    outcome: "The server cannot commit at the moment (503): the store does not answer. Sent again unchanged, nothing is done twice.",
};
for (const [role, text] of Object.entries(longest)) {
    for (const element of document.querySelectorAll(`[data-role="${role}"]`)) {
        element.textContent = text;
        element.hidden = false;
    }
}
const hidden = "[data-role='notice'], [data-role='deletion'], [data-role='token-panel'], [data-role='remove-device']";
for (const element of document.querySelectorAll(hidden)) element.hidden = false;
for (const log of document.querySelectorAll("details")) log.open = true;
"#;

/// Text that has nowhere to be broken.
const LONG_WORD: &str = "Donaudampfschifffahrtselektrizitaetenhauptbetriebswerkbauunterbeamtengesellschaft";

#[tokio::test]
async fn the_drafts_are_shown_in_full_at_every_width() -> Result<()> {
    let page = DraftsPage::open().await?;
    let (phone, laptop) = (page.device(0), page.device(1));
    phone.click("create").await?;
    phone.types("title", LONG_WORD).await?;
    phone.types("customer", LONG_WORD).await?;
    phone.types("quantity", "1234567").await?;
    laptop.shows_value("quantity", "1234567").await;
    laptop.click("offline").await?;
    laptop.shows_state("offline").await;
    for field in ["title", "customer", "note"] {
        laptop.types(field, " mine").await?;
        phone.types(field, " theirs").await?;
    }
    phone.shows_text("saved", "Saved").await;
    page.page().browser.click("[data-role=\"add-device\"]").await?;
    page.device(2).shows_state("live").await;
    assert_is_shown_in_full(&page.page().browser, "three devices, one of them offline").await?;
    laptop.click("offline").await?;
    laptop.shows_text("saved", "Your choice, please").await;
    page.page().browser.run(LONGEST_SCRIPT, json!([])).await?;
    assert_is_shown_in_full(&page.page().browser, "the longest texts, and conflicts").await
}

#[tokio::test]
async fn the_match_is_shown_in_full_at_every_width() -> Result<()> {
    let page = MatchPage::open().await?;
    page.posts("Substitution", LONG_WORD, 1).await?;
    page.posts("Comment", "Nothing much", 2).await?;
    page.click("flood").await?;
    page.shows_outcome("Committed as events 3 to 52, in 10 requests.").await;
    page.viewer(VIEWERS - 1).shows_text("seq", "52").await;
    assert_is_shown_in_full(&page.0.browser, "four viewers").await?;
    page.0.browser.run(LONGEST_SCRIPT, json!([])).await?;
    assert_is_shown_in_full(&page.0.browser, "the longest texts").await
}
