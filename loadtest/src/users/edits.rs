//! Users make drafts and edit them.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use testkit::Refused;

use super::fleet::{Fleet, Member, User};
use crate::check::history::{Content, Outcome, What};

/// Users whose drafts are made at one time before the run.
const CREATING_MAX: usize = 32;

/// Makes the drafts of all users.
pub(crate) async fn create_all_drafts(fleet: &Fleet, each: u32) -> Result<()> {
    let made = stream::iter(&fleet.users).map(|user| create_drafts(user, each));
    made.buffer_unordered(CREATING_MAX).try_collect().await
}

/// Makes a user's drafts, on its devices in turn.
pub(super) async fn create_drafts(user: &User, count: u32) -> Result<()> {
    for number in 0..count {
        let member = &user.devices[number as usize % user.devices.len()];
        create(user, member, &draft_id(number)).await.context("make the first drafts")?;
    }
    Ok(())
}

async fn create(user: &User, member: &Member, draft: &str) -> Result<(), Refused> {
    let device = &member.device;
    let what = What::Create { draft: draft.to_owned() };
    let (begun, body) = user.ledger.begin(member.label.clone(), what, Instant::now(), |id| {
        let body = json!({ "made": id });
        (Content::new("DRAFT_CREATED", device.name(), &Value::from(draft), &body), body)
    });
    let answer = device.create(draft, body).await;
    user.ledger.end(begun, Outcome::of(&answer));
    answer.map(drop)
}

/// An edit that was to be sent at a moment, by any of the users on any of its devices, of any of its `drafts`.
pub(crate) fn edit_by_any(
    users: &[Arc<User>],
    drafts: u32,
    intended: Instant,
) -> impl Future<Output = ()> + Send + use<> {
    let user = Arc::clone(&users[rand::random_range(0..users.len())]);
    let member = Arc::clone(&user.devices[rand::random_range(0..user.devices.len())]);
    let draft = draft_id(rand::random_range(0..drafts));
    async move { edit(&user, &member, &draft, intended).await }
}

/// Sets the device's own field of a draft to the number of the change. One device makes one edit after the
/// other.
pub(crate) async fn edit(user: &User, member: &Member, draft: &str, intended: Instant) {
    let _turn = member.turn.lock().await;
    let device = &member.device;
    let field = device.name();
    let what = What::Edit { draft: draft.to_owned(), field: field.to_owned() };
    let (begun, patch) = user.ledger.begin(member.label.clone(), what, intended, |id| {
        let patch = json!({ (field): id });
        (Content::new("DRAFT_UPDATED", field, &Value::from(draft), &patch), patch)
    });
    let answer = device.edit(draft, patch).await;
    user.ledger.end(begun, Outcome::of(&answer));
}

pub(crate) fn draft_id(number: u32) -> String {
    format!("draft-{number}")
}
