//! The match view: a commentator who posts over HTTP, viewers with connections of their own.

use anyhow::Result;
use serde_json::json;
use testkit::{Node, Service, http, token};

use super::{
    page::{Page, Server},
    viewer::{MatchPage, VIEWERS},
};

#[tokio::test]
async fn what_is_posted_appears_with_every_viewer_once_and_in_order() -> Result<()> {
    let page = MatchPage::open().await?;
    page.posts("Comment", "Kick-off", 1).await?;
    page.posts("Goal", "1:0", 2).await?;
    page.posts("Card", "Yellow for number 4", 3).await?;
    page.posts("Substitution", "9 for 11", 4).await?;
    for viewer in page.viewers() {
        let lines =
            ["1 Comment Kick-off", "2 Goal 1:0", "3 Card Yellow for number 4", "4 Substitution 9 for 11"];
        viewer.shows_commentary(&lines).await;
        viewer.shows_text("seq", "4").await;
        assert_eq!(viewer.node().await?, "node");
        viewer.shows_no_notice().await?;
    }
    assert_eq!(page.0.complaints().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn viewers_that_were_offline_catch_up() -> Result<()> {
    let page = MatchPage::open().await?;
    // One over a WebSocket, and the one with server-sent events.
    let away = [page.viewer(1), page.viewer(VIEWERS - 1)];
    page.posts("Comment", "Kick-off", 1).await?;
    for viewer in away {
        viewer.shows_commentary(&["1 Comment Kick-off"]).await;
        viewer.click("offline").await?;
        viewer.shows_state("offline").await;
    }
    page.posts("Goal", "1:0", 2).await?;
    page.posts("Goal", "1:1", 3).await?;
    let lines = ["1 Comment Kick-off", "2 Goal 1:0", "3 Goal 1:1"];
    page.viewer(0).shows_commentary(&lines).await;
    for viewer in away {
        viewer.shows_commentary(&lines[..1]).await;
        viewer.click("offline").await?;
        viewer.shows_state("live").await;
        viewer.shows_text("replayed", "caught up: 2 missed events").await;
        viewer.shows_commentary(&lines).await;
        viewer.shows_no_notice().await?;
    }
    Ok(())
}

#[tokio::test]
async fn those_who_are_present_are_counted() -> Result<()> {
    let page = MatchPage::open().await?;
    page.shows_present(3, 3).await;
    page.viewer(0).click("offline").await?;
    page.shows_present(2, 2).await;
    page.viewer(2).click("offline").await?;
    page.shows_present(1, 1).await;
    page.viewer(0).click("offline").await?;
    page.viewer(2).click("offline").await?;
    page.shows_present(3, 3).await;
    Ok(())
}

#[tokio::test]
async fn a_broadcast_reaches_every_viewer_also_one_that_was_offline() -> Result<()> {
    let page = MatchPage::open().await?;
    page.viewer(1).click("offline").await?;
    page.viewer(1).shows_state("offline").await;
    page.click("broadcast").await?;
    page.shows_outcome("Broadcast as event 1 of the stream all").await;
    page.viewer(1).click("offline").await?;
    for viewer in page.viewers() {
        viewer.shows_text("flash", "Drop your caches: squads, odds").await;
    }
    Ok(())
}

#[tokio::test]
async fn a_flood_reaches_every_viewer_in_order_however_it_is_batched() -> Result<()> {
    let page = MatchPage::open().await?;
    page.click("flood").await?;
    page.shows_outcome("Committed as events 1 to 50, in 10 requests.").await;
    let lines: Vec<_> = (1..=50).map(|number| format!("{number} Comment Comment {number} of 50")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    for viewer in page.viewers() {
        viewer.shows_commentary(&lines).await;
        viewer.shows_no_notice().await?;
    }
    // How many they are depends on the machine, but every frame holds at least an event.
    for viewer in [page.viewer(0), page.viewer(2)] {
        assert!((1..=50).contains(&viewer.flood_frames(50).await?));
    }
    Ok(())
}

#[tokio::test]
async fn what_is_missed_between_two_views_is_there_afterwards() -> Result<()> {
    let page = MatchPage::open().await?;
    page.posts("Comment", "Kick-off", 1).await?;
    page.0.browser.click(".views a[href='#drafts']").await?;
    page.viewer(0).shows_state("offline").await;
    let bearer = format!("Bearer {}", token::scoped("desk", "publish:match:1"));
    let url = page.0.url("/v1/topics/match:1/events");
    let goal = json!({ "event": "GOAL", "data": { "minute": 61, "text": "1:0" } });
    let posted = http::request("POST", &url, &[("authorization", &bearer)], Some(&goal)).await?;
    assert_eq!(posted.status, 201, "{}", posted.text);
    page.0.browser.click(".views a[href='#match']").await?;
    for viewer in page.viewers() {
        viewer.shows_commentary(&["1 Comment Kick-off", "2 Goal 1:0"]).await;
    }
    Ok(())
}

#[tokio::test]
async fn when_a_node_dies_its_viewers_go_on_elsewhere_and_miss_nothing() -> Result<()> {
    let mut page = MatchPage::open_on_cluster().await?;
    page.shows_present(3, 3).await;
    page.posts("Comment", "Kick-off", 1).await?;
    for viewer in page.viewers() {
        viewer.shows_commentary(&["1 Comment Kick-off"]).await;
    }

    let node = page.viewer(0).node().await?;
    if let Server::Cluster(cluster) = &mut page.0.server {
        cluster.nodes.iter_mut().filter(|other| other.name() == node).for_each(Node::kill9);
    }
    page.posts("Goal", "1:0", 2).await?;
    for viewer in page.viewers() {
        viewer.shows_commentary(&["1 Comment Kick-off", "2 Goal 1:0"]).await;
        viewer.shows_state("live").await;
        assert_ne!(viewer.node().await?, node);
        viewer.shows_no_notice().await?;
    }
    page.shows_present(3, 3).await;
    Ok(())
}

#[tokio::test]
async fn a_missing_right_is_told_in_words() -> Result<()> {
    let page = MatchPage(Page::open("match", false).await?);
    page.0.browser.type_into("#token", &token::scoped("alice", "subscribe:match:1")).await?;
    page.0.browser.click("[data-role='token-form'] button").await?;
    for viewer in page.viewers() {
        viewer.shows_state("live").await;
    }
    // One user now, on a device for each viewer.
    page.shows_present(1, 3).await;
    page.0.browser.type_into("#text", "1:0").await?;
    page.click("post").await?;
    page.shows_outcome(
        "The token does not allow that (403): the token does not allow to publish to match:1.",
    )
    .await;
    Ok(())
}

#[tokio::test]
async fn a_token_that_is_refused_is_asked_for_again() -> Result<()> {
    let page = MatchPage(Page::open("match", false).await?);
    let refused = token::scoped("alice", "subscribe:match:1").replace('.', ".x");
    let reasons = [
        (refused, "This server does not hand out demo tokens."),
        (
            token::scoped("alice", "subscribe:match:1 publish:match:1"),
            "The last token was not accepted, or ends soon.",
        ),
    ];
    for (token, reason) in reasons {
        let shown = "return arguments[0].offsetHeight > 0 ? arguments[0].textContent : ''";
        page.0.shows("[data-role='token-reason']", shown, reason).await;
        page.0.browser.type_into("#token", &token).await?;
        page.0.browser.click("[data-role='token-form'] button").await?;
    }
    for viewer in page.viewers() {
        viewer.shows_state("live").await;
        viewer.shows_no_notice().await?;
    }
    page.posts("Comment", "Kick-off", 1).await
}
