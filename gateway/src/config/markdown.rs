//! docs/config.md, from the declarations.

use std::fmt::Write as _;

use super::setting::{Fallback, Group};

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
- An acknowledged change is on the disk of the database. Where the database or the role sets
  `synchronous_commit` to less than `on`, the sessions that commit set it to `on`; `remote_apply` stays. With
  `synchronous_standby_names` set, it is on the disk of the standbys as well. A server with `fsync = off` or
  `full_page_writes = off`, or an unlogged table, may lose what was acknowledged when its machine crashes; that is
  said in a warning at start.
- One kind of key checks tokens. Its kind fixes their algorithm; what a token says of itself does not
  count. Tokens need a user (`JWT_USER_CLAIM`) and `exp`.
- Secrets appear in no log and in no error. Prefer the environment or files for them: other users of a
  machine can read the flags of its processes. What holds a secret can be in a file of its own, as Docker
  and Kubernetes mount them: `JWT_SECRET_FILE=/run/secrets/jwt` stands for `JWT_SECRET`.
- Blanks and line ends around a value are cut off, so an environment file may have Windows line ends. Only
  `JWT_SECRET` is taken to the byte, and refused where a line end, a blank or quotes around it can only be
  an accident; of files, line ends at the end are cut off. Any other value in quotes is refused too:
  `docker run --env-file` would make them a part of it.

- The column *changes* says when a change takes effect: with a restart, at once for a node as a whole, or for the
  connections that begin afterwards. What needs no restart can be changed while the nodes run, with
  `draftwire settings` or `PUT /v1/admin/settings/{NAME}`: for all, or for a stable part of users, connections or
  nodes. Such a change is kept with the data, holds on all nodes, and wins over flag and environment.
  [Operations](operations.md#settings-at-run-time) says more.

A test compares this page with the declarations in `gateway/src/config`; it is written anew by
`UPDATE_DOCS=1 cargo test -p gateway config`.
";

const HISTORY: &str = "
## What names the history

Events are numbered in a history, and its name (the epoch) is part of every cursor. It has to change when
acknowledged events may be gone, because their numbers are used again: then every client is sent the state
instead of events that contradict what it has. `HISTORY_SOURCE` says what notices that.

| `HISTORY_SOURCE` | the name is | it changes with | it does not notice |
|---|---|---|---|
| `timeline` | the system identifier, the timeline, the database's and the table's number | the promotion of a standby, a restored base backup, a dump that creates the tables anew | data that is put back into the same tables of the same server; a storage that is set back under the server |
| `row` | in a row of the table `history`, with the start time of its server | every start of the server, a failover of any kind, a dump that creates the tables anew | data put back into the same tables of a server that runs on, until a node or a client shows it |
| `auto` | the timeline where it can be read when the first node starts, otherwise the row | as above | as above |

With `row` nothing is read or written on another server, or on the same one after a restart, until a node has
given the history a new name, by one statement for all nodes. It need not remember anything for that, so it holds
also when all nodes restart at the same moment. The price is that every restart of the server costs every client a
fresh start. Beyond that, the history gets a new name as soon as a node finds the log behind what it has seen: a
head that went back, or the number of an event with other contents. A client's cursor beyond the log counts as well,
once, in the minute after a node has started or the store was away; at other times it is answered as any cursor
that cannot be continued, because a client can make one up.

A node with `auto` that cannot read the timeline switches all nodes to the row, and they stay with it. To go back,
set `timeline` on all nodes.

What the documentation of these services says, read in November 2026, none of them tried; where it says nothing
of the functions, `auto` finds out:

| service | what its failover keeps | advice |
|---|---|---|
| Postgres of your own, alone or under an operator | what the standby has that is promoted; a promotion is a new timeline | `auto` |
| Amazon RDS, Multi-AZ | everything: the standby is synchronous. A promoted read replica is asynchronous, and a new timeline | `auto` |
| Amazon Aurora | everything: writer and readers share the storage. `pg_current_wal_lsn()` fails unless `wal_level` is `logical` (`rds.logical_replication`) | `row`, which `auto` comes to by itself; set it, so that a change of `wal_level` changes nothing |
| Google Cloud SQL | everything within the region: the disk is replicated. A replica in another region is asynchronous | `auto` |
| Google AlloyDB | everything within the cluster. A secondary cluster in another region is asynchronous | `row` where a secondary cluster may be promoted |
| Azure Database for PostgreSQL, flexible server | everything: the standby is synchronous. Read replicas are asynchronous | `auto` |
| Neon | everything. A branch that is restored keeps its address, and its storage is set back | `row`, with scale to zero switched off: each start of a compute is a new history |
| Supabase | it backs up, by plan and size, with dumps or with base backups and their WAL; a restore by either is noticed | `auto` |

**Rights.** The role of a node needs the tables of its schema, which it owns when it has created them, and
functions that everybody may call by default. The start checks each of them and says which statements an
administrator has to run for those that are missing.
";

/// Returns the page.
pub(super) fn page(groups: &[&Group]) -> String {
    let mut page = INTRODUCTION.to_owned();
    for Group { title, settings } in groups {
        let _ = write!(
            page,
            "\n## {title}\n\n| variable, flag | default | takes | changes | meaning |\n|---|---|---|---|---|\n"
        );
        for setting in *settings {
            let default = match setting.default() {
                Fallback::Value(text) => format!("`{text}`"),
                Fallback::Otherwise(text) => text.to_owned(),
            };
            let (env, flag, rule, help) = (setting.env(), setting.flag(), setting.rule(), setting.help());
            let change = setting.change().as_str();
            let _ = writeln!(page, "| `{env}` `--{flag}` | {default} | {rule} | {change} | {help} |");
        }
    }
    page.push_str(HISTORY);
    page
}
