//! docs/config.md, from the table.

use std::fmt::Write as _;

use super::table::{Fallback, SETTINGS};

const INTRODUCTION: &str = "\
# Configuration

`draftwire` takes its settings from flags and from environment variables; a flag wins. Empty counts as
not set. Everything is read and checked before a port is bound; every mistake is reported, and the
process ends with status 2. `draftwire serve --help` shows this table.

- Durations need a unit: `500ms`, `25s`, `5m`, `1h`, `1d`.
- Sizes are bytes, or have a unit: `65536`, `64KiB`, `1MiB`, `1GiB`.
- `DATABASE_URL` and `REDIS_URL` alone decide how a node runs: none is the embedded mode (one node, a
  SQLite file), both are a cluster. `DATABASE_URL` alone is for a single node on Postgres; several would
  hear of each other's events only by the sweep, which is said in a warning at start.
- One kind of key checks tokens. Its kind fixes their algorithm; what a token says of itself does not
  count. Tokens need `sub` and `exp`.
- Secrets appear in no log and in no error. Prefer the environment for them: other users of a machine
  can read the flags of its processes.

A test compares this page with the table in `gateway/src/config/table.rs`; it is written anew by
`UPDATE_DOCS=1 cargo test -p gateway config`.
";

/// The page.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            let _ = write!(
                page,
                "\n## {section}\n\n| variable, flag | default | takes | meaning |\n|---|---|---|---|\n"
            );
        }
        let default = match setting.default {
            Fallback::Value(text) => format!("`{text}`"),
            Fallback::Otherwise(text) => text.to_owned(),
        };
        let _ = writeln!(
            page,
            "| `{}` `--{}` | {default} | {} | {} |",
            setting.env,
            setting.flag,
            setting.rule(),
            setting.help,
        );
    }
    page
}
