//! The demo page, as a person sees it: devices with a form each.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::{Node, NodeOptions, wait};

use crate::browser::Browser;

/// Far more than anything here takes; it only bounds a failing test.
const SHOWN_WAIT: Duration = Duration::from_secs(30);

/// The page on a node of its own, with two devices that are live.
pub(crate) struct Page {
    // Before the node, so that the page does not see it go.
    browser: Browser,
    _node: Node,
}

impl Page {
    pub(crate) async fn open() -> Result<Self> {
        let options = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire")).env("DEMO", "true");
        let node = Node::start(options).await?;
        let browser = Browser::start().await?;
        browser.open(&node.http_url("/?user=demo-test")).await?;
        let page = Self { browser, _node: node };
        page.device(0).shows_state("live").await;
        page.device(1).shows_state("live").await;
        Ok(page)
    }

    pub(crate) fn device(&self, index: usize) -> OnPage<'_> {
        OnPage { browser: &self.browser, index }
    }

    /// What the browser has complained about: the content security policy above all.
    pub(crate) async fn complaints(&self) -> Result<Vec<String>> {
        self.browser.complaints().await
    }
}

/// One device of the page. Each `shows_…` waits until it does.
#[derive(Clone, Copy)]
pub(crate) struct OnPage<'a> {
    browser: &'a Browser,
    index: usize,
}

impl OnPage<'_> {
    pub(crate) async fn click(&self, role: &str) -> Result<()> {
        self.browser.click(&self.role(role)).await
    }

    /// Types at the end of a field and waits until the server has it, or, offline, until it is kept.
    pub(crate) async fn types(&self, field: &str, text: &str) -> Result<()> {
        let before = self.value(field).await?;
        self.browser.type_into(&self.field(field), text).await?;
        self.shows_value(field, &format!("{before}{text}")).await;
        Ok(())
    }

    pub(crate) async fn shows_state(&self, state: &str) {
        self.shows("state", "return arguments[0].closest('.device').dataset.state", state).await;
    }

    pub(crate) async fn shows_text(&self, role: &str, text: &str) {
        self.shows(role, "return arguments[0].textContent", text).await;
    }

    pub(crate) async fn shows_drafts(&self, count: usize) {
        self.shows("draft-list", "return String(arguments[0].children.length)", &count.to_string()).await;
    }

    pub(crate) async fn shows_value(&self, field: &str, value: &str) {
        let what = format!("device {}: {field} is {value:?}", self.index);
        wait::until(&what, SHOWN_WAIT, || async {
            let shown = self.value(field).await?;
            ensure!(shown == value, "it is {shown:?}");
            Ok(())
        })
        .await;
    }

    /// The position on the stream.
    pub(crate) async fn seq(&self) -> Result<u64> {
        let text = self.read(&self.role("seq"), "return arguments[0].textContent").await?;
        text.parse().with_context(|| format!("seq is {text:?}"))
    }

    pub(crate) async fn shows_seq(&self, seq: u64) {
        self.shows_text("seq", &seq.to_string()).await;
    }

    pub(crate) async fn has_conflict(&self) -> Result<bool> {
        let script = "return document.querySelector(arguments[0]) !== null";
        Ok(self.browser.run(script, json!([self.role("conflict")])).await? == true)
    }

    async fn value(&self, field: &str) -> Result<String> {
        self.read(&self.field(field), "return arguments[0].value").await
    }

    async fn shows(&self, role: &str, script: &str, wanted: &str) {
        let what = format!("device {}: {role} is {wanted:?}", self.index);
        wait::until(&what, SHOWN_WAIT, || async {
            let shown = self.read(&self.role(role), script).await?;
            ensure!(shown == wanted, "it is {shown:?}");
            Ok(())
        })
        .await;
    }

    /// Runs a script on the element, which must be there.
    async fn read(&self, selector: &str, script: &str) -> Result<String> {
        let script = format!(
            "const element = document.querySelector(arguments[0]); if (!element) return null;\
             return (function () {{ {script} }})(element);"
        );
        match self.browser.run(&script, json!([selector])).await? {
            Value::String(text) => Ok(text),
            other => anyhow::bail!("{selector} gives {other}"),
        }
    }

    fn role(&self, role: &str) -> String {
        format!("[data-device=\"{}\"] [data-role=\"{role}\"]", self.index)
    }

    fn field(&self, field: &str) -> String {
        format!("[data-device=\"{}\"] [name=\"{field}\"]", self.index)
    }
}
