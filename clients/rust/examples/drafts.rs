//! Shows a user's drafts as they change: `cargo run --example drafts -- http://localhost:8080`, with the user's token
//! in `DRAFTWIRE_TOKEN`.

use draftwire_client::{Client, DraftChange};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("give the server's address")?;
    let token = std::env::var("DRAFTWIRE_TOKEN")?;
    let client = Client::builder(url).token(token).drafts().connect().await?;
    let drafts = client.drafts();
    let mut changes = drafts.changes();
    drafts.ready().await?;
    loop {
        for draft in drafts.list() {
            println!("{} v{} {:?}", draft.draft_id, draft.version, draft.content);
        }
        match changes.next().await? {
            DraftChange::Reset => println!("all of them may have changed"),
            change => println!("{change:?}"),
        }
    }
}
