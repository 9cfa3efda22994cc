//! The chapters: each says which runs it needs, and what it shows of them. Pure.

use std::sync::LazyLock;

use serde::Deserialize;

use super::{
    figure::{Figure, all},
    page::Page,
    runs::{Results, Spec},
};

/// In the order in which they stand in the report.
pub(super) static ALL: LazyLock<Vec<Chapter>> = LazyLock::new(|| {
    let texts = [
        include_str!("floor.toml"),
        include_str!("tiers.toml"),
        include_str!("stress.toml"),
        include_str!("connections.toml"),
        include_str!("memory.toml"),
        include_str!("feed.toml"),
        include_str!("saturation.toml"),
        include_str!("writers.toml"),
        include_str!("drafts.toml"),
        include_str!("storm.toml"),
        include_str!("chaos.toml"),
    ];
    texts.map(|text| toml::from_str(text).expect("tests read every chapter")).into()
});

/// A part of the report.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Chapter {
    /// What `--only` calls it.
    pub(super) name: String,
    pub(super) title: String,
    #[serde(rename = "run")]
    runs: Vec<Run>,
    #[serde(rename = "part")]
    parts: Vec<Part>,
}

/// A scenario with its options, and those of a quick report.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    key: String,
    line: String,
    quick: String,
    /// Whether an older server is measured with it, too.
    #[serde(default)]
    compared: bool,
}

/// What a chapter shows, one after the other.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Part {
    Say {
        say: String,
    },
    Heading {
        heading: String,
    },
    /// A row for each of several runs; `runs` is the heading of their names.
    Runs {
        runs: String,
        of: Vec<(String, String)>,
        show: Vec<Figure>,
    },
    /// A row for each figure of a run.
    Facts {
        facts: String,
        show: Vec<Figure>,
    },
    /// A row for each entry of a list of a run.
    List {
        list: String,
        at: String,
        show: Vec<Figure>,
    },
    /// How figures go over the entries of a list of a run.
    Course {
        course: String,
        at: String,
        show: Vec<Figure>,
    },
}

impl Chapter {
    /// What it needs: all of it, or of a few seconds each.
    pub(super) fn runs(&self, quick: bool) -> Vec<Spec> {
        let spec = |run: &Run| {
            let line = if quick { &run.quick } else { &run.line };
            Spec { key: run.key.clone(), line: line.clone(), compared: run.compared }
        };
        self.runs.iter().map(spec).collect()
    }

    pub(super) fn render(&self, results: &Results, page: &mut Page) {
        for part in &self.parts {
            if let Err(why) = part.render(results, page) {
                page.missing(&why);
            }
        }
    }
}

impl Part {
    /// # Errors
    /// Why there is nothing to show, in words.
    fn render(&self, results: &Results, page: &mut Page) -> Result<(), String> {
        match self {
            Self::Say { say } => page.say(say),
            Self::Heading { heading } => page.heading(3, heading),
            Self::Runs { runs, of, show } => {
                let row = |(key, name): &(String, String)| {
                    let cells: Vec<String> = match results.found(key) {
                        Ok(json) => show.iter().map(|figure| figure.cell(json)).collect(),
                        Err(why) => std::iter::once(format!("not measured: {why}"))
                            .chain(vec!["see there".to_owned(); show.len() - 1])
                            .collect(),
                    };
                    [vec![name.clone()], cells].concat()
                };
                page.table(&[vec![runs.as_str()], names(show)].concat(), of.iter().map(row));
            }
            Self::Facts { facts, show } => {
                let json = results.found(facts)?;
                let row = |figure: &Figure| vec![figure.name.clone(), figure.cell(json)];
                page.table(&["what", "measured"], show.iter().map(row));
            }
            Self::List { list, at, show } => {
                let entries = all(results.found(list)?, at);
                if entries.is_empty() {
                    page.say("None.");
                    return Ok(());
                }
                let row = |entry| show.iter().map(|figure| figure.cell(entry)).collect();
                page.table(&names(show), entries.iter().map(row));
            }
            Self::Course { course, at, show } => {
                let entries = all(results.found(course)?, at);
                let row =
                    |figure: &Figure| [vec![figure.name.clone()], figure.course(entries).into()].concat();
                page.table(&["over time", "least", "most", "course"], show.iter().map(row));
            }
        }
        Ok(())
    }
}

fn names(figures: &[Figure]) -> Vec<&str> {
    figures.iter().map(|figure| figure.name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_used_once_and_are_file_names() {
        for quick in [false, true] {
            let keys: Vec<String> =
                ALL.iter().flat_map(|chapter| chapter.runs(quick)).map(|spec| spec.key).collect();
            let mut once = keys.clone();
            once.sort();
            once.dedup();
            assert_eq!(once.len(), keys.len(), "{keys:?}");
            let is_name = |key: &String| key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            assert!(keys.iter().all(is_name), "{keys:?}");
        }
    }

    #[test]
    fn what_is_shown_is_of_the_chapters_own_runs() {
        for chapter in ALL.iter() {
            let keys: Vec<&String> = chapter.runs.iter().map(|run| &run.key).collect();
            for part in &chapter.parts {
                let shown: Vec<&String> = match part {
                    Part::Say { .. } | Part::Heading { .. } => vec![],
                    Part::Runs { of, .. } => of.iter().map(|(key, _)| key).collect(),
                    Part::Facts { facts: key, .. }
                    | Part::List { list: key, .. }
                    | Part::Course { course: key, .. } => vec![key],
                };
                assert!(shown.iter().all(|key| keys.contains(key)), "{}: {shown:?}", chapter.name);
            }
        }
    }
}
