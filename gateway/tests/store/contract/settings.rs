//! Settings that are changed at run time: the table, and the stream that tells of it.

use common::{Stream, protocol::NewEvent};
use gateway::store::{
    Store,
    settings::{NewSettingChange, SettingChange},
};

use crate::fixture::*;

/// A change of a setting after the last ones.
fn next(last: &[SettingChange], name: &str, value: Option<&str>) -> NewSettingChange {
    let version = last.last().map_or(0, |change| change.version) + 1;
    let change = SettingChange {
        version,
        name: name.to_owned(),
        value: value.map(str::to_owned),
        otherwise: None,
        percent: 100,
        by: "node".to_owned(),
        reason: Some("größer".to_owned()),
        who: "operator".parse().unwrap(),
        at: 7,
    };
    let event = NewEvent::from_json(&format!(r#"{{"event":"SETTING_CHANGED","data":{version}}}"#)).unwrap();
    NewSettingChange { change, event, origin: "http".parse().unwrap() }
}

async fn change(store: &dyn Store, name: &str, value: Option<&str>) -> SettingChange {
    let mut decide = |last: &[SettingChange]| Some(next(last, name, value));
    let changed = store.change_setting(&mut decide).await.unwrap().unwrap();
    assert_eq!(changed.event.stream, Stream::Control);
    changed.change
}

pub(crate) async fn a_setting_changes_with_its_event(database: &dyn Database) {
    let store = database.node().await;
    assert_eq!(store.settings().await.unwrap(), []);
    let first = change(&*store, "A", Some("1")).await;
    let second = change(&*store, "B", Some("2")).await;
    assert_eq!(store.settings().await.unwrap(), [first.clone(), second.clone()]);
    // Refused: nothing is left behind.
    assert!(store.change_setting(&mut |_| None).await.unwrap().is_none());
    let third = change(&*store, "A", None).await;
    assert_eq!(store.settings().await.unwrap(), [second.clone(), third.clone()]);
    assert_eq!(log_of(&store, &Stream::Control).await.len(), 3);
    let history = async |name, before, most| store.settings_history(name, before, most).await.unwrap();
    assert_eq!(history(None, u64::MAX, 9).await, [third.clone(), second, first.clone()]);
    assert_eq!(history(Some("A"), u64::MAX, 9).await, [third, first.clone()]);
    assert_eq!(history(Some("A"), 3, 1).await, [first]);
}

pub(crate) async fn changes_of_several_nodes_are_in_one_order(database: &dyn Database) {
    const NODES: u64 = 4;
    const EACH: u64 = 8;
    let mut nodes = Vec::new();
    for node in 0..NODES {
        let store = database.node().await;
        nodes.push(tokio::spawn(async move {
            for round in 0..EACH {
                change(&*store, &format!("S{}", (node + round) % 3), Some(&format!("{node}-{round}"))).await;
            }
        }));
    }
    for node in nodes {
        node.await.unwrap();
    }
    let store = database.node().await;
    let history = store.settings_history(None, u64::MAX, 100).await.unwrap();
    let versions: Vec<_> = history.iter().rev().map(|change| change.version).collect();
    assert_eq!(versions, (1..=NODES * EACH).collect::<Vec<_>>(), "each decided on the one before");
    let last = store.settings().await.unwrap();
    for setting in &last {
        let newest = history.iter().find(|change| change.name == setting.name);
        assert_eq!(newest, Some(setting));
    }
    assert_eq!(log_of(&store, &Stream::Control).await.len() as u64, NODES * EACH);
}
