//! The console of a cluster of three nodes.

use anyhow::{Result, ensure};
use serde_json::json;
use testkit::{Cluster, RawRequest, RawSocket, Service as _, token, wait};

use super::page::Console;
use crate::SHOWN_WAIT;

async fn cluster() -> Result<Cluster> {
    Cluster::start(env!("CARGO_BIN_EXE_draftwire"), 3).await
}

async fn console(cluster: &Cluster) -> Result<Console> {
    Console::signed_in(&cluster.nodes[0].http_url("/admin")).await
}

/// Changes that take so long in the database.
async fn slow_down(cluster: &Cluster, seconds: f64) -> Result<()> {
    let sql = format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON draftwire.events FOR EACH ROW EXECUTE FUNCTION slow()"
    );
    cluster.postgres.query("db0", &sql).await?;
    Ok(())
}

#[tokio::test]
async fn a_node_that_is_killed_is_told_by_its_row_and_comes_back() -> Result<()> {
    let mut cluster = cluster().await?;
    let console = console(&cluster).await?;
    for name in ["node1", "node2", "node3"] {
        console.waits_for(name, &format!("return row('{name}')?.State === 'up'")).await;
    }
    console.waits_for("a good verdict", "return role('verdict').dataset.state === 'good'").await;
    cluster.nodes[2].kill9();
    console.waits_for("its row", "return row('node3').State === 'silent'").await;
    console.waits_for("the verdict", "return role('verdict').dataset.state === 'unsure'").await;
    console.waits_for("the reason", "return role('wrong').textContent.includes('node3 is silent')").await;
    cluster.nodes[2].start_again().await?;
    console.waits_for("its row", "return row('node3').State === 'up'").await;
    console.waits_for("the verdict", "return role('verdict').dataset.state === 'good'").await;
    console.assert_no_complaints().await
}

#[tokio::test]
async fn a_slow_database_turns_the_badge_orange_and_is_named() -> Result<()> {
    let cluster = cluster().await?;
    let console = console(&cluster).await?;
    let (phone, laptop) =
        (cluster.device("alice", "phone", 0).await, cluster.device("alice", "laptop", 1).await);
    slow_down(&cluster, 0.15).await?;
    phone.create("order", json!({ "n": 0 })).await.expect("it is created");
    for n in 1..=12 {
        phone.edit("order", json!({ "n": n })).await.expect("it is changed");
    }
    wait::until("all changes on the laptop", SHOWN_WAIT, || async {
        ensure!(laptop.seq() >= 13, "it is at {}", laptop.seq());
        Ok(())
    })
    .await;
    console.waits_for("the badge", "return role('badge').dataset.state === 'orange'").await;
    console
        .waits_for(
            "the bottleneck",
            "return role('wrong').querySelector('[data-code=\"bottleneck commit\"]') !== null",
        )
        .await;
    console.goes_to("operations").await?;
    console.waits_for("its row", "return row('commit')?.Why === 'slow'").await;
    let most = "const parts = [...role('path').children].map((part) => part.textContent); \
                return parts.length === 6 && role('path-sentence').textContent.includes('changes')";
    console.waits_for("the path", most).await;
    console.assert_no_complaints().await
}

#[tokio::test]
async fn a_user_is_disconnected_from_the_page_on_every_node() -> Result<()> {
    let cluster = cluster().await?;
    let console = console(&cluster).await?;
    let mut sockets = Vec::new();
    for (node, device) in cluster.nodes.iter().zip(["phone", "laptop", "tv"]) {
        let request =
            RawRequest::new(format!("{}?device={device}", node.ws_url())).token(&token::good("alice"));
        sockets.push(RawSocket::connect(&request).await.expect("it connects"));
    }
    let bob = cluster.device("bob", "phone", 1).await;
    console
        .waits_for("all nodes", "return document.querySelectorAll('tr[data-state=good]').length === 3")
        .await;
    console.goes_to("connections").await?;
    console.browser.type_into("[name=user]", "alice").await?;
    let rows = "return [...document.querySelectorAll('tbody tr')].map((tr) => tr.children[2].textContent).sort().join()";
    wait::until("alice's connections of all nodes", SHOWN_WAIT, || async {
        console.browser.click("[data-role=search]").await?;
        let shown = console.run(rows).await?;
        ensure!(shown == "laptop,phone,tv", "{shown}");
        Ok(())
    })
    .await;
    console.browser.click("[data-user=alice]").await?;
    console.browser.type_into("[name=reason]", "moved").await?;
    console.browser.click("[data-role=disconnect]").await?;
    for socket in &mut sockets {
        assert_eq!(socket.close_code(SHOWN_WAIT).await?, Some(4410));
    }
    let gone = "return role('connections-note').textContent.startsWith('0 shown')";
    wait::until("nothing of alice's", SHOWN_WAIT, || async {
        console.browser.click("[data-role=search]").await?;
        let note = console.run(gone).await?;
        ensure!(note == true, "{note}");
        Ok(())
    })
    .await;
    assert_eq!(bob.closed(), None);

    bob.create("order", json!({ "n": 1 })).await.expect("it is created");
    console.goes_to("streams").await?;
    console.browser.type_into("[name=stream]", "user:bob").await?;
    console.browser.click("[data-role=look]").await?;
    console
        .waits_for(
            "its event",
            "return row('event-1')?.Type === 'DRAFT_CREATED' && row('event-1').Payload === ''",
        )
        .await;
    console.assert_no_complaints().await
}
