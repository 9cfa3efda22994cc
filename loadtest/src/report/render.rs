//! The whole report, from what was measured. Pure.

use super::{
    chapters::Chapter,
    figure::{UNKNOWN, all},
    page::Page,
    profile::{Profile, Target as Profiled},
    runs::{Ran, Results},
    targets,
};

/// All that is told.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// What is known of the machine.
    pub(super) facts: &'a [(&'static str, String)],
    pub(super) chapters: &'a [&'a Chapter],
    pub(super) quick: bool,
    pub(super) results: &'a Results,
    pub(super) profiles: &'a [(Profiled, Result<Profile, String>)],
    /// How long all of it took, in seconds.
    pub(super) seconds: f64,
    /// The folder of flame graphs and raw results, as it is seen from the page.
    pub(super) folder: &'a str,
}

impl Told<'_> {
    pub(super) fn page(&self) -> Page {
        let mut page = Page::default();
        page.heading(1, "Performance report");
        page.say(
            "Written by `draftwire-loadtest report`: every figure is from its own runs, and none was filled in by hand. How \
             things are measured, and what the words mean, is in the load test's README.md; what the figures of dated \
             reports come from, in its FINDINGS.md.",
        );
        self.machine(&mut page);
        self.verdicts(&mut page);
        for chapter in self.chapters {
            page.heading(2, &chapter.title);
            chapter.render(self.results, &mut page);
            self.thresholds(chapter, &mut page);
        }
        self.bottlenecks(&mut page);
        page.heading(2, "Before and after");
        targets::compare(self.results, &mut page);
        self.limits(&mut page);
        self.readiness(&mut page);
        while page.text.ends_with("\n\n") {
            page.text.pop();
        }
        page
    }

    /// Whether every run was made, and every threshold held.
    pub(super) fn held(&self) -> bool {
        (self.chapters.is_empty() || self.ran().next().is_some()) && self.ran().all(|(_, ran)| ran.held())
    }

    fn ran(&self) -> impl Iterator<Item = (&String, &Ran)> {
        self.results.now.iter()
    }

    fn machine(&self, page: &mut Page) {
        page.heading(2, "The machine");
        let row = |(name, fact): &(&str, String)| vec![(*name).to_owned(), fact.clone()];
        page.table(&["what", "is"], self.facts.iter().map(row));
        page.say(
            "Server, Postgres, Redis and the load generator share this machine. Each run starts a cluster of its own \
             and ends it. What else the machine did at the time is part of every figure.",
        );
        if self.quick {
            page.say(
                "**This is a quick run**: a moment for each scenario, with few clients. It shows that everything works, \
                 and its figures say nothing.",
            );
        }
    }

    fn verdicts(&self, page: &mut Page) {
        page.heading(2, "Targets");
        page.say(
            "What Draftwire sets out to reach, as ratios to what the machine itself needs where that is possible. \
             A target that is missed does not fail the report: thresholds of the runs do.",
        );
        targets::render(self.results, page);
    }

    /// The runs of a chapter, with what they fail for.
    fn thresholds(&self, chapter: &Chapter, page: &mut Page) {
        let rows: Vec<Vec<String>> = chapter
            .runs(self.quick)
            .iter()
            .filter_map(|spec| Some((spec, self.results.now.get(&spec.key)?)))
            .map(|(spec, ran)| {
                vec![
                    spec.key.clone(),
                    format!("`draftwire-loadtest {}`", ran.line),
                    format!("{:.0} s", ran.seconds),
                    verdict(ran),
                ]
            })
            .collect();
        page.say(format!(
            "The runs, and their thresholds; `{}/<run>.json` has all that each found:",
            self.folder
        ));
        page.table(&["run", "command", "took", "thresholds"], rows);
    }

    fn bottlenecks(&self, page: &mut Page) {
        page.heading(2, "Bottlenecks, with evidence");
        page.say(
            "`perf` takes samples of what a node, or Postgres, is doing under load. A flame graph has a box for each function, as \
             wide as the part of the samples that it was in, above the one that called it. *Itself* is the part of the \
             samples in which it was the one that ran; names that end in `_[k]` are the kernel's.",
        );
        if self.profiles.is_empty() {
            page.missing("this chapter was not asked for");
        }
        for (target, profile) in self.profiles {
            page.heading(
                3,
                &format!("{} during `draftwire-loadtest {}`", target.program.name(), target.line),
            );
            let profile = match profile {
                Ok(profile) => profile,
                Err(why) => {
                    page.missing(why);
                    continue;
                }
            };
            page.say(format!(
                "{} samples; in {:.1} % of them the kernel ran.",
                profile.samples, profile.kernel
            ));
            let rows: Vec<Vec<String>> = profile
                .functions
                .iter()
                .map(|function| {
                    vec![
                        format!("`{}`", function.name),
                        format!("{:.1} %", function.own),
                        format!("{:.1} %", function.within),
                    ]
                })
                .collect();
            page.table(&["function", "itself", "with what it calls"], rows);
            let file = format!("flame-{}.svg", target.key);
            page.say(format!("Flame graph: `{}/{file}`.", self.folder));
            page.files.push((file, profile.svg.clone()));
        }
    }

    fn limits(&self, page: &mut Page) {
        page.heading(2, "Limits of these figures");
        let mut items = vec![
            "One machine has everything: the network between machines is not measured, and the load generator takes \
             processor time that the server would have."
                .to_owned(),
            "Processor time of Redis and Postgres is counted in hundredths of a second, and that of a run includes \
             what they do on their own."
                .to_owned(),
            "The time from commit to client begins at the event's own timestamp, which is in whole milliseconds."
                .to_owned(),
        ];
        for (key, ran) in self.ran() {
            let notes = ran.found.as_ref().map_or(&[][..], |json| all(json, "/notes"));
            items.extend(notes.iter().filter_map(|note| Some(format!("{key}: {}.", note.as_str()?))));
        }
        page.list(items);
    }

    fn readiness(&self, page: &mut Page) {
        page.heading(2, "Production readiness");
        let (held, all) = (self.ran().filter(|(_, ran)| ran.held()).count(), self.ran().count());
        page.say(if all == 0 {
            "No scenario was asked for, so nothing is said here.".to_owned()
        } else if self.held() {
            format!("All {all} runs held their thresholds.")
        } else {
            format!("{held} of {all} runs held their thresholds: **not ready** until the others do.")
        });
        let box_of = |done: bool| if done { "[x]" } else { "[ ]" };
        page.list(self.ran().map(|(key, ran)| format!("{} {key}: {}", box_of(ran.held()), verdict(ran))));
        page.say(format!(
            "The report took {:.0} minutes and {:.0} seconds.",
            (self.seconds / 60.0).floor(),
            self.seconds % 60.0
        ));
    }
}

