//! The functions of docs/sql.md: what they take and refuse, whose they are, and that they commit with the
//! caller's transaction or not at all.

use std::{sync::Arc, time::Duration};

use common::{Stream, UserId, protocol::NewEvent};
use gateway::store::{Limits, Lock, Refusal, Store};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use crate::{
    fixture::{LIMITS, PATIENT, append, appended, create, log_of, one, with_id},
    postgres::{Server, server},
};

pub(crate) struct Scene {
    pub(crate) database: Server,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sql: PgConnection,
}

impl Scene {
    pub(crate) async fn new(limits: Limits) -> Self {
        let database = server().await;
        let store = database.store(PATIENT, limits);
        store.migrate().await.unwrap();
        store.prepare().await.unwrap();
        let sql = PgConnection::connect(&database.url).await.unwrap();
        Self { database, store, sql }
    }

    async fn log(&self, stream: &str) -> Vec<String> {
        log_of(&self.store, &stream.parse().unwrap()).await
    }

    /// Everything that functions write, counted.
    async fn rows(&mut self) -> i64 {
        let rows = "SELECT (SELECT count(*) FROM draftwire.streams) + (SELECT count(*) FROM draftwire.events)
            + (SELECT count(*) FROM draftwire.drafts) + (SELECT count(*) FROM draftwire.commands)
            + (SELECT count(*) FROM draftwire.notices)";
        sqlx::query_scalar(rows).fetch_one(&mut self.sql).await.unwrap()
    }
}

pub(crate) async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// The number that a call answers, or its SQLSTATE and message.
async fn call(connection: &mut PgConnection, call: &str) -> Result<i64, (String, String)> {
    let row = sqlx::raw_sql(AssertSqlSafe(format!("SELECT draftwire.{call}"))).fetch_one(connection).await;
    row.map(|row| row.get(0)).map_err(|error| {
        let error = error.into_database_error().expect("an answer of the server");
        (error.code().unwrap().into_owned(), error.message().to_owned())
    })
}

