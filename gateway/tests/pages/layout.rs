//! What pages look like from a small phone to a wide screen: nothing is cut, nothing lies on something else.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::json;

use crate::browser::Browser;

/// Every width is one that somebody has; these are enough to meet each wrapping of a line.
const STEP: usize = 40;
const HEIGHT: u32 = 900;
/// Widths at which the style changes, and their neighbours.
const BREAKPOINTS: [u32; 3] = [767, 768, 769];

/// What cannot be read or reached at the present width, as sentences.
const FAULTS_SCRIPT: &str = include_str!("layout.js");

/// Looks at the page at every width.
pub(crate) async fn assert_is_shown_in_full(browser: &Browser, what: &str) -> Result<()> {
    let mut widths_of = BTreeMap::<String, Vec<u32>>::new();
    for width in (360..=1920).step_by(STEP).chain(BREAKPOINTS) {
        browser.resize(width, HEIGHT).await?;
        let faults: Vec<String> =
            serde_json::from_value(browser.run(FAULTS_SCRIPT, json!([])).await?).context("no list")?;
        for fault in faults {
            widths_of.entry(fault).or_default().push(width);
        }
    }
    let faults: Vec<_> =
        widths_of.iter().map(|(fault, widths)| format!("{fault}, at {widths:?} px")).collect();
    assert!(faults.is_empty(), "{what}:\n{}", faults.join("\n"));
    Ok(())
}
