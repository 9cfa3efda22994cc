//! What to do about a bottleneck: a sentence for each operation, and where docs/operations.md says more.

/// What to do where an operation is slow, and the anchor of its heading in docs/operations.md.
pub(super) fn advice(operation: &str) -> (&'static str, &'static str) {
    match operation {
        "verify" => (
            "Tokens are verified slowly: look at JWT_JWKS_URL, the node's processors, and the cache's hits.",
            "slow-verify-and-join",
        ),
        "join" => (
            "Connections join slowly: many come at once, or the database answers heads slowly.",
            "slow-verify-and-join",
        ),
        "decode" => (
            "The node's processors are busy: add nodes, or lower MAX_MESSAGE_BYTES.",
            "slow-decode-and-deliver",
        ),
        "queue" => (
            "Writes wait for the commits before them: make commits faster, or raise WRITE_SHARDS.",
            "slow-queue-and-commit",
        ),
        "commit" => (
            "The database commits slowly: look at its disk, locks and processors, and at the statements here.",
            "slow-queue-and-commit",
        ),
        "pool" => (
            "Calls wait for a connection: raise DATABASE_POOL_MAX where commits are fast, otherwise mend the database.",
            "sizing-the-database-pool",
        ),
        "publish" | "hop" => (
            "Redis takes or carries messages slowly: look at its processor and network, and compare the nodes' clocks.",
            "slow-publish-and-hop",
        ),
        "sequence" => (
            "Copies are lost or come out of order, and gaps are read from the log: look at Redis and the network.",
            "slow-sequence-and-log_page",
        ),
        "deliver" => (
            "Events wait on this node for its processors or for clients that do not read: add nodes.",
            "slow-decode-and-deliver",
        ),
        "log_page" => (
            "Pages of the log are read slowly: many clients come back at once, or the database is slow.",
            "slow-sequence-and-log_page",
        ),
        "snapshot" => (
            "Snapshots are read slowly: users have many drafts, or the database is slow.",
            "slow-statements-and-snapshot",
        ),
        statement if statement.starts_with("statement:") => (
            "The database runs this statement slowly: look at its locks, vacuum and disk.",
            "slow-statements-and-snapshot",
        ),
        _ => (
            "Requests of this route are slow, and nothing that they wait for is: look at the node's processors.",
            "slow-routes",
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, path::Path};

    use super::{super::all, *};

    #[test]
    fn every_advice_has_its_paragraph_for_operators() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
        let page = fs::read_to_string(page).unwrap();
        let anchors: Vec<String> = page
            .lines()
            .filter_map(|line| line.strip_prefix("## ").or(line.strip_prefix("### ")))
            .map(|heading| heading.to_lowercase().replace(' ', "-").replace(',', ""))
            .collect();
        let names = all().map(|(name, _)| name).chain(["http:GET /".to_owned()]);
        for name in names {
            let (sentence, anchor) = advice(&name);
            assert!(sentence.ends_with('.'), "{name}");
            assert!(
                anchors.iter().any(|known| known == anchor),
                "docs/operations.md has no heading {anchor}"
            );
            let only_routes = advice("http:GET /") == (sentence, anchor);
            assert_eq!(only_routes, name.starts_with("http:"), "{name} has no advice of its own");
        }
    }
}
