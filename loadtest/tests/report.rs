//! `report`, a moment for each run, against a real cluster.

#![allow(clippy::unwrap_used)]

mod server;

use std::{fs, path::Path};

use crate::server::{LOADTEST, Ran};

/// The raw results of every run, and every flame graph that the page names.
fn files_are_there(text: &str, dir: &Path) {
    for run in ["saturate", "writers-topic", "writers-arrays", "writers-drafts", "drafts-2", "drafts-3"] {
        assert!(text.contains(&format!("| {run} | `draftwire-loadtest ")), "{run}: {text}");
        let file = fs::read_to_string(dir.join(format!("report/{run}.json"))).unwrap();
        let json: serde_json::Value = serde_json::from_str(&file).unwrap();
        assert!(json["checks"].is_array(), "{run}: {json}");
    }
    for rest in text.split("Flame graph: `").skip(1) {
        let (name, _) = rest.split_once('`').unwrap();
        let file = fs::read_to_string(dir.join(name)).unwrap();
        assert!(file.contains("<svg") && file.trim_end().ends_with("</svg>"), "{name}: {file}");
    }
}

#[tokio::test]
async fn a_report_is_whole_and_none_of_its_cells_is_blank() {
    let server = server::built();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("REPORT.md");
    let (server, file) = (server.to_str().unwrap(), out.to_str().unwrap());
    let ran = Ran::of(
        LOADTEST,
        ["report", "--quick", "--only", "saturation,writers,drafts,bottlenecks", "--out", file]
            .into_iter()
            .chain(["--server", server, "--before", server]),
    )
    .await;
    let text = fs::read_to_string(&out).unwrap_or_default();
    // Whether thresholds hold depends on what else the machine does.
    assert!(matches!(ran.code, 0 | 1), "{ran:?}");
    assert_eq!(
        ran.code == 0,
        text.contains("runs held their thresholds.") && !text.contains("not ready"),
        "{text}"
    );
    for line in text.lines().filter(|line| line.starts_with('|')) {
        assert!(line.trim_matches('|').split('|').all(|cell| !cell.trim().is_empty()), "{line}");
    }
    files_are_there(&text, dir.path());
    assert!(!text.contains("could not be made"), "{text}\n{ran:?}");
    assert!(!text.contains("no such figure"), "{text}");
    assert!(text.contains("| CPU of the cluster for a delivery of a draft |"), "before and after: {text}");
    // A kernel may not let anybody look, and then that is said.
    assert!(text.contains("| function |") || text.contains("*Not measured: "), "{text}");
    let unknown = "CPU of nodes and Redis for a delivery, 1,000 followers, 10 events/s | not measured: the run feed-10 \
                   was not asked for";
    assert!(text.contains(unknown), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_start_is_told_and_a_chapter_that_is_not_known_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("REPORT.md");
    let report = ["report", "--quick", "--out", out.to_str().unwrap(), "--only"];
    let ran = Ran::of(LOADTEST, report.into_iter().chain(["writers", "--server", "/bin/false"])).await;
    let text = fs::read_to_string(&out).unwrap();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(text.contains("**could not be made**") && text.contains("**not ready**"), "{text}");
    let ran = Ran::of(LOADTEST, report.into_iter().chain(["nope"])).await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.errors.contains("there is no chapter \"nope\": floor, "), "{ran:?}");
}

#[tokio::test]
async fn a_folder_is_refused_before_anything_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let ran = Ran::of(LOADTEST, ["report", "--quick", "--out", dir.path().to_str().unwrap()]).await;
    assert!(ran.code != 0 && ran.errors.contains("is a folder"), "{ran:?}");
    assert!(!ran.errors.contains("run 1"), "{ran:?}");
}
