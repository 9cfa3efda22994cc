//! The cluster as operators see it: its nodes tell each other how they are, one dies, one stops, Redis goes away.

use serde_json::{Value, json};
use testkit::{Cluster, Service, http, token, wait};

use crate::{DEADLINE, bus_is_trusted, patient_cluster, turn};

async fn picture(cluster: &Cluster, node: usize) -> Result<Value, String> {
    let url = cluster.nodes[node].http_url("/v1/admin/cluster");
    let answer = http::get_as(&token::scoped("operator", "admin"), &url).await;
    answer.map(|answer| answer.json).map_err(|error| format!("{error:#}"))
}

/// The nodes of a picture that are not stale, and those that are.
fn names<'a>(picture: &'a Value) -> (Vec<&'a str>, Vec<&'a str>) {
    let nodes = picture["nodes"].as_array().unwrap().iter();
    let (stale, fresh): (Vec<_>, Vec<_>) = nodes.partition(|node| node["stale"] == true);
    let named = |nodes: &[&'a Value]| nodes.iter().filter_map(|node| node["node"].as_str()).collect();
    (named(&fresh), named(&stale))
}

/// Waits until a node sees the cluster like this.
async fn seen(cluster: &Cluster, node: usize, what: &str, so: impl Fn(&Value) -> bool) -> Value {
    wait::until(what, DEADLINE, || async {
        let picture = picture(cluster, node).await?;
        if so(&picture) { Ok(picture) } else { Err(picture.to_string()) }
    })
    .await
}

const ALL: [&str; 3] = ["node1", "node2", "node3"];

fn is_whole(picture: &Value) -> bool {
    picture["complete"] == true && names(picture) == (ALL.to_vec(), Vec::new())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_knows_all_of_them_and_which_is_missing() {
    let _turn = turn().await;
    let mut cluster = patient_cluster().nodes(3).start().await.unwrap();
    bus_is_trusted(&cluster).await;
    let phone = cluster.device("alice", "phone", 0).await;
    let laptop = cluster.device("alice", "laptop", 1).await;
    phone.create("d1", json!({ "title": "Chairs" })).await.unwrap();
    cluster.assert_converged(&[&phone, &laptop], DEADLINE).await;

    // Asked of a node that has no connection itself.
    let whole = seen(&cluster, 2, "three nodes, and the events on two of them", |picture| {
        is_whole(picture)
            && picture["sums"]["connections"]["webSockets"] == 2
            && picture["latency"]["count"] == 2
    })
    .await;
    assert_eq!(whole["node"], "node3");
    let of =
        |name: &str| whole["nodes"].as_array().unwrap().iter().find(|node| node["node"] == name).unwrap();
    assert_eq!(
        (&of("node1")["connections"]["total"], &of("node3")["connections"]["total"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(of("node2")["latency"]["count"], 1, "the histograms of the nodes were added up");
    assert_eq!(
        (&of("node1")["bus"]["kind"], &of("node1")["store"]["kind"]),
        (&json!("redis"), &json!("postgres"))
    );
    assert!(of("node1")["queues"]["pool"]["max"].as_u64() > Some(0), "{whole}");
    assert!(
        of("node1")["processors"].as_f64() >= Some(0.0)
            && of("node1")["memoryBytes"].as_u64() > Some(1 << 20)
    );
    assert_eq!(whole["path"]["changes"], 1);
    let commit = whole["path"]["parts"].as_array().unwrap().iter().find(|part| part["operation"] == "commit");
    assert!(commit.unwrap()["meanMs"].as_f64() > Some(0.0), "{whole}");

    seen(&cluster, 0, "all nodes", is_whole).await;
    asked_of_all(&cluster).await;

    // One is killed, and comes back as another process of that name.
    cluster.nodes[1].kill9();
    let without = seen(&cluster, 0, "node2 is stale", |picture| names(picture).1 == ["node2"]).await;
    assert_eq!((&without["sums"]["nodes"], &without["sums"]["staleNodes"]), (&json!(2), &json!(1)));
    let warnings = without["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|warning| warning["code"] == "node_stale" && warning["node"] == "node2"));
    // One that is frozen just now does not answer, and is named.
    cluster.nodes[2].pause();
    let list = asked(&cluster, "connections").await;
    assert_eq!(list["missing"], json!(["node3"]), "{list}");
    cluster.nodes[2].resume();
    cluster.nodes[1].start_again().await.unwrap();
    seen(&cluster, 0, "node2 is back, once", is_whole).await;

    // One that stops by itself is not missed.
    cluster.nodes[2].terminate();
    cluster.nodes[2].wait_exit(DEADLINE).await.unwrap();
    seen(&cluster, 0, "node3 is gone", |picture| names(picture) == (vec!["node1", "node2"], Vec::new()))
        .await;
}

/// What node1 answers an operator.
async fn asked(cluster: &Cluster, path: &str) -> Value {
    let url = cluster.nodes[0].http_url(&format!("/v1/admin/{path}"));
    let answer = http::get_as(&token::scoped("operator", "admin"), &url).await.unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json
}

/// Asks one node for what only all of them know.
async fn asked_of_all(cluster: &Cluster) {
    let list = asked(cluster, "connections?user=alice").await;
    assert_eq!((&list["missing"], &list["complete"]), (&json!([]), &json!(true)));
    let mut places: Vec<_> =
        list["connections"].as_array().unwrap().iter().map(|one| (&one["device"], &one["node"])).collect();
    places.sort_unstable_by_key(|(device, _)| device.to_string());
    assert_eq!(places, [(&json!("laptop"), &json!("node2")), (&json!("phone"), &json!("node1"))]);
    for one in list["connections"].as_array().unwrap() {
        let own = one["cursors"].as_array().unwrap().iter().find(|cursor| cursor["stream"] == "user:alice");
        assert_eq!((&own.unwrap()["seq"], &own.unwrap()["behind"]), (&json!(1), &json!(0)), "{one}");
    }
    let of_one = asked(cluster, "connections?node=node2").await;
    assert_eq!(of_one["connections"].as_array().unwrap().len(), 1);
    let stream = asked(cluster, "streams/user:alice").await;
    let followers = [json!({ "node": "node1", "count": 1 }), json!({ "node": "node2", "count": 1 })];
    assert_eq!((&stream["head"], &stream["followers"]), (&json!(1), &json!(followers)));
    let operations = asked(cluster, "operations?cluster=true").await;
    let nodes: Vec<_> = operations["nodes"].as_array().unwrap().iter().map(|node| &node["node"]).collect();
    assert_eq!(
        (nodes, &operations["path"]["changes"]),
        (ALL.iter().map(|name| json!(name)).collect::<Vec<_>>().iter().collect(), &json!(1))
    );
}

/// The private listener serves operators only where it was told to, and then without a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_private_listener_serves_operators_where_it_was_told_to() {
    let _turn = turn().await;
    let cluster = patient_cluster().nodes(1).start().await.unwrap();
    let path = |node: &testkit::Node, path: &str| node.metrics_url().replace("/metrics", path);
    assert_eq!(http::get(&path(&cluster.nodes[0], "/v1/admin/cluster")).await.unwrap().status, 404);
    let mut cluster = cluster;
    cluster.add_node(&[("ADMIN_ON_PRIVATE", "true")]).await.unwrap();
    let answer = http::get(&path(&cluster.nodes[1], "/v1/admin/cluster")).await.unwrap();
    assert_eq!((answer.status, &answer.json["node"]), (200, &json!("node2")), "{}", answer.text);
    let public = http::get(&cluster.nodes[1].http_url("/v1/admin/cluster")).await.unwrap();
    assert_eq!(public.status, 401, "a token is needed there all the same");
    assert_eq!(
        http::get(&path(&cluster.nodes[1], "/v1/nothing")).await.unwrap().status,
        404,
        "nothing else is there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_each_shows_itself_alone_and_says_so() {
    let _turn = turn().await;
    let mut cluster = patient_cluster().nodes(3).start().await.unwrap();
    seen(&cluster, 0, "all nodes", is_whole).await;
    cluster.redis.stop().await.unwrap();
    for (node, name) in ALL.into_iter().enumerate() {
        let alone =
            |picture: &Value| picture["complete"] == false && names(picture) == (vec![name], Vec::new());
        let picture = seen(&cluster, node, "it is alone", alone).await;
        let codes: Vec<_> = picture["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|warning| warning["code"].as_str().unwrap())
            .collect();
        assert_eq!(codes, ["bus_untrusted", "incomplete"], "{picture}");
        assert_eq!(
            (&picture["nodes"][0]["bus"]["ok"], &picture["sums"]["nodes"]),
            (&json!(false), &json!(1))
        );
    }
    cluster.redis.start_again().await.unwrap();
    for node in 0..ALL.len() {
        seen(&cluster, node, "all nodes again", is_whole).await;
    }
}
