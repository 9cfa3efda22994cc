//! `put_draft` of docs/sql.md decides as nodes do: the same changes through both make the same drafts and events.

use std::sync::Arc;

use common::{
    Version,
    json::own_object,
    merge::{FieldVersions, Merge, Object, merge},
};
use gateway::store::{Base, DraftOp, Limits, Op, Refusal, Store, Write};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use sqlx::{Connection, PgConnection, Row};

use crate::{
    fixture::{LIMITS, draft_id, one, user},
    postgres::{Server, server},
};

/// Seeds of one run, and changes of each.
const SEEDS: u64 = 40;
const CHANGES: usize = 30;

/// Writes a value in one of the ways that JSON has for it.
fn value(random: &mut StdRng, depth: usize) -> String {
    const SCALARS: &[&str] = &[
        "null",
        "true",
        "1",
        "1.0",
        "10e-1",
        "1.50",
        "-0",
        "0",
        "12345678901234567890123",
        "\"x\"",
        "\"\\u00e9\"",
        "\"é\"",
        "\"a\\n\\\"\\\\u0000\"",
        "[1, 2]",
        "[1.0,2]",
        "[{\"b\":1,\"a\":2}]",
        "[{\"a\":2, \"b\":1e0}]",
        "{}",
        "[]",
    ];
    if depth < 3 && random.random_ratio(2, 5) {
        object(random, depth + 1)
    } else {
        SCALARS[random.random_range(0..SCALARS.len())].to_owned()
    }
}

fn object(random: &mut StdRng, depth: usize) -> String {
    const KEYS: &[&str] = &["a", "b", "a/b", "~c", "é", "", "__proto__"];
    let members: Vec<String> = (0..random.random_range(0..4))
        .map(|_| format!("\"{}\" :{}", KEYS[random.random_range(0..KEYS.len())], value(random, depth)))
        .collect();
    format!("{{ {} }}", members.join(", "))
}

/// One change, for both.
struct Change {
    draft: String,
    patch: String,
    base: Option<u64>,
}

/// What became of it: version and number, or the code of the refusal.
type Outcome = Result<(u64, Option<u64>), String>;

async fn with_sql(connection: &mut PgConnection, change: &Change) -> Outcome {
    let put = "SELECT version, seq FROM draftwire.put_draft('sql', $1, $2::text, kind => 'note', base_version => $3, origin => 'phone')";
    let done = sqlx::query(put)
        .bind(&change.draft)
        .bind(&change.patch)
        .bind(change.base.map(|base| i64::try_from(base).unwrap()))
        .fetch_one(connection)
        .await;
    match done {
        Ok(row) => {
            let (version, seq): (i64, Option<i64>) = (row.get(0), row.get(1));
            Ok((version.unsigned_abs(), seq.map(i64::unsigned_abs)))
        }
        Err(error) => Err(error.as_database_error().unwrap().code().unwrap().into_owned()),
    }
}

fn created(patch: &Object) -> Object {
    let none = FieldVersions::default();
    match merge(Object::new(), &none, Version(0), Version(0), patch) {
        Merge::Merged { content, .. } => content,
        Merge::Unchanged => Object::new(),
        Merge::Conflict { .. } => panic!("nothing has changed"),
    }
}

async fn with_a_node(store: &Arc<dyn Store>, change: &Change) -> Outcome {
    let patch = own_object(&change.patch).unwrap();
    let draft_id = draft_id(&change.draft);
    let exists = store.draft(&user("node"), &draft_id).await.unwrap().is_some();
    let op = if exists || change.base.is_some() {
        let base = change.base.map_or(Base::Current, |base| Base::Merge(Version(base)));
        DraftOp::Update { draft_id, base, patch }
    } else {
        DraftOp::Create { draft_id, kind: "note".parse().unwrap(), content: created(&patch) }
    };
    let write = Write { user: user("node"), device: "phone".parse().unwrap(), id: None, op: Op::Draft(op) };
    match one(store, write).await {
        Ok(done) => Ok((done.draft().unwrap().version.0, done.seq().map(|seq| seq.0))),
        Err(refusal) => Err(match refusal {
            Refusal::NotFound => "DW404",
            Refusal::Conflict { .. } => "DW409",
            Refusal::TooLarge(_) => "DW413",
            Refusal::BadRequest(_) => "DW400",
            other => panic!("{other:?}"),
        }
        .to_owned()),
    }
}

