//! `report`: runs a chosen set of scenarios against clusters that it starts, and writes down what they found.
//!
//! Each run is this program again, in a process of its own: what a report says is what anybody gets who runs
//! the same line. What is written follows from the results alone.

mod chapters;
mod figure;
mod machine;
mod page;
mod profile;
mod render;
mod runs;
mod targets;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use self::{
    chapters::Chapter,
    profile::{Program, Target},
    render::Told,
    runs::{Ran, Results, Spec},
};
use crate::run::Stage;

/// The folder beside the report that has its flame graphs and raw results.
const FOLDER: &str = "report";

/// The chapter that is made without scenarios.
const BOTTLENECKS: &str = "bottlenecks";

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where it is written. Flame graphs, and the raw results of each run, go to the folder `report` beside it.
    #[arg(long, value_name = "FILE", default_value = "loadtest/PERFORMANCE-REPORT.md")]
    out: PathBuf,
    /// Chapters, separated by commas; all without. `bottlenecks` looks into a node with `perf`.
    #[arg(long, value_name = "CHAPTERS", value_delimiter = ',')]
    only: Option<Vec<String>>,
    /// A moment for each run, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// The server that is measured; otherwise `draftwire` beside this program.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// An older server: what is compared is run with it and with the current one, in turn.
    #[arg(long, value_name = "FILE")]
    before: Option<PathBuf>,
    /// Which one that is, to be told in the report: its version, or its commit.
    #[arg(long, value_name = "TEXT", requires = "before")]
    before_is: Option<String>,
}

impl Options {
    /// Makes all runs, and writes the report. Returns whether all of them held their thresholds.
    ///
    /// # Errors
    /// When there is no server, a chapter is not known, a file cannot be written, or at Ctrl-C. A run that
    /// fails is told in the report.
    pub(crate) async fn run(self, stage: &mut Stage) -> Result<bool> {
        let begun = Instant::now();
        let chapters = self.chapters()?;
        let server = match &self.server {
            Some(server) => server.clone(),
            None => std::env::current_exe()?.with_file_name("draftwire"),
        };
        let server = exists(&server)?;
        let before = self.before.as_deref().map(exists).transpose()?;
        let mut facts = machine::facts(&server);
        if before.is_some() {
            let is = self.before_is.clone().unwrap_or_else(|| "not told (--before-is)".to_owned());
            facts.push(("older server", is));
        }
        ensure!(!self.out.is_dir(), "{} is a folder: name the file in it", self.out.display());
        let dir = self.out.parent().unwrap_or(Path::new("")).join(FOLDER);
        std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;

        let results = self.results(&chapters, &server, before.as_deref(), &dir, stage).await?;
        let mut profiles = Vec::new();
        if self.wants(BOTTLENECKS) {
            for target in self.profiled() {
                stage.progress.part(&format!("looking into {}: {}", target.program.name(), target.line));
                let profile = profile::look(&target, &server, stage).await;
                ensure!(!stage.interrupt.was_pressed(), "interrupted");
                profiles.push((target, profile));
            }
        }
        let told = Told {
            facts: &facts,
            chapters: &chapters,
            quick: self.quick,
            results: &results,
            profiles: &profiles,
            seconds: begun.elapsed().as_secs_f64(),
            folder: FOLDER,
        };
        let page = told.page();
        write(&self.out, &page.text)?;
        for (name, content) in &page.files {
            write(&dir.join(name), content)?;
        }
        let held = told.held();
        let verdict = if held { "every threshold held" } else { "not every threshold held" };
        println!("{}: {verdict}", self.out.display());
        Ok(held)
    }

    fn wants(&self, chapter: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == chapter))
    }

    fn chapters(&self) -> Result<Vec<&'static Chapter>> {
        let known: Vec<&str> =
            chapters::ALL.iter().map(|chapter| chapter.name.as_str()).chain([BOTTLENECKS]).collect();
        for name in self.only.iter().flatten() {
            ensure!(known.contains(&name.as_str()), "there is no chapter {name:?}: {}", known.join(", "));
        }
        Ok(chapters::ALL.iter().filter(|chapter| self.wants(&chapter.name)).collect())
    }

    fn profiled(&self) -> Vec<Target> {
        let (followers, users, seconds) = if self.quick { (50, 20, 1) } else { (1000, 1000, 5) };
        let feed = |key, rate: &str| Target {
            key,
            program: Program::Node,
            line: format!("feed --followers {followers} --warmup 5s --duration 60s {rate} --no-floor"),
            begun_after: 1,
            seconds,
        };
        let drafts = |key, program| Target {
            key,
            program,
            line: format!("writers --users {users} --writers 100 --duration 60s"),
            // The drafts are made first.
            begun_after: 2 * users,
            seconds,
        };
        let (slow, postgres) = (feed("feed", "--rate 50"), drafts("drafts-postgres", Program::Postgres));
        if self.quick {
            return vec![slow, postgres];
        }
        let fast = feed("feed-fast", "--rate 1000 --together 10");
        vec![slow, fast, drafts("drafts-node", Program::Node), postgres]
    }

    /// All runs, one after the other: they would disturb each other.
    async fn results(
        &self,
        chapters: &[&Chapter],
        server: &Path,
        before: Option<&Path>,
        dir: &Path,
        stage: &mut Stage,
    ) -> Result<Results> {
        let mut results = Results::default();
        let specs: Vec<Spec> = chapters.iter().flat_map(|chapter| chapter.runs(self.quick)).collect();
        for (number, spec) in (1..).zip(&specs) {
            let told = format!("run {number} of {}: {}", specs.len(), spec.line);
            if let Some(before) = before.filter(|_| spec.compared) {
                stage.progress.part(&format!("{told}, with the older server"));
                let file = dir.join(format!("{}-before.json", spec.key));
                results.before.insert(spec.key.clone(), made(spec, before, &file, stage).await?);
            }
            stage.progress.part(&told);
            let file = dir.join(format!("{}.json", spec.key));
            results.now.insert(spec.key.clone(), made(spec, server, &file, stage).await?);
        }
        Ok(results)
    }
}

/// Makes a run, and leaves its raw results in a file, without spaces.
async fn made(spec: &Spec, server: &Path, file: &Path, stage: &mut Stage) -> Result<Ran> {
    // Those of an earlier report are not this run's.
    if file.exists() {
        std::fs::remove_file(file).with_context(|| format!("remove {}", file.display()))?;
    }
    let ran = runs::make(spec, server, file, stage).await?;
    if let Ok(json) = &ran.found {
        write(file, &format!("{json}\n"))?;
    }
    Ok(ran)
}

fn exists(server: &Path) -> Result<PathBuf> {
    ensure!(server.exists(), "there is no {}: build it, or give --server", server.display());
    Ok(std::path::absolute(server)?)
}

fn write(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("write {}", file.display()))
}
