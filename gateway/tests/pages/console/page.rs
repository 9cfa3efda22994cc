//! The console in a browser.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testkit::{token, wait};

use crate::{SHOWN_WAIT, browser::Browser};

/// The console, opened in a browser of its own.
pub(super) struct Console {
    pub(super) browser: Browser,
}

impl Console {
    /// Opens it at this address, which ends with the path of the server.
    pub(super) async fn open(url: &str) -> Result<Self> {
        let browser = Browser::start().await?;
        browser.open(url).await?;
        let console = Self { browser };
        console
            .waits_for(
                "the page to ask who it is",
                "return !role('sign-in').hidden || !role('content').hidden",
            )
            .await;
        Ok(console)
    }

    /// Opens it, and signs in with a token for operators.
    pub(super) async fn signed_in(url: &str) -> Result<Self> {
        let console = Self::open(url).await?;
        console.sign_in(&token::scoped("operator", "admin admin:payload")).await?;
        console.waits_for("the first picture", "return role('verdict')?.textContent !== ''").await;
        Ok(console)
    }

    /// Signs in with a token, as people do.
    pub(super) async fn sign_in(&self, token: &str) -> Result<()> {
        self.browser.type_into("#token", token).await?;
        self.browser.click("[data-role=sign-in-form] button").await
    }

    /// Goes to a view.
    pub(super) async fn goes_to(&self, view: &str) -> Result<()> {
        self.browser.click(&format!("nav a[href='#{view}']")).await
    }

    /// Runs a script in the page. `role(name)` finds an element, `row(key)` the cells of a row of a table by their titles.
    pub(super) async fn run(&self, script: &str) -> Result<Value> {
        let helpers = "const role = (name) => document.querySelector(`[data-role='${name}']`); \
             const row = (key) => { const row = document.querySelector(`tr[data-key='${key}']`); \
             return row && Object.fromEntries([...row.children].map((cell) => [cell.dataset.title, cell.textContent])); };";
        self.browser.run(&format!("{helpers} {script}"), json!([])).await
    }

    /// Waits until a script gives `true`.
    pub(super) async fn waits_for(&self, what: &str, script: &str) {
        wait::until(what, SHOWN_WAIT, || async {
            let given = self.run(script).await?;
            if given == true {
                return Ok(());
            }
            let page = self.run("return document.body.innerText").await?;
            ensure!(false, "{given}: {page}");
            Ok(())
        })
        .await;
    }

    /// Fails where the browser has complained: the content security policy above all. A request that was refused or
    /// broken off is told there as well, and counts as none.
    pub(super) async fn assert_no_complaints(&self) -> Result<()> {
        let mut complaints = self.browser.complaints().await?;
        complaints.retain(|complaint| !complaint.contains("Failed to load resource"));
        assert_eq!(complaints, Vec::<String>::new());
        Ok(())
    }
}
