//! The chapters: each says which runs it needs, and tells what they found. Pure.

mod chaos;
mod connections;
mod drafts;
mod feed;
mod floor;
mod memory;
mod saturation;
mod storm;
mod stress;
mod tiers;
mod writers;

use serde_json::Value;

use super::{
    page::{Page, all, number},
    plot::Points,
    runs::{Results, Spec},
};

/// A part of the report.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chapter {
    /// What `--only` calls it.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What it needs: all of it, or of a few seconds each.
    pub(super) runs: fn(quick: bool) -> Vec<Spec>,
    pub(super) render: fn(&Results, &mut Page),
}

/// In the order in which they are told.
pub(super) const ALL: [Chapter; 11] = [
    floor::CHAPTER,
    tiers::CHAPTER,
    stress::CHAPTER,
    connections::CHAPTER,
    memory::CHAPTER,
    feed::CHAPTER,
    saturation::CHAPTER,
    writers::CHAPTER,
    drafts::CHAPTER,
    storm::CHAPTER,
    chaos::CHAPTER,
];

/// A figure of each point of a run's course, over seconds.
fn course(json: &Value, figure: &str, scale: f64) -> Points {
    let at = format!("/{figure}");
    all(json, "/series/points")
        .iter()
        .filter_map(|point| {
            Some((number(point, "/at_seconds")?, number(point, &at).map(|value| value * scale)))
        })
        .collect()
}

/// What a run found; says in the page why there is nothing.
fn found<'a>(results: &'a Results, key: &str, page: &mut Page) -> Option<&'a Value> {
    match results.found(key) {
        Ok(json) => Some(json),
        Err(why) => {
            page.missing(&why);
            None
        }
    }
}

/// A row of `columns` cells for a run of which there is nothing.
fn missing_row(name: &str, why: &str, columns: usize) -> Vec<String> {
    let mut row = vec![name.to_owned(), format!("not measured: {why}")];
    row.resize(columns, "see there".to_owned());
    row
}