/// The drafts and the events of a user, without their times.
async fn stored(connection: &mut PgConnection, user: &str) -> Vec<String> {
    let drafts =
        "SELECT concat_ws(' ', draft_id, version, kind, content, fields::jsonb, live) FROM draftwire.drafts
                  WHERE user_id = $1 ORDER BY draft_id";
    let events = "SELECT concat_ws(' ', seq, kind, origin, priority, payload) FROM draftwire.events
                  WHERE stream = 'user:' || $1 ORDER BY seq";
    let mut stored: Vec<String> =
        sqlx::query_scalar(drafts).bind(user).fetch_all(&mut *connection).await.unwrap();
    stored.extend(sqlx::query_scalar::<_, String>(events).bind(user).fetch_all(connection).await.unwrap());
    stored
}

async fn scene(limits: Limits) -> (Server, Arc<dyn Store>, PgConnection) {
    let database = server().await;
    let store = database.store(crate::fixture::PATIENT, limits);
    store.migrate().await.unwrap();
    store.prepare().await.unwrap();
    let connection = PgConnection::connect(&database.url).await.unwrap();
    (database, store, connection)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_changes_make_the_same_drafts_and_events() {
    let limits = Limits { drafts_per_user_max: 3, draft_bytes_max: 120, ..LIMITS };
    let (_database, store, mut connection) = scene(limits).await;
    let mut refused = 0;
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        for nth in 0..CHANGES {
            let change = Change {
                draft: format!("d{}", random.random_range(0..5)),
                patch: object(&mut random, 0),
                base: random.random_ratio(1, 2).then(|| random.random_range(0..8)),
            };
            let by_sql = with_sql(&mut connection, &change).await;
            let by_node = with_a_node(&store, &change).await;
            assert_eq!(by_sql, by_node, "seed {seed}, change {nth}: {:?} {}", change.base, change.patch);
            refused += usize::from(by_sql.is_err());
        }
        assert_eq!(
            stored(&mut connection, "sql").await,
            stored(&mut connection, "node").await,
            "seed {seed}"
        );
        sqlx::raw_sql("TRUNCATE draftwire.drafts, draftwire.events, draftwire.streams")
            .execute(&mut connection)
            .await
            .unwrap();
    }
    assert!(refused > 100, "{refused}: conflicts and limits are among them");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_forgotten_alike() {
    let (_database, store, mut connection) = scene(LIMITS).await;
    let long = "k".repeat(400);
    let many = |from: usize, to: usize, value: usize, key: &str| {
        let members: Vec<String> = (from..to).map(|n| format!("\"{key}{n}\":{value}")).collect();
        format!("{{\"in\":{{{}}}}}", members.join(","))
    };
    let patches = [
        many(0, 300, 1, "a"),
        many(0, 300, 2, "a"),
        many(200, 600, 3, "a"),
        many(0, 600, 4, "a"),
        many(0, 10, 5, "a"),
        many(0, 60, 6, &long),
        many(40, 90, 7, &long),
        "{\"in\":{\"a1\":{\"deep\":{\"er\":1}}}}".to_owned(),
        "{\"in\":{\"a1\":null}}".to_owned(),
        "{\"in\":8}".to_owned(),
    ];
    for (nth, patch) in patches.into_iter().enumerate() {
        for base in [None, Some(nth as u64 / 2)] {
            let change = Change { draft: "d".to_owned(), patch: patch.clone(), base };
            assert_eq!(
                with_sql(&mut connection, &change).await,
                with_a_node(&store, &change).await,
                "patch {nth} on {base:?}"
            );
        }
    }
    assert_eq!(stored(&mut connection, "sql").await, stored(&mut connection, "node").await);
}

/// An id whose draft was deleted is not used again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_draft_stays_deleted() {
    let (_database, store, mut connection) = scene(LIMITS).await;
    one(&store, crate::fixture::create("sql", "d", serde_json::json!({}))).await.unwrap();
    one(&store, crate::fixture::delete("sql", "d", None)).await.unwrap();
    let change = Change { draft: "d".to_owned(), patch: "{\"a\":1}".to_owned(), base: None };
    assert_eq!(with_sql(&mut connection, &change).await, Err("DW409".to_owned()));
    assert!(store.drafts(&user("sql")).await.unwrap().drafts.is_empty());
}
