//! Postgres is gone for a while: connections stay, commands are refused quickly, and service is back
//! by itself.

use std::time::Duration;

use serde_json::json;
use testkit::{Cluster, RawRequest, RawSocket, Service, http, token, wait};
use tokio::time::sleep;

use crate::{
    DEADLINE,
    load::{Fleet, Load},
    patient_cluster, turn,
};

/// How long it is gone.
const OUTAGE: Duration = Duration::from_secs(8);

/// What "quickly" means: well below what people, and the timeouts of proxies, wait for.
const QUICKLY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_is_back_after_a_stop() {
    let _turn = turn().await;
    let mut cluster = patient_cluster().nodes(2).start().await.unwrap();
    let mut bystander = Bystander::connect(&cluster).await;
    let fleet = Fleet::connect(&cluster, 4, 2).await;
    let load = Load::start(&fleet, Duration::from_millis(50));
    load.progress(20).await;

    cluster.postgres.stop().await.unwrap();
    bystander.is_refused_quickly().await;
    everybody_is_refused(&fleet).await;
    sleep(OUTAGE).await;
    cluster.postgres.start_again().await.unwrap();
    load.progress(20).await;
    everybody_has_stayed(&fleet);
    bystander.is_served().await;
    load.finish(&fleet, &cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_is_back_after_a_frost() {
    let _turn = turn().await;
    let cluster = patient_cluster().nodes(2).start().await.unwrap();
    let mut bystander = Bystander::connect(&cluster).await;
    let fleet = Fleet::connect(&cluster, 4, 2).await;
    let load = Load::start(&fleet, Duration::from_millis(50));
    load.progress(20).await;

    cluster.postgres.pause();
    bystander.is_refused_quickly().await;
    everybody_is_refused(&fleet).await;
    sleep(OUTAGE).await;
    cluster.postgres.resume();
    load.progress(20).await;
    everybody_has_stayed(&fleet);
    bystander.is_served().await;
    load.finish(&fleet, &cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_is_back_after_a_kill() {
    let _turn = turn().await;
    let options = patient_cluster().nodes(2).env("COMMANDS_PER_SECOND", "100000");
    let mut cluster = options.start().await.unwrap();
    let fleet = Fleet::connect(&cluster, 4, 2).await;
    let load = Load::start(&fleet, Duration::from_millis(1));
    for _ in 0..2 {
        load.progress(50).await;
        cluster.postgres.kill9();
        everybody_is_refused(&fleet).await;
        cluster.postgres.start_again().await.unwrap();
    }
    load.progress(20).await;
    everybody_has_stayed(&fleet);
    load.finish(&fleet, &cluster).await;
}

/// A client that repeats nothing, gives up what is refused, and so sees every answer.
struct Bystander {
    socket: RawSocket,
    node: String,
    commands: u64,
}

impl Bystander {
    async fn connect(cluster: &Cluster) -> Self {
        let request = RawRequest::new(format!("{}?device=d", cluster.nodes[0].ws_url()));
        let mut socket = RawSocket::connect(&request.token(&token::good("bystander"))).await.unwrap();
        socket.next_of("WELCOME", DEADLINE).await.unwrap();
        Self { socket, node: cluster.nodes[0].http_url(""), commands: 0 }
    }

    /// A command, which it does not matter whether another like it was carried out before.
    async fn command(&mut self, deadline: Duration) -> serde_json::Value {
        self.commands += 1;
        let id = format!("b{}", self.commands);
        let command = json!({ "type": "DRAFT_CREATE", "id": id, "payload": { "content": {} } });
        self.socket.send(&command).await.unwrap();
        let answer = self.socket.answer(&id, deadline).await.unwrap();
        if answer["code"] == "unavailable" {
            self.socket.send(&json!({ "type": "PING", "id": id })).await.unwrap();
            let given_up = self.socket.answer(&id, deadline).await.unwrap();
            assert_eq!(given_up["type"], "PONG", "{given_up}");
        }
        answer
    }

    /// The first may have to wait for the store's time limit; later ones find it known to be down.
    async fn is_refused_quickly(&mut self) {
        for _ in 0..3 {
            let answer = self.command(QUICKLY).await;
            assert_eq!(answer["code"], "unavailable", "{answer}");
            let url = format!("{}/v1/drafts", self.node);
            let answer = tokio::time::timeout(QUICKLY, http::get_as(&token::good("bystander"), &url)).await;
            assert_eq!(answer.expect("an answer in time").unwrap().status, 503);
        }
        assert_eq!(http::get(&format!("{}/livez", self.node)).await.unwrap().status, 200);
    }

    async fn is_served(&mut self) {
        let mut answer = serde_json::Value::Null;
        for _ in 0..100 {
            answer = self.command(DEADLINE).await;
            if answer["code"] != "unavailable" {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(answer["type"], "ACK", "{answer}");
        let ready = format!("{}/readyz", self.node);
        wait::until("the node is ready", DEADLINE, || async {
            let answer = http::get(&ready).await.map_err(|error| error.to_string())?;
            if answer.status == 200 { Ok(()) } else { Err(answer.text) }
        })
        .await;
    }
}

async fn everybody_is_refused(fleet: &Fleet) {
    for device in fleet.devices() {
        let before = device.counters().unavailable;
        wait::until("commands are refused", DEADLINE, || async {
            let counters = device.counters();
            if counters.unavailable > before { Ok(()) } else { Err(format!("{counters:?}")) }
        })
        .await;
    }
}

fn everybody_has_stayed(fleet: &Fleet) {
    for device in fleet.devices() {
        assert_eq!(device.counters().connections, 1, "{:?}", device.counters());
    }
}
