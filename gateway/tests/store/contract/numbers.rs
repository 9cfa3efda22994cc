//! What the store keeps of numbers: their text.

use common::json::own_object;
use gateway::store::{DraftOp, Op, Write};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use serde_json::json;

use crate::fixture::*;

/// Any number of JSON whose magnitude a double reaches.
fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-2]?[0-9]{1,2})?"
}

/// A member of an object: few names, so that patches meet contents.
fn members() -> impl Strategy<Value = std::collections::BTreeMap<String, String>> {
    prop::collection::btree_map("[a-f]", number(), 1..6)
}

fn text(members: &std::collections::BTreeMap<String, String>) -> String {
    let members: Vec<_> = members.iter().map(|(name, number)| format!(r#""{name}":{number}"#)).collect();
    format!("{{{}}}", members.join(","))
}

fn with_object(mut write: Write, text: &str) -> Write {
    let (Op::Draft(DraftOp::Create { content: object, .. })
    | Op::Draft(DraftOp::Update { patch: object, .. })) = &mut write.op
    else {
        panic!("{write:?}")
    };
    *object = own_object(text).unwrap();
    write
}

/// Creates, merges, lists and reads back, many times with numbers of chance.
pub(crate) async fn numbers_keep_their_text(database: &dyn Database) {
    let store = database.open(LIMITS).await;
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Default::default(), seed);
    let mut next = || members().new_tree(&mut runner).unwrap().current();
    for n in 0..20 {
        let (name, mut kept, patch) = (format!("user{n}"), next(), next());
        let (before, patch_text) = (text(&kept), text(&patch));
        let created = with_object(create(&name, "d", json!({})), &before);
        one(&store, created).await.unwrap();
        let updated = with_object(update(&name, "d", 1, json!({})), &patch_text);
        let done = one(&store, updated.clone()).await.unwrap();
        let event = append(&format!("user:{name}"), &[&format!("NOTE {patch_text}")]);
        one(&store, event).await.unwrap();
        let value = |text: &str| own_object(&format!(r#"{{"n":{text}}}"#)).unwrap();
        for (name, number) in patch {
            // Another notation of what stands there is no change.
            if kept.get(&name).is_none_or(|stands| value(stands) != value(&number)) {
                kept.insert(name, number);
            }
        }
        let store = database.open(LIMITS).await;
        let list = store.drafts(&user(&name)).await.unwrap();
        assert_eq!(list.drafts[0].content.get(), text(&kept));
        let draft = store.draft(&user(&name), &draft_id("d")).await.unwrap().unwrap();
        assert_eq!(draft.content.get(), text(&kept));
        let log = log(&store, &name).await;
        assert!(log[0].ends_with(&format!(r#""content":{before}}}"#)), "{}", log[0]);
        if numbers(&done).1.is_some() {
            assert!(log[1].ends_with(&format!(r#""patch":{patch_text}}}"#)), "{}", log[1]);
        }
        assert_eq!(*log.last().unwrap(), format!("NOTE {patch_text}"));
    }
}