const BAD: &[(&str, &str, &str)] = &[
    ("publish(NULL, 'E')", "DW400", "bad_request: topic is missing"),
    (
        "publish('', 'E')",
        "DW400",
        "bad_request: topic must be 1 to 128 characters of A-Z a-z 0-9 : _ . -, and not",
    ),
    ("publish('..', 'E')", "DW400", "bad_request: topic must be"),
    ("publish('a b', 'E')", "DW400", "bad_request: topic must be"),
    ("publish('a' || chr(10), 'E')", "DW400", "bad_request: topic must be"),
    ("publish(repeat('a', 129), 'E')", "DW400", "bad_request: topic must be"),
    ("publish('t', NULL)", "DW400", "bad_request: event is missing"),
    ("publish('t', 'goal')", "DW400", "bad_request: event must be 1 to 64 characters of A-Z 0-9 _"),
    ("publish('t', repeat('A', 65))", "DW400", "bad_request: event must be"),
    ("publish('t', 'DRAFT_UPDATED')", "DW400", "bad_request: DRAFT_UPDATED is reserved for the server"),
    ("publish('t', 'E', '{')", "DW400", "bad_request: data must be JSON"),
    ("publish('t', 'E', '')", "DW400", "bad_request: data must be JSON"),
    ("publish('t', 'E', '{} {}')", "DW400", "bad_request: data must be JSON"),
    ("publish('t', 'E', '\"\\ud83d\"'::json)", "DW400", "bad_request: data holds half of a surrogate pair"),
    (
        "publish('t', 'E', '[1e400]'::jsonb)",
        "DW400",
        "bad_request: data holds a number beyond what a double reaches",
    ),
    (
        "publish('t', 'E', repeat('[', 101) || repeat(']', 101))",
        "DW400",
        "bad_request: data is nested deeper than 100",
    ),
    ("publish('t', 'E', repeat('[', 90000))", "DW400", "bad_request: data is nested deeper than 100 levels"),
    (
        "publish('t', 'E', to_json(repeat('x', 100000)))",
        "DW413",
        "too_large: the data of an event is 100002 bytes, at most 100000",
    ),
    (
        "publish('t', 'E', priority => 'urgent')",
        "DW400",
        "bad_request: priority must be normal, high or critical",
    ),
    ("publish('t', 'E', key => '')", "DW400", "bad_request: key must be 1 to 64 characters"),
    ("publish('t', 'E', key => repeat('k', 65))", "DW400", "bad_request: key must be"),
    ("publish('t', 'E', origin => '')", "DW400", "bad_request: origin must be 1 to 64 characters"),
    ("publish_user('.', 'E')", "DW400", "bad_request: user_id must be 1 to 255 characters, and not . or .."),
    ("publish_user(' ann', 'E')", "DW400", "bad_request: user_id must be without blanks at its ends"),
    (
        "publish_user('a' || chr(8238), 'E')",
        "DW400",
        "bad_request: user_id must be without characters that change",
    ),
    (
        "publish_user('a' || chr(133), 'E')",
        "DW400",
        "bad_request: user_id must be without control characters",
    ),
    ("broadcast(NULL)", "DW400", "bad_request: event is missing"),
    ("put_draft(NULL, 'd', '{}')", "DW400", "bad_request: user_id is missing"),
    ("put_draft('ann', 'a/b', '{}')", "DW400", "bad_request: draft_id must be 1 to 64 characters"),
    ("put_draft('ann', 'd', NULL::text)", "DW400", "bad_request: patch is missing"),
    ("put_draft('ann', 'd', '[]')", "DW400", "bad_request: patch must be an object"),
    ("put_draft('ann', 'd', '{\"a\":')", "DW400", "bad_request: patch must be JSON"),
    ("put_draft('ann', 'd', '{\"a\":\"\\u0000\"}')", "DW400", "bad_request: patch holds \\u0000"),
    ("put_draft('ann', 'd', '{}', kind => 'a b')", "DW400", "bad_request: kind must be 1 to 64 characters"),
    ("put_draft('ann', 'd', '{}', base_version => 1)", "DW404", "not_found: there is no such draft"),
    (
        "put_draft('ann', 'd', json_build_object('a', repeat('x', 100000)))",
        "DW413",
        "too_large: the draft would be",
    ),
    (
        "put_draft('ann', 'd', json_build_object('a', repeat('x', 1048576)))",
        "DW413",
        "too_large: the patch is",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_by_name_and_leaves_nothing() {
    let mut scene = Scene::new(LIMITS).await;
    for (bad, state, message) in BAD {
        let (found_state, found) = call(&mut scene.sql, bad).await.expect_err(bad);
        assert_eq!(found_state, *state, "{bad}: {found}");
        assert!(found.starts_with(message), "{bad}: {found}");
        assert!(found.len() <= 512, "{bad}: {found}");
    }
    assert_eq!(scene.rows().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_names_are_taken_as_clients_may_send_them() {
    let mut scene = Scene::new(LIMITS).await;
    let deep = |levels: usize| format!("{}1{}", "{\"a\":[".repeat(levels / 2), "]}".repeat(levels / 2));
    let texts = [
        "null",
        " 1.50 ",
        "-0",
        "[1e308, 1.7976931348623157e308, 1e-400, 123456789012345678901234567890]",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "-1e309",
        "\"1e400\"",
        "{\"1e400\":1}",
        "[0.1e310]",
        "\"\\u0000\\\\u0000\\\\\\u0000\"",
        "{\"\\u0000\":1}",
        "\"\\ud83d\\ude00\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "{\"a\":1,\"a\":2}",
        "\u{feff}1",
        "01",
        "'a'",
        "\"a",
        "[1,]",
        "\"\u{1}\"",
        "nul",
        "1 2",
        "\"\\x\"",
        &deep(100),
        &deep(102),
        &format!("1{}", "0".repeat(308)),
        &format!("1{}", "0".repeat(309)),
    ];
    let mut taken = Vec::new();
    for text in texts {
        let by_client = NewEvent::from_json(&format!("{{\"event\":\"E\",\"data\":{text}}}"));
        let publish = "SELECT draftwire.publish('t', 'E', $1::text)";
        let by_sql = sqlx::query_scalar::<_, i64>(publish).bind(text).fetch_one(&mut scene.sql).await;
        assert_eq!(by_sql.is_ok(), by_client.is_ok(), "{text}: {by_sql:?} {by_client:?}");
        if let Ok(event) = by_client {
            taken.push(format!("E {}", event.data.into_raw()));
        }
    }
    assert_eq!(scene.log("topic:t").await, taken, "to the byte");
    for c in (0x1..0x3100_u32).chain([0xfeff, 0xfffd, 0x1_f600]).filter_map(char::from_u32) {
        for user in [format!("a{c}b"), format!("{c}b"), format!("b{c}")] {
            let by_sql = sqlx::query("SELECT draftwire.check_visible('user_id', $1, 255, true)")
                .bind(&user)
                .execute(&mut scene.sql)
                .await;
            assert_eq!(by_sql.is_ok(), user.parse::<UserId>().is_ok(), "{user:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_every_type_is_taken_as_it_is() {
    let mut scene = Scene::new(LIMITS).await;
    for (good, seq) in [
        ("publish('t', 'E', '{\"a\": 1.50}')", 1),
        ("publish('t', 'E', '{\"a\": 1.50}'::json, 'high')", 2),
        ("publish('t', 'E', '{\"b\": 1.50, \"a\":1e1}'::jsonb, priority => 'critical', key => 'k')", 3),
        ("publish('t', 'E')", 4),
        ("publish('t', 'E', NULL::jsonb, origin => 'desk 2')", 5),
        ("publish('t', event => 'E', data => 'true')", 6),
        ("publish_user('ann', 'E', '1'::json)", 1),
        ("publish_user('ann', 'E', '1'::jsonb, key => 'k2')", 2),
        ("publish_user('ann', 'E', key => 'k3')", 3),
        ("broadcast('E', '1'::json)", 1),
        ("broadcast('E', '1'::jsonb)", 2),
        ("broadcast('E', '1', 'high', 'k4', 'o')", 3),
    ] {
        assert_eq!(call(&mut scene.sql, good).await, Ok(seq), "{good}");
    }
    let log =
        ["E {\"a\": 1.50}", "E {\"a\": 1.50}", "E {\"a\": 10, \"b\": 1.50}", "E null", "E null", "E true"];
    assert_eq!(scene.log("topic:t").await, log);
    let rows = "SELECT string_agg(priority || ' ' || origin, ', ' ORDER BY seq) FROM draftwire.events
                WHERE stream = 'topic:t'";
    let rows: String = sqlx::query_scalar(rows).fetch_one(&mut scene.sql).await.unwrap();
    assert_eq!(rows, "0 sql, 1 sql, 2 sql, 0 sql, 0 desk 2, 0 sql");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_commits_with_the_rows_of_the_application() {
    let mut scene = Scene::new(LIMITS).await;
    run(&mut scene.sql, "CREATE TABLE orders (id int PRIMARY KEY)").await;
    let order = |id: i32| {
        format!(
            "INSERT INTO orders VALUES ({id}); SELECT draftwire.publish('orders', 'ORDER_PLACED', '{id}', key => '{id}');
             SELECT draftwire.put_draft('ann', 'cart', '{{\"placed\": {id}}}')"
        )
    };
    for (id, end) in [(1, "COMMIT"), (2, "ROLLBACK"), (3, "COMMIT"), (2, "COMMIT")] {
        run(&mut scene.sql, &format!("BEGIN; {}; {end}", order(id))).await;
    }
    assert_eq!(scene.log("topic:orders").await, ["ORDER_PLACED 1", "ORDER_PLACED 3", "ORDER_PLACED 2"]);
    assert_eq!(scene.log("user:ann").await.len(), 3);
    let failed = format!("{}; INSERT INTO orders VALUES (1)", order(4));
    assert!(sqlx::raw_sql(AssertSqlSafe(failed)).execute(&mut scene.sql).await.is_err());
    assert_eq!(scene.log("topic:orders").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_used_once() {
    let mut scene = Scene::new(LIMITS).await;
    let publish = "publish('t', 'E', '{\"a\": 1, \"b\": 2}', key => 'k')";
    for _ in 0..2 {
        run(&mut scene.sql, &format!("BEGIN; SELECT draftwire.{publish}; ROLLBACK")).await;
    }
    for again in [publish, publish, "publish('t', 'E', '{\"b\":2,\"a\":1}'::json, key => 'k')"] {
        assert_eq!(call(&mut scene.sql, again).await, Ok(1), "{again}");
    }
    for other in [
        "publish('t', 'E', '{\"a\": 2}', key => 'k')",
        "publish('u', 'E', '{\"a\": 1, \"b\": 2}', key => 'k')",
        "publish('t', 'F', '{\"a\": 1, \"b\": 2}', key => 'k')",
        "publish('t', 'E', '{\"a\": 1, \"b\": 2}', 'high', key => 'k')",
    ] {
        let refused = call(&mut scene.sql, other).await.expect_err(other);
        assert_eq!(
            refused,
            ("DW400".into(), "bad_request: this key was already used for another call".into())
        );
    }
    let put = "SELECT version, seq FROM draftwire.put_draft('ann', 'd', '{\"a\": 1}', key => 'p')";
    for _ in 0..2 {
        let row = sqlx::query(put).fetch_one(&mut scene.sql).await.unwrap();
        assert_eq!((row.get(0), row.get(1)), (1_i64, 1_i64));
    }
    assert_eq!((scene.log("topic:t").await.len(), scene.log("user:ann").await.len()), (1, 1));
    // What clients ask for under the same key is theirs.
    assert_eq!(appended(&one(&scene.store, with_id("k", append("topic:t", &["E"]))).await.unwrap()), (2, 2));
}

/// Of two transactions that use a key at once the second waits for the first, and repeats it or does it.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_being_used_is_waited_for() {
    let mut scene = Scene::new(LIMITS).await;
    for (end, seq) in [("ROLLBACK", 1), ("COMMIT", 2)] {
        let mut other = PgConnection::connect(&scene.database.url).await.unwrap();
        let publish = format!("publish('t', 'E', '1', key => '{end}')");
        run(&mut scene.sql, &format!("BEGIN; SELECT draftwire.{publish}")).await;
        let waiting = tokio::spawn(async move { call(&mut other, &publish).await });
        scene.database.until_blocked().await;
        run(&mut scene.sql, end).await;
        assert_eq!(waiting.await.unwrap(), Ok(seq), "{end}");
    }
    assert_eq!(scene.log("topic:t").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_transaction_is_refused() {
    let mut scene = Scene::new(LIMITS).await;
    for publish in ["broadcast('E')", "put_draft('ann', 'd', '{}')"] {
        run(&mut scene.sql, "BEGIN READ ONLY").await;
        let refused = call(&mut scene.sql, publish).await;
        assert_eq!(refused, Err(("DW403".into(), "forbidden: the transaction is read-only".into())));
        run(&mut scene.sql, "ROLLBACK").await;
    }
}

/// What followers have seen must not be taken back by a crash of the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_publishes_waits_for_the_disk() {
    let mut scene = Scene::new(LIMITS).await;
    let setting = "SELECT current_setting('synchronous_commit')";
    for (set, after) in [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")] {
        run(
            &mut scene.sql,
            &format!("SET synchronous_commit = {set}; BEGIN; SELECT draftwire.broadcast('E')"),
        )
        .await;
        let found: String = sqlx::query_scalar(setting).fetch_one(&mut scene.sql).await.unwrap();
        assert_eq!(found, after);
        run(&mut scene.sql, "COMMIT").await;
        let found: String = sqlx::query_scalar(setting).fetch_one(&mut scene.sql).await.unwrap();
        assert_eq!(found, set, "and no other");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_publishers_may_call_them_and_they_may_do_nothing_else() {
    let mut scene = Scene::new(LIMITS).await;
    run(
        &mut scene.sql,
        "DROP ROLE IF EXISTS shop, stranger; CREATE ROLE shop LOGIN; CREATE ROLE stranger LOGIN;
         GRANT draftwire_publisher TO shop; GRANT CREATE ON SCHEMA public TO shop",
    )
    .await;
    let as_role = |role: &str| scene.database.url.replace("//postgres@", &format!("//{role}@"));
    let mut stranger = PgConnection::connect(&as_role("stranger")).await.unwrap();
    let mut shop = PgConnection::connect(&as_role("shop")).await.unwrap();
    let refused = call(&mut stranger, "broadcast('E')").await.unwrap_err();
    assert_eq!(refused.0, "42501", "insufficient_privilege: {refused:?}");
    run(&mut scene.sql, "GRANT USAGE ON SCHEMA draftwire TO stranger").await;
    for publish in ["broadcast('E')", "publish('t', 'E', '1'::jsonb)", "put_draft('a', 'd', '{}')"] {
        assert_eq!(call(&mut stranger, publish).await.unwrap_err().0, "42501", "{publish}");
    }
    for table in ["events", "streams", "drafts", "commands", "notices", "limits"] {
        let read =
            sqlx::raw_sql(AssertSqlSafe(format!("SELECT * FROM draftwire.{table}"))).execute(&mut shop).await;
        assert_eq!(read.unwrap_err().as_database_error().unwrap().code().unwrap(), "42501", "{table}");
    }
    // Tables and functions of the caller that bear the same names.
    run(
        &mut shop,
        "CREATE TEMP TABLE streams (name text, head bigint, trap int NOT NULL);
         CREATE TEMP TABLE events (LIKE streams); CREATE TEMP TABLE limits (event_bytes_max bigint);
         CREATE FUNCTION public.append(text, text, text, text, text, text) RETURNS bigint LANGUAGE sql
            AS 'SELECT -1::bigint';
         SET search_path = pg_temp, public",
    )
    .await;
    assert_eq!(call(&mut shop, "broadcast('E', '1'::json)").await, Ok(1));
    assert_eq!(call(&mut shop, "publish('t', 'E')").await, Ok(1));
    assert_eq!(scene.log("all").await, ["E 1"]);
    run(&mut scene.sql, "DROP OWNED BY shop, stranger; DROP ROLE shop, stranger").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_held_by_a_transaction_keeps_no_other_back() {
    let mut scene = Scene::new(LIMITS).await;
    run(&mut scene.sql, "BEGIN; SELECT draftwire.publish('new', 'E', '1', key => 'k')").await;
    run(&mut scene.sql, "SELECT draftwire.put_draft('ann', 'd', '{\"a\": 1}')").await;
    let writes = [
        append("topic:new", &["E 2"]),
        create("bob", "d", json!({})),
        create("ann", "d", json!({})),
        append("topic:other", &["E 2"]),
        with_id("k", append("all", &["E 2"])),
    ];
    let committed = scene.store.commit_within(&writes, Duration::from_millis(20)).await.unwrap();
    for (answer, held) in committed.answers.iter().zip([true, false, true, false, false]) {
        let locked = matches!(answer, Err(Refusal::Locked(Lock::Stream)));
        assert_eq!(locked, held, "{answer:?}");
        assert_eq!(answer.is_ok(), !held, "{answer:?}");
    }
    run(&mut scene.sql, "COMMIT").await;
    let committed = scene.store.commit_within(&writes[..1], Duration::from_millis(20)).await.unwrap();
    assert_eq!(appended(committed.answers[0].as_ref().unwrap()), (2, 2));
    let conflict = one(&scene.store, create("ann", "d", json!({}))).await;
    assert!(matches!(conflict, Err(Refusal::Conflict { .. })), "{conflict:?}");
}

/// Stricter levels see the streams as they were: who was overtaken is told to try again, and nothing is skipped.
#[tokio::test(flavor = "multi_thread")]
async fn stricter_isolation_fails_rather_than_skips() {
    let mut scene = Scene::new(LIMITS).await;
    run(&mut scene.sql, "SELECT draftwire.broadcast('E')").await;
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        run(&mut scene.sql, &format!("BEGIN ISOLATION LEVEL {level}; SELECT 1 FROM pg_class LIMIT 1")).await;
        one(&scene.store, append("all", &["F"])).await.unwrap();
        assert_eq!(call(&mut scene.sql, "broadcast('E')").await.unwrap_err().0, "40001");
        run(&mut scene.sql, "ROLLBACK").await;
        run(
            &mut scene.sql,
            &format!("BEGIN ISOLATION LEVEL {level}; SELECT draftwire.broadcast('E'); COMMIT"),
        )
        .await;
    }
    assert_eq!(scene.log("all").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_are_those_of_the_nodes() {
    let mut scene = Scene::new(Limits { event_bytes_max: 10, ..LIMITS }).await;
    assert_eq!(call(&mut scene.sql, "broadcast('E', '12345678901')").await.unwrap_err().0, "DW413");
    let other = scene.database.store(PATIENT, Limits { event_bytes_max: 11, ..LIMITS });
    other.prepare().await.unwrap();
    assert_eq!(call(&mut scene.sql, "broadcast('E', '12345678901')").await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn old_notices_are_removed_and_those_of_another_server_too() {
    let mut scene = Scene::new(LIMITS).await;
    let mut node = scene.store.notices().await.unwrap().unwrap();
    run(&mut scene.sql, "SELECT draftwire.broadcast('E')").await;
    let stray = "INSERT INTO draftwire.notices VALUES (1000000000000, 'topic:t', 1)";
    run(&mut scene.sql, stray).await;
    // One that began long ago, and has not committed.
    let mut open = PgConnection::connect(&scene.database.url).await.unwrap();
    run(&mut open, "BEGIN; SELECT draftwire.publish('late', 'E')").await;
    let rows = "SELECT count(*) FROM draftwire.notices";
    let deadline = std::time::Instant::now() + 2 * PATIENT;
    while sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut scene.sql).await.unwrap() > 0 {
        assert!(std::time::Instant::now() < deadline, "they stay");
        node.next().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    run(&mut open, "COMMIT").await;
    let streams = node.next().await.unwrap().streams;
    assert_eq!(streams, [("topic:late".parse::<Stream>().unwrap(), common::Seq(1))]);
}
