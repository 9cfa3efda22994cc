//! Follows a topic: `cargo run --example follow -- http://localhost:8080 match:1`.

use draftwire_client::{Client, TopicItem};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(url), Some(name)) = (args.next(), args.next()) else {
        return Err("give the server's address and a topic".into());
    };
    let mut builder = Client::builder(url);
    if let Ok(token) = std::env::var("DRAFTWIRE_TOKEN") {
        builder = builder.token(token);
    }
    let client = builder.connect().await?;
    let mut topic = client.topic(name).subscribe().await?;
    loop {
        match topic.next().await? {
            TopicItem::Event(event) => println!("{} {} {}", event.seq, event.event, event.data),
            TopicItem::Missed { before } => println!("events before {before} are gone"),
            other => println!("{other:?}"),
        }
    }
}
