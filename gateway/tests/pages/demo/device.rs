//! The drafts view as a person sees it: devices with a form each.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::{http, token, wait};

use super::page::{Page, TEXT, USER};
use crate::SHOWN_WAIT;

/// The view with two devices that are live.
pub(crate) struct DraftsPage(Page);

impl DraftsPage {
    pub(crate) async fn open() -> Result<Self> {
        let page = Self(Page::open("drafts", true).await?);
        page.device(0).shows_state("live").await;
        page.device(1).shows_state("live").await;
        Ok(page)
    }

    pub(crate) fn device(&self, index: usize) -> Device<'_> {
        Device { page: &self.0, index }
    }

    pub(crate) fn page(&self) -> &Page {
        &self.0
    }

    /// Changes the only draft over HTTP, on the version that the server has.
    pub(crate) async fn patches_the_draft(&self, patch: &Value) -> Result<()> {
        let list = self.ask("GET", "/v1/drafts", None).await?;
        let draft = &list["drafts"][0];
        let id = draft["draftId"].as_str().context("no draft")?;
        self.ask("PATCH", &format!("/v1/drafts/{id}?baseVersion={}", draft["version"]), Some(patch)).await?;
        Ok(())
    }

    /// Waits until the server has so many drafts of the user.
    pub(crate) async fn server_has(&self, count: usize) {
        wait::until(&format!("{count} drafts"), SHOWN_WAIT, || async {
            let list = self.ask("GET", "/v1/drafts", None).await?;
            ensure!(list["drafts"].as_array().map(Vec::len) == Some(count), "it has {list}");
            Ok(())
        })
        .await;
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let bearer = format!("Bearer {}", token::good(USER));
        let answer = http::request(method, &self.0.url(path), &[("authorization", &bearer)], body).await?;
        ensure!(answer.status == 200, "{}", answer.text);
        Ok(answer.json)
    }

    pub(crate) async fn complaints(&self) -> Result<Vec<String>> {
        self.0.complaints().await
    }
}

/// One device of the page. Each `shows_…` waits until it does.
#[derive(Clone, Copy)]
pub(crate) struct Device<'a> {
    page: &'a Page,
    index: usize,
}

impl Device<'_> {
    pub(crate) async fn click(&self, role: &str) -> Result<()> {
        self.page.browser.click(&self.role(role)).await
    }

    /// Types at the end of a field and waits until the page shows it.
    pub(crate) async fn types(&self, field: &str, text: &str) -> Result<()> {
        let before = self.page.read(&self.field(field), VALUE).await?;
        self.page.browser.type_into(&self.field(field), text).await?;
        self.shows_value(field, &format!("{before}{text}")).await;
        Ok(())
    }

    /// Puts a text that no keyboard gives into a field, as a script with a defect would.
    pub(crate) async fn is_given(&self, field: &str, script_text: &str) -> Result<()> {
        let script = format!(
            "const field = document.querySelector(arguments[0]); field.value = {script_text};\
             field.dispatchEvent(new Event('input', {{ bubbles: true }}));"
        );
        self.page.browser.run(&script, json!([self.field(field)])).await?;
        Ok(())
    }

    pub(crate) async fn shows_state(&self, state: &str) {
        let script = "return arguments[0].closest('.device').dataset.state";
        self.page.shows(&self.role("state"), script, state).await;
    }

    pub(crate) async fn shows_text(&self, role: &str, text: &str) {
        self.page.shows(&self.role(role), TEXT, text).await;
    }

    pub(crate) async fn shows_drafts(&self, count: usize) {
        let script = "return String(arguments[0].children.length)";
        self.page.shows(&self.role("draft-list"), script, &count.to_string()).await;
    }

    pub(crate) async fn shows_value(&self, field: &str, value: &str) {
        self.page.shows(&self.field(field), VALUE, value).await;
    }

    /// The position on the stream.
    pub(crate) async fn seq(&self) -> Result<u64> {
        let text = self.page.read(&self.role("seq"), TEXT).await?;
        text.parse().with_context(|| format!("seq is {text:?}"))
    }

    pub(crate) async fn shows_seq(&self, seq: u64) {
        self.shows_text("seq", &seq.to_string()).await;
    }

    /// That a field has another value on another device, to choose from.
    pub(crate) async fn shows_conflict(&self, field: &str, theirs: &str) {
        self.page.shows(&self.in_field(field, "theirs"), TEXT, theirs).await;
    }

    /// Chooses in a field that has a conflict.
    pub(crate) async fn decides(&self, field: &str, choice: &str) -> Result<()> {
        self.page.browser.click(&self.in_field(field, choice)).await
    }

    pub(crate) async fn has_conflict(&self) -> Result<bool> {
        let script = "return document.querySelector(arguments[0]) !== null";
        Ok(self.page.browser.run(script, json!([self.role("conflict")])).await? == true)
    }

    fn role(&self, role: &str) -> String {
        format!("[data-device=\"{}\"] [data-role=\"{role}\"]", self.index)
    }

    fn in_field(&self, field: &str, role: &str) -> String {
        format!("[data-device=\"{}\"] [data-field=\"{field}\"] [data-role=\"{role}\"]", self.index)
    }

    fn field(&self, field: &str) -> String {
        format!("[data-device=\"{}\"] [name=\"{field}\"]", self.index)
    }
}

const VALUE: &str = "return arguments[0].value";
