#![allow(clippy::unwrap_used)]

use std::{collections::HashMap, time::Duration};

use common::{DraftId, Epoch, Seq, Stream, UserId, merge::Object, time::unix_ms};
use testkit::Postgres;

use super::{
    statements::LockWait,
    steps::Attempt,
    write::{Basis, write},
};
use crate::store::{
    DraftOp, Limits, Op, Store, Write,
    plan::{Batch, State, decide},
    postgres::{HistorySource, PostgresOptions, PostgresStore, SchemaName},
};

const LIMITS: Limits = Limits { drafts_per_user_max: 10, draft_bytes_max: 1000, event_bytes_max: 1000 };

fn create(draft: &str) -> Write {
    let draft_id: DraftId = draft.parse().unwrap();
    Write {
        user: user(),
        device: "phone".parse().unwrap(),
        id: None,
        op: Op::Draft(DraftOp::Create { draft_id, kind: "order".parse().unwrap(), content: Object::new() }),
    }
}

fn user() -> UserId {
    "ann".parse().unwrap()
}

/// A failover between the two statements of an optimistic commit shows only where something in between, such
/// as a pooler, goes on with the same connection.
#[tokio::test]
async fn what_was_decided_is_written_only_where_and_when_it_was() {
    let server = Postgres::start_quick().await.unwrap();
    let url = server.create_database().await.unwrap();
    let timeout = Duration::from_secs(60);
    let store = PostgresStore::new(&PostgresOptions {
        url,
        schema: SchemaName::default(),
        history: HistorySource::default(),
        connections_max: 1,
        timeout,
        limits: LIMITS,
        state_cache_bytes_max: 0,
    })
    .unwrap();
    store.migrate().await.unwrap();
    let epoch = store.commit(&[create("first")]).await.unwrap().epoch;

    let mut connection = store.pool.get().await.unwrap();
    let statements = store.sql();
    let sql = &statements.commit;
    let writes = [create("second")];
    let batch = Batch::new(&writes);
    let stream = Stream::User(user());
    let heads = |seq| HashMap::from([(stream.clone(), Seq(seq))]);
    let plan = decide(&batch, &mut State { heads: heads(1), ..State::default() }, &LIMITS, unix_ms());
    let mut parts: Vec<String> = epoch.to_string().split('-').map(str::to_owned).collect();
    parts[1] = "2".to_owned();
    let promoted: Epoch = parts.join("-").parse().unwrap();
    for (before, epoch) in [(heads(1), &promoted), (heads(0), &epoch)] {
        let basis = Basis { epoch: Some(epoch.clone()), heads: before };
        let written = write(&mut connection, sql, &plan, &basis, unix_ms(), LockWait(timeout)).await.unwrap();
        assert!(matches!(written, Err(Attempt::NeedsLocks)));
        assert_eq!(drafts(&server).await, "first", "written although something had changed");
    }
    let basis = Basis { epoch: Some(epoch), heads: heads(1) };
    let written = write(&mut connection, sql, &plan, &basis, unix_ms(), LockWait(timeout)).await.unwrap();
    assert!(written.is_ok());
    assert_eq!(drafts(&server).await, "first\nsecond");
}

async fn drafts(server: &Postgres) -> String {
    server.query("db0", "SELECT draft_id FROM draftwire.drafts ORDER BY 1").await.unwrap()
}