/// How the thresholds of a run stand, in words.
fn verdict(ran: &Ran) -> String {
    if let Err(why) = &ran.found {
        return format!("**could not be made**: {why}");
    }
    let broken: Vec<String> = ran
        .checks()
        .iter()
        .filter(|check| check["verdict"] == "broken")
        .map(|check| {
            let text = |name: &str| check[name].as_str().unwrap_or(UNKNOWN);
            format!("{}: {} ({})", text("name"), text("measured"), text("limit"))
        })
        .collect();
    let unknown = ran.checks().iter().filter(|check| check["verdict"] == "unknown").count();
    let also = if unknown > 0 { format!("; {unknown} could not be measured") } else { String::new() };
    if ran.held() {
        format!("all {} held{also}", ran.checks().len() - unknown)
    } else {
        format!("**broken**: {}{also}", broken.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{chapters, profile::Program},
        *,
    };

    fn told(results: &Results, profiles: &[(Profiled, Result<Profile, String>)]) -> (String, bool) {
        let facts = [("kernel", "Linux".to_owned())];
        let told = Told {
            facts: &facts,
            chapters: &chapters::ALL.iter().collect::<Vec<_>>(),
            quick: true,
            results,
            profiles,
            seconds: 61.0,
            folder: "report",
        };
        (told.page().text, told.held())
    }

    fn all_runs(found: &Result<serde_json::Value, String>) -> Results {
        let mut results = Results::default();
        for spec in chapters::ALL.iter().flat_map(|chapter| chapter.runs(true)) {
            let ran = Ran { line: spec.line, seconds: 1.0, found: found.clone() };
            results.now.insert(spec.key, ran);
        }
        results
    }

    /// No cell without text, and nothing that is no figure.
    fn is_whole(text: &str) {
        for line in text.lines().filter(|line| line.starts_with('|')) {
            let empty = line.trim_matches('|').split('|').any(|cell| cell.trim().is_empty());
            assert!(!empty, "{line}");
        }
        for wrong in ["NaN", " inf", "null", "()"] {
            assert!(!text.contains(wrong), "{wrong} in {text}");
        }
    }

    #[test]
    fn what_could_not_be_run_is_told_with_its_reason_and_is_not_ready() {
        let why = Err("no Postgres".to_owned());
        let line = "feed".to_owned();
        let profile = Profiled { key: "feed", program: Program::Node, line, begun_after: 1, seconds: 1 };
        let (text, held) = told(&all_runs(&why), &[(profile, Err("there is no `perf` here".to_owned()))]);
        is_whole(&text);
        assert!(!held);
        assert!(text.contains("no Postgres") && text.contains("there is no `perf` here"), "{text}");
        assert!(text.contains("**not ready**"), "{text}");
        assert!(!told(&Results::default(), &[]).1, "nothing was run");
    }

    #[test]
    fn runs_without_figures_leave_no_blank() {
        let (text, held) = told(&all_runs(&Ok(json!({"held": true, "checks": []}))), &[]);
        is_whole(&text);
        assert!(held);
    }

    #[test]
    fn a_broken_threshold_is_told_and_decides() {
        let check = |verdict: &str| json!({"name": "99% in time", "measured": "2 s", "limit": "at most 1 s", "verdict": verdict});
        let mut results = all_runs(&Ok(json!({"held": true, "checks": [check("held"), check("unknown")]})));
        let (text, held) = told(&results, &[]);
        assert!(held && text.contains("all 1 held; 1 could not be measured"), "{text}");
        let broken = json!({"held": false, "checks": [check("held"), check("broken")]});
        results
            .now
            .insert("storm".to_owned(), Ran { line: "storm".to_owned(), seconds: 1.0, found: Ok(broken) });
        let (text, held) = told(&results, &[]);
        assert!(!held && text.contains("**broken**: 99% in time: 2 s (at most 1 s)"), "{text}");
    }
}
