//! The match view as a person sees it: the commentator's desk, and viewers.

use anyhow::{Context, Result};

use super::page::{Page, TEXT};

/// How many viewers there are; the last one gets server-sent events, and so is not counted as present.
pub(crate) const VIEWERS: usize = 4;

/// The view. Each `shows_…` waits until it does.
pub(crate) struct MatchPage(pub(crate) Page);

impl MatchPage {
    /// With all viewers live.
    pub(crate) async fn open() -> Result<Self> {
        Self::all_live(Page::open("match", true).await?).await
    }

    /// The same, served by two nodes behind Nginx.
    pub(crate) async fn open_on_cluster() -> Result<Self> {
        Self::all_live(Page::open_on_cluster("match").await?).await
    }

    async fn all_live(page: Page) -> Result<Self> {
        let page = Self(page);
        for viewer in page.viewers() {
            viewer.shows_state("live").await;
        }
        Ok(page)
    }

    pub(crate) fn viewer(&self, index: usize) -> Viewer<'_> {
        Viewer { page: &self.0, index }
    }

    pub(crate) fn viewers(&self) -> impl Iterator<Item = Viewer<'_>> {
        (0..VIEWERS).map(|index| self.viewer(index))
    }

    pub(crate) async fn click(&self, role: &str) -> Result<()> {
        self.0.browser.click(&format!("[data-role=\"{role}\"]")).await
    }

    /// Posts as the commentator, and waits until it is committed, under this number.
    pub(crate) async fn posts(&self, kind: &str, text: &str, seq: u64) -> Result<()> {
        // Typing into a list chooses from it.
        self.0.browser.type_into("#kind", kind).await?;
        self.0.browser.type_into("#text", text).await?;
        self.click("post").await?;
        self.shows_outcome(&format!("Committed as event {seq}")).await;
        Ok(())
    }

    /// What has come of the last thing that was asked for; by which node is left out.
    pub(crate) async fn shows_outcome(&self, text: &str) {
        let script = "return arguments[0].textContent.replace(/, by node .*/, '')";
        self.0.shows("[data-role=\"outcome\"]", script, text).await;
    }

    pub(crate) async fn shows_present(&self, users: u64, devices: u64) {
        let text = format!("Present: {users} users on {devices} devices");
        self.0.shows(".audience", "return arguments[0].innerText.trim()", &text).await;
    }
}

/// One viewer. Each `shows_…` waits until it does.
#[derive(Clone, Copy)]
pub(crate) struct Viewer<'a> {
    page: &'a Page,
    index: usize,
}

impl Viewer<'_> {
    pub(crate) async fn click(&self, role: &str) -> Result<()> {
        self.page.browser.click(&self.role(role)).await
    }

    pub(crate) async fn shows_state(&self, state: &str) {
        let script = "return arguments[0].closest('.viewer').dataset.state";
        self.page.shows(&self.role("state"), script, state).await;
    }

    pub(crate) async fn shows_text(&self, role: &str, text: &str) {
        self.page.shows(&self.role(role), TEXT, text).await;
    }

    /// The node that it is on.
    pub(crate) async fn node(&self) -> Result<String> {
        self.page.read(&self.role("node"), TEXT).await
    }

    /// All of its commentary, oldest first: numbers, kinds and texts.
    pub(crate) async fn shows_commentary(&self, lines: &[&str]) {
        let script = "return Array.from(arguments[0].children, (row) =>\
             row.dataset.seq + ' ' + row.querySelector('.said').textContent).reverse().join('\\n')";
        self.page.shows(&self.role("comments"), script, &lines.join("\n")).await;
    }

    /// In how many frames a flood has come.
    pub(crate) async fn flood_frames(&self, events: u64) -> Result<u64> {
        let script = "return arguments[0].textContent.replace(/ in .*/, '')";
        self.page.shows(&self.role("flood"), script, &format!("flood: {events}")).await;
        let text = self.page.read(&self.role("flood"), TEXT).await?;
        let frames = text.split(' ').nth(3).with_context(|| format!("no frames in {text:?}"))?;
        frames.parse().with_context(|| format!("no number in {text:?}"))
    }

    /// That it has not been told anything that it had to warn of: gaps and repetitions above all.
    pub(crate) async fn shows_no_notice(&self) -> Result<()> {
        let notice = self.page.read(&self.role("notice-text"), TEXT).await?;
        anyhow::ensure!(notice.is_empty(), "viewer {} warns: {notice}", self.index);
        Ok(())
    }

    fn role(&self, role: &str) -> String {
        format!("[data-viewer=\"{}\"] [data-role=\"{role}\"]", self.index)
    }
}
