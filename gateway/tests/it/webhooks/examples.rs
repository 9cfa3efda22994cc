//! The examples of docs/webhooks.md verify what is sent, and refuse what is not.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::json;
use testkit::{Receiver, receiver::Delivery};

use super::{Hooked, seen};

/// The example in a language.
fn example(language: &str) -> &'static str {
    let page = include_str!("../../../../docs/webhooks.md");
    page.split(&format!("```{language}\n")).nth(1).and_then(|rest| rest.split("```").next()).unwrap()
}

/// What an example says of deliveries, each with a body: `true` or `false` in a line each.
fn verified(program: &str, flags: &[&str], script: &str, cases: &[(&str, &Delivery, &str)]) -> String {
    let cases = cases.iter().map(|(secret, delivery, body)| {
        let headers = json!({
            "webhook-id": delivery.id,
            "webhook-timestamp": delivery.timestamp.to_string(),
            "webhook-signature": delivery.signatures,
        });
        json!([secret, headers, body])
    });
    let cases = serde_json::Value::Array(cases.collect()).to_string();
    let mut command = Command::new(program);
    command.args(flags).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(cases.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} has failed");
    String::from_utf8(output.stdout).unwrap().to_lowercase()
}

#[tokio::test]
async fn they_tell_deliveries_from_others() {
    let hooked = Hooked::start().await;
    let receiver = Receiver::start().await.unwrap();
    let webhook = hooked.webhook(&receiver, json!({ "topics": ["t"] })).await;
    hooked.server.publish("t", "E", json!("with words: äöü")).await;
    seen(&receiver, "topic:t", [1]).await;
    let delivery = receiver.deliveries().pop().unwrap();
    let late = Delivery { timestamp: delivery.timestamp - 600, ..delivery.clone() };
    let secret = webhook["secret"].as_str().unwrap();
    let other = format!("{} ", delivery.body);
    let cases = [
        (secret, &delivery, delivery.body.as_str()),
        (secret, &delivery, other.as_str()),
        (secret, &late, delivery.body.as_str()),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &delivery, delivery.body.as_str()),
    ];
    let expected = "true\nfalse\nfalse\nfalse\n";
    let python = format!(
        "{}\nimport json, sys\nfor s, h, b in json.load(sys.stdin):\n    print(verify(s, h, b.encode()))\n",
        example("python")
    );
    assert_eq!(verified("python3", &["-c"], &python, &cases), expected);
    let node = format!(
        "{}\nimport {{ readFileSync }} from 'node:fs';\nfor (const [s, h, b] of JSON.parse(readFileSync(0, 'utf8'))) \
         console.log(verify(s, h, Buffer.from(b)));\n",
        example("js")
    );
    assert_eq!(verified("node", &["--input-type=module", "-e"], &node, &cases), expected);
}
