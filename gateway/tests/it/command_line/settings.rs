//! `draftwire settings`, and `draftwire config`.

use std::process::Output;

use serde_json::{Value, json};
use testkit::token;

use super::{Line, draftwire};
use crate::harness::Server;

fn settings(server: &Server, arguments: &str) -> Line {
    let line = draftwire(&format!("http://{}", server.addr), &format!("settings --json {arguments}"));
    line.token(&token::scoped("operator", "admin"))
}

async fn done(server: &Server, arguments: &str) -> Vec<Value> {
    settings(server, arguments).run("").await.done()
}

/// A line for people, of a command that ends well.
async fn text(line: Line) -> String {
    let Line { mut command } = line;
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let Output { status, stdout, stderr } = output.await.unwrap();
    let errors = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), errors.as_str()), (Some(0), ""));
    String::from_utf8(stdout).unwrap()
}

#[tokio::test]
async fn settings_are_set_listed_undone_and_unset() {
    let server = Server::start().await;
    let set =
        settings(&server, "set DEFLATE=false --percent 25 --by user --reason").arg("to see").run("").await;
    let set = set.done().remove(0);
    assert_eq!(
        (&set["value"], &set["percent"], &set["reason"]),
        (&json!("false"), &json!(25), &json!("to see"))
    );
    done(&server, "set DEFLATE=false").await;
    done(&server, "set LINGER=9s --percent 50").await;
    let changed = done(&server, "list --changed").await;
    assert_eq!(changed.iter().map(|setting| &setting["name"]).collect::<Vec<_>>(), ["DEFLATE", "LINGER"]);
    assert!(done(&server, "list").await.len() > 50);
    // The last change was the first of LINGER; before the last one of DEFLATE was a roll-out.
    let undone = done(&server, "undo").await.remove(0);
    assert_eq!((&undone["name"], &undone["source"]), (&json!("LINGER"), &json!("default")));
    let undone = done(&server, "undo DEFLATE").await.remove(0);
    assert_eq!((&undone["percent"], &undone["reason"]), (&json!(25), &json!("takes back change 2")));
    assert_eq!(undone.get("otherwise"), None, "the others have what they had then");
    let unset = done(&server, "unset DEFLATE").await.remove(0);
    assert_eq!((&unset["value"], unset.get("percent")), (&json!("true"), None));
    let versions: Vec<_> =
        done(&server, "history").await.iter().map(|change| change["version"].clone()).collect();
    assert_eq!(versions, [6, 5, 4, 3, 2, 1]);
    assert_eq!(done(&server, "history DEFLATE --limit 2").await.len(), 2);

    for (arguments, code, what) in [
        ("set DEFLATE", 2, "NAME=VALUE"),
        ("set DEFLATE=maybe", 1, "bad_request: "),
        ("set DEFLATE=false --percent 101", 2, "101"),
        ("set NO_SUCH=1", 1, "not_found: there is no setting NO_SUCH"),
        ("unset NO_SUCH", 1, "not_found: "),
        ("undo SSE_HEARTBEAT", 1, "not_found: SSE_HEARTBEAT never was changed"),
    ] {
        settings(&server, arguments).run("").await.failed(code, what);
    }
    let url = format!("http://{}", server.addr);
    let plain = draftwire(&url, "settings list").token(&token::good("alice"));
    plain.run("").await.failed(1, "forbidden: ");
    let operator = token::scoped("operator", "admin");
    let line = text(draftwire(&url, "settings set DEFLATE=false --percent 30").token(&operator)).await;
    assert!(
        line.starts_with(
            "DEFLATE=false  [run time; 30 % by user, otherwise as started]  change 7 by operator"
        )
    );
    let history = text(draftwire(&url, "settings history LINGER").token(&operator)).await;
    assert!(history.starts_with("LINGER=(as started)  change 4 by operator"), "{history}");
    server.stop().await;
}

#[tokio::test]
async fn a_configuration_is_checked_and_printed() {
    let line = |arguments: &str| {
        let Line { mut command } = draftwire("", &format!("config {arguments}"));
        command.env("DEFLATE", "false").env("JWT_SECRET", token::SECRET);
        Line { command }
    };
    let printed = text(line("print --linger 9s")).await;
    for expected in [
        "DEFLATE=false  [environment]",
        "LINGER=9s  [flag]",
        "BATCHING=true  [default]",
        "JWT_SECRET=(not shown)  [environment]",
        "NODE_NAME  (the host name)  [default]",
    ] {
        assert!(printed.lines().any(|line| line == expected), "{expected} is not in {printed}");
    }
    assert!(!printed.contains(token::SECRET));
    assert!(text(line("check")).await.contains("a node would start"));
    let Line { mut command } = line("check --linger 9");
    let Output { status, stderr, .. } = command.output().unwrap();
    assert_eq!(status.code(), Some(2));
    assert!(String::from_utf8(stderr).unwrap().contains("LINGER (--linger) is \"9\": give a duration"));
}
