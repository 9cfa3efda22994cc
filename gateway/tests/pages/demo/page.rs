//! The demo page, served by a node or a cluster of its own.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testkit::{Cluster, ClusterOptions, Node, NodeOptions, wait};

use crate::{SHOWN_WAIT, browser::Browser};

/// Whose devices the page shows.
pub(crate) const USER: &str = "demo-test";

/// A page that was just opened.
pub(crate) struct Page {
    // Before the server, so that the page does not see it go.
    pub(crate) browser: Browser,
    pub(crate) server: Server,
}

/// Who serves it.
pub(crate) enum Server {
    Node(Box<Node>),
    Cluster(Box<Cluster>),
}

impl Server {
    fn http_url(&self, path: &str) -> String {
        match self {
            Self::Node(node) => node.http_url(path),
            Self::Cluster(cluster) => match &cluster.nginx {
                Some(nginx) => nginx.http_url(path),
                None => cluster.nodes[0].http_url(path),
            },
        }
    }
}

impl Page {
    /// Opens the view of that name. `demo`: whether the node hands out tokens.
    pub(crate) async fn open(view: &str, demo: bool) -> Result<Self> {
        let options = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire")).env("DEMO", &demo.to_string());
        Self::on(Server::Node(Box::new(Node::start(options).await?)), view).await
    }

    /// The same, served by two nodes behind Nginx.
    pub(crate) async fn open_on_cluster(view: &str) -> Result<Self> {
        let options = ClusterOptions::new(env!("CARGO_BIN_EXE_draftwire")).nginx().env("DEMO", "true");
        Self::on(Server::Cluster(Box::new(options.start().await?)), view).await
    }

    async fn on(server: Server, view: &str) -> Result<Self> {
        let browser = Browser::start().await?;
        browser.open(&server.http_url(&format!("/?user={USER}#{view}"))).await?;
        Ok(Self { browser, server })
    }

    /// The address of a path on the server.
    pub(crate) fn url(&self, path: &str) -> String {
        self.server.http_url(path)
    }

    /// Waits until a script on an element gives the text that is wanted.
    pub(crate) async fn shows(&self, selector: &str, script: &str, wanted: &str) {
        wait::until(&format!("{selector} shows {wanted:?}"), SHOWN_WAIT, || async {
            let shown = self.read(selector, script).await?;
            ensure!(shown == wanted, "it is {shown:?}");
            Ok(())
        })
        .await;
    }

    /// Runs a script on the element, which must be there; it gives text.
    pub(crate) async fn read(&self, selector: &str, script: &str) -> Result<String> {
        let script = format!(
            "const element = document.querySelector(arguments[0]); if (!element) return null;\
             return (function () {{ {script} }})(element);"
        );
        match self.browser.run(&script, json!([selector])).await? {
            Value::String(text) => Ok(text),
            other => anyhow::bail!("{selector} gives {other}"),
        }
    }

    /// What the browser has complained about: the content security policy above all.
    pub(crate) async fn complaints(&self) -> Result<Vec<String>> {
        self.browser.complaints().await
    }
}

/// What an element says.
pub(crate) const TEXT: &str = "return arguments[0].textContent";
