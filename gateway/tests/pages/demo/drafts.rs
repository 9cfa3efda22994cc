//! The drafts view: devices of one user.

use anyhow::Result;
use serde_json::json;

use super::device::DraftsPage;

#[tokio::test]
async fn an_edit_on_one_device_appears_on_the_other() -> Result<()> {
    let page = DraftsPage::open().await?;
    let (phone, laptop) = (page.device(0), page.device(1));

    phone.click("create").await?;
    phone.types("title", "Desk lamps").await?;
    phone.types("quantity", "24").await?;
    laptop.shows_value("title", "Desk lamps").await;
    laptop.shows_value("quantity", "24").await;

    laptop.types("note", "Ring twice").await?;
    phone.shows_value("note", "Ring twice").await;

    phone.shows_text("saved", "Saved").await;
    laptop.shows_text("saved", "Saved").await;
    laptop.shows_seq(phone.seq().await?).await;

    laptop.click("delete").await?;
    phone.shows_drafts(0).await;
    laptop.shows_drafts(0).await;
    assert_eq!(page.complaints().await?, Vec::<String>::new());
    Ok(())
}

/// Cut in the middle of an emoji, as JavaScript cuts texts.
#[tokio::test]
async fn half_of_an_emoji_is_mended_before_it_is_sent() -> Result<()> {
    let page = DraftsPage::open().await?;
    let (phone, laptop) = (page.device(0), page.device(1));
    phone.click("create").await?;
    phone.is_given("title", r"'Lamps \u{1f600}'.slice(0, -1)").await?;
    laptop.shows_value("title", "Lamps \u{fffd}").await;
    phone.shows_text("saved", "Saved").await;
    phone.types("note", "Ring twice").await?;
    laptop.shows_value("note", "Ring twice").await;
    assert_eq!(page.complaints().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_device_that_was_offline_catches_up_and_its_edits_survive() -> Result<()> {
    let page = DraftsPage::open().await?;
    let (phone, laptop) = (page.device(0), page.device(1));
    phone.click("create").await?;
    phone.types("title", "Desk lamps").await?;
    phone.shows_text("saved", "Saved").await;
    laptop.shows_value("title", "Desk lamps").await;
    let left_at = phone.seq().await?;
    laptop.shows_seq(left_at).await;

    laptop.click("offline").await?;
    laptop.shows_state("offline").await;
    laptop.types("customer", "Lindgren").await?;
    laptop.shows_text("saved", "1 kept until online").await;
    phone.types("title", " in oak").await?;
    phone.shows_text("saved", "Saved").await;
    phone.types("note", "Ring twice").await?;
    phone.shows_text("saved", "Saved").await;
    laptop.shows_value("title", "Desk lamps").await;
    let missed = phone.seq().await? - left_at;
    assert!(missed >= 2, "two edits are at least two events");

    laptop.click("offline").await?;
    laptop.shows_text("replayed", &format!("caught up: {missed} missed events")).await;
    for device in [phone, laptop] {
        device.shows_value("title", "Desk lamps in oak").await;
        device.shows_value("note", "Ring twice").await;
        device.shows_value("customer", "Lindgren").await;
        device.shows_text("saved", "Saved").await;
        device.shows_seq(left_at + missed + 1).await;
        assert!(!device.has_conflict().await?, "different fields do not meet");
    }
    Ok(())
}

#[tokio::test]
async fn the_same_field_edited_on_both_is_a_conflict_that_the_person_ends() -> Result<()> {
    let page = DraftsPage::open().await?;
    let (phone, laptop) = (page.device(0), page.device(1));
    phone.click("create").await?;
    phone.types("title", "Lamps").await?;
    phone.types("note", "Hall").await?;
    phone.shows_text("saved", "Saved").await;
    laptop.shows_value("title", "Lamps").await;
    laptop.shows_value("note", "Hall").await;

    laptop.click("offline").await?;
    laptop.shows_state("offline").await;
    laptop.types("title", " in oak").await?;
    phone.types("title", " in walnut").await?;
    phone.shows_text("saved", "Saved").await;

    laptop.click("offline").await?;
    laptop.shows_text("theirs", "Lamps in walnut").await;
    laptop.shows_value("title", "Lamps in oak").await;
    phone.shows_value("title", "Lamps in walnut").await;

    laptop.click("keep-mine").await?;
    phone.shows_value("title", "Lamps in oak").await;
    laptop.shows_text("saved", "Saved").await;
    assert!(!laptop.has_conflict().await?);

    laptop.click("offline").await?;
    laptop.shows_state("offline").await;
    laptop.types("note", " and kitchen").await?;
    phone.types("note", " only").await?;
    phone.shows_text("saved", "Saved").await;
    laptop.click("offline").await?;
    laptop.shows_text("theirs", "Hall only").await;
    laptop.click("take-theirs").await?;
    laptop.shows_value("note", "Hall only").await;
    laptop.shows_text("saved", "Saved").await;
    assert!(!laptop.has_conflict().await?);
    Ok(())
}

#[tokio::test]
async fn each_field_of_a_conflict_is_decided_for_itself() -> Result<()> {
    let page = DraftsPage::open().await?;
    let (phone, laptop) = (page.device(0), page.device(1));
    phone.click("create").await?;
    phone.types("title", "Lamps").await?;
    phone.types("note", "Hall").await?;
    laptop.shows_value("title", "Lamps").await;
    laptop.shows_value("note", "Hall").await;
    laptop.click("offline").await?;
    laptop.shows_state("offline").await;
    for (field, theirs, mine) in [("title", " in walnut", " in oak"), ("note", " only", " and kitchen")] {
        phone.types(field, theirs).await?;
        laptop.types(field, mine).await?;
    }
    phone.shows_text("saved", "Saved").await;
    laptop.click("offline").await?;
    laptop.shows_conflict("title", "Lamps in walnut").await;
    laptop.shows_conflict("note", "Hall only").await;

    laptop.decides("title", "keep-mine").await?;
    laptop.shows_conflict("note", "Hall only").await;
    phone.shows_value("title", "Lamps in walnut").await;
    laptop.decides("note", "take-theirs").await?;
    for device in [phone, laptop] {
        device.shows_value("title", "Lamps in oak").await;
        device.shows_value("note", "Hall only").await;
        device.shows_text("saved", "Saved").await;
        assert!(!device.has_conflict().await?);
    }
    Ok(())
}

#[tokio::test]
async fn a_deletion_that_meets_a_change_is_for_the_person_to_decide() -> Result<()> {
    let page = DraftsPage::open().await?;
    let (phone, laptop) = (page.device(0), page.device(1));
    phone.click("create").await?;
    phone.types("title", "Lamps").await?;
    laptop.shows_value("title", "Lamps").await;
    for (choice, left) in [("keep-draft", 1), ("delete-anyway", 0)] {
        laptop.click("offline").await?;
        laptop.shows_state("offline").await;
        laptop.click("delete").await?;
        laptop.shows_drafts(0).await;
        phone.types("note", choice).await?;
        phone.shows_text("saved", "Saved").await;
        laptop.click("offline").await?;
        laptop.shows_text("saved", "Your choice, please").await;
        laptop.click(choice).await?;
        laptop.shows_drafts(left).await;
        phone.shows_drafts(left).await;
    }
    Ok(())
}

#[tokio::test]
async fn edits_of_a_draft_that_is_gone_are_told_until_they_are_dismissed() -> Result<()> {
    let page = DraftsPage::open().await?;
    let (phone, laptop) = (page.device(0), page.device(1));
    phone.click("create").await?;
    phone.types("title", "Lamps").await?;
    laptop.shows_value("title", "Lamps").await;
    laptop.click("offline").await?;
    laptop.shows_state("offline").await;
    laptop.types("note", "Ring twice").await?;
    phone.click("delete").await?;
    page.server_has(0).await;
    laptop.click("offline").await?;
    let notice = "The draft is gone, deleted on another device. Your edits were not saved: note \u{201c}Ring twice\u{201d}";
    laptop.shows_text("notice-text", notice).await;
    laptop.shows_drafts(0).await;
    laptop.click("dismiss").await?;
    laptop.shows_text("notice-text", "").await;
    Ok(())
}

/// As a backend or another browser changes it; on one page, only one field has the cursor.
#[tokio::test]
async fn text_is_not_replaced_under_the_cursor() -> Result<()> {
    let page = DraftsPage::open().await?;
    let (phone, laptop) = (page.device(0), page.device(1));
    phone.click("create").await?;
    phone.types("title", "Lamps").await?;
    phone.shows_text("saved", "Saved").await;
    page.patches_the_draft(&json!({ "title": "Lamps in walnut" })).await?;
    laptop.shows_value("title", "Lamps in walnut").await;
    phone.shows_conflict("title", "Lamps in walnut").await;
    phone.types("title", " in oak").await?;
    phone.shows_value("title", "Lamps in oak").await;
    laptop.shows_value("title", "Lamps in walnut").await;
    phone.decides("title", "keep-mine").await?;
    laptop.shows_value("title", "Lamps in oak").await;
    assert!(!phone.has_conflict().await?);
    Ok(())
}
