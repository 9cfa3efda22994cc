//! A headless Chromium, driven through the WebDriver protocol (W3C WebDriver, level 2).

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::{http, ports, process::Process, wait};

const DRIVER: &str = "/usr/bin/chromedriver";
const START_WAIT: Duration = Duration::from_secs(30);
/// The key under which WebDriver wraps an element's id (section 11).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser with one window. Dropping it kills it.
pub(crate) struct Browser {
    session: String,
    // Before the folder: fields are dropped in this order.
    _driver: Process,
    _dir: TempDir,
}

impl Browser {
    /// Starts it, with an empty profile.
    pub(crate) async fn start() -> Result<Self> {
        ensure!(Path::new(DRIVER).exists(), "{DRIVER} is missing: install chromium and chromium-driver");
        let dir = TempDir::with_prefix("browser-")?;
        let port = ports::free()?;
        let mut command = Command::new(DRIVER);
        command.arg(format!("--port={port}"));
        let mut driver = Process::start("chromedriver", command, &dir.path().join("log"))?;
        let base = format!("http://127.0.0.1:{port}");
        wait::poll(START_WAIT, || async {
            let answer = http::get(&format!("{base}/status")).await?;
            ensure!(answer.json["value"]["ready"] == true, "not ready: {}", answer.text);
            Ok(())
        })
        .await?;
        driver.check_alive()?;
        let profile = dir.path().join("profile");
        let created = post(&base, "/session", &capabilities(&profile)).await.context("start Chromium")?;
        let id = created["sessionId"].as_str().context("no session")?;
        Ok(Self { session: format!("{base}/session/{id}"), _driver: driver, _dir: dir })
    }

    /// Loads a page and waits for its scripts to be there.
    pub(crate) async fn open(&self, url: &str) -> Result<()> {
        post(&self.session, "/url", &json!({ "url": url })).await?;
        Ok(())
    }

    /// Clicks the first element that the selector finds, as a pointer would: it must be in reach.
    pub(crate) async fn click(&self, selector: &str) -> Result<()> {
        let element = self.find(selector).await?;
        post(&self.session, &format!("/element/{element}/click"), &json!({})).await?;
        Ok(())
    }

    /// Types at the end of an input, key by key.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.find(selector).await?;
        post(&self.session, &format!("/element/{element}/value"), &json!({ "text": text })).await?;
        Ok(())
    }

    /// Runs a function's body in the page; `arguments` are its arguments.
    pub(crate) async fn run(&self, script: &str, arguments: Value) -> Result<Value> {
        post(&self.session, "/execute/sync", &json!({ "script": script, "args": arguments })).await
    }

    /// Gives the page another size, in CSS pixels. A window has a least size; this has none.
    pub(crate) async fn resize(&self, width: u32, height: u32) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        let command = json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": size });
        post(&self.session, "/goog/cdp/execute", &command).await?;
        Ok(())
    }

    /// What the page has complained about on the console: failed loads, refused policies, exceptions.
    pub(crate) async fn complaints(&self) -> Result<Vec<String>> {
        let entries = post(&self.session, "/se/log", &json!({ "type": "browser" })).await?;
        let entries = entries.as_array().context("no log")?;
        Ok(entries.iter().map(|entry| entry["message"].to_string()).collect())
    }

    async fn find(&self, selector: &str) -> Result<String> {
        let query = json!({ "using": "css selector", "value": selector });
        let found = post(&self.session, "/element", &query).await?;
        Ok(found[ELEMENT].as_str().with_context(|| format!("no {selector}"))?.to_owned())
    }
}

fn capabilities(profile: &Path) -> Value {
    let profile = format!("--user-data-dir={}", profile.display());
    let arguments = [
        "--headless",
        // The sandbox needs rights that containers do not give; the page is our own.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-breakpad",
        "--disable-background-networking",
        // Containers have a small /dev/shm.
        "--disable-dev-shm-usage",
        "--window-size=1400,1400",
        &profile,
    ];
    json!({ "capabilities": { "alwaysMatch": {
        "goog:chromeOptions": { "args": arguments },
        "goog:loggingPrefs": { "browser": "WARNING" },
    } } })
}

async fn post(base: &str, path: &str, body: &Value) -> Result<Value> {
    let answer = http::request("POST", &format!("{base}{path}"), &[], Some(body)).await?;
    ensure!(answer.status == 200, "{path} {body}: {}", answer.json["value"]["message"]);
    Ok(answer.json["value"].clone())
}
