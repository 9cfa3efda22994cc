//! Names and contents of every kind are kept as they are; damaged rows are not taken for contents.

use common::Seq;
use fanout::log::Read;
use gateway::store::StoreError;
use serde_json::{Value, json};

use crate::fixture::*;

pub(crate) async fn texts_survive_as_they_are(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let odd: Value = serde_json::from_str(
        r#"{"nul": "a\u0000b", "\u0000": 1, "quote": "\"\\'$1%{}", "é😀\uFFFF": "\u202e\ufeff",
            "line": "\u2028\n", "big": 18446744073709551615, "small": -9223372036854775808,
            "float": 1.7976931348623157e308, "tiny": 5e-324, "whole": 1.0, "deep": [[[{"a": [null]}]]], "": ""}"#,
    )
    .unwrap();
    let name = "ünï ☃ 'user' \"x\" \\ {a,b} ,:/%";
    let mut write = with_id("ïd ☃ {1}", create(name, "d", odd.clone()));
    write.device = "🤖 'phone', NULL".parse().unwrap();
    let done = one(&store, write.clone()).await.unwrap();
    one(&store, update(name, "d", 1, json!({"nul": "\u{0}", "NULL": "null"}))).await.unwrap();
    let store = database.open(LIMITS).await;
    assert_eq!(one(&store, write.clone()).await.unwrap(), done);
    let list = store.drafts(&user(name)).await.unwrap();
    let mut expected = odd.clone();
    expected["nul"] = json!("\u{0}");
    expected["NULL"] = json!("null");
    assert_eq!(content(&list.drafts[0]), expected);
    assert_eq!(list.drafts[0].content.get(), expected.to_string());
    let events = events(&store, name, 0, 10).await;
    assert_eq!(events[0].origin, write.device);
    let payload: Value = serde_json::from_str(events[0].payload.get()).unwrap();
    assert_eq!(payload["content"], odd);
}

/// Users are as long as OpenID Connect allows, and then some bytes: the keys of the tables must hold them.
pub(crate) async fn the_longest_names_are_kept(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    // Of many characters, so that no index can compress it.
    let of_many = |count: u32| -> String {
        (0..count).map(|n| char::from_u32(0x1_f300 + n * 7 % 0x300).unwrap()).collect()
    };
    let (ann, bob) = (of_many(255), format!("{}!", of_many(254)));
    let draft = "d".repeat(64);
    for name in [&ann, &bob] {
        let mut write = with_id(&of_many(64), create(name, &draft, json!({"of": name})));
        write.device = of_many(64).parse().unwrap();
        let done = one(&store, write.clone()).await.unwrap();
        assert_eq!(numbers(&done), (1, Some(1)));
        assert_eq!(numbers(&one(&store, write).await.unwrap()), (1, Some(1)), "it is remembered");
        let list = store.drafts(&user(name)).await.unwrap();
        assert_eq!(content(&list.drafts[0]), json!({"of": name}));
        assert_eq!(log(&store, name).await.len(), 1);
    }
}

pub(crate) async fn no_key_of_a_content_has_a_meaning(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    // The name under which serde_json hides raw values.
    let private = json!({"a": {"$serde_json::private::RawValue": "{\"x\":1}"}});
    one(&store, create("ann", "d", private.clone())).await.unwrap();
    assert_eq!(store.drafts(&user("ann")).await.unwrap().drafts[0].content.get(), private.to_string());
    one(&store, update("ann", "d", 1, json!({"b": 1}))).await.unwrap();
    let expected = r#"{"a":{"$serde_json::private::RawValue":"{\"x\":1}"},"b":1}"#;
    assert_eq!(store.drafts(&user("ann")).await.unwrap().drafts[0].content.get(), expected);
}

pub(crate) async fn a_row_that_means_nothing_fails_the_call(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    one(&store, create("bob", "d", json!({}))).await.unwrap();
    database.execute("UPDATE drafts SET kind = 'no kind' WHERE user_id = 'ann'").await;
    database.execute("UPDATE events SET kind = 'no kind' WHERE stream = 'user:ann'").await;
    let Err(StoreError::Failed(why)) = store.drafts(&user("ann")).await else { panic!("it was taken") };
    assert!(why.contains("draft d of ann"), "{why}");
    // One that has not written the row itself, and so has to read it.
    let other = database.node().await;
    let failed = other.commit(&[update("ann", "d", 1, json!({"a": 1}))]).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
    let read = Read { stream: stream("ann"), after: Seq(0), limit: 1 };
    assert!(store.read(&[read]).await.is_err());
    one(&store, update("bob", "d", 1, json!({"a": 1}))).await.unwrap();
}

pub(crate) async fn a_closed_store_is_unavailable(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    store.ping().await.unwrap();
    store.close().await;
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    let failed = store.commit(&[create("ann", "d", json!({}))]).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
}
