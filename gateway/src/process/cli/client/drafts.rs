//! `draftwire drafts`: the drafts of the token's user.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Command};
use common::DraftId;
use draftwire_client::{Changed, Client, CommandError, Draft, DraftChange, Drafts, Json, NewDraft};
use serde::Serialize;

use super::{
    failure::{EXIT_CODES, Failure},
    input,
    interrupt::interrupted,
    output::Output,
    server::Server,
};

/// What to do with them.
#[derive(Debug)]
pub(super) enum Action {
    List,
    Get(DraftId),
    Create { draft_id: Option<DraftId>, kind: Option<String>, key: Option<String>, content: Option<String> },
    Update { draft_id: DraftId, base_version: u64, patch: Option<String> },
    Delete { draft_id: DraftId, base_version: Option<u64> },
    Watch,
}

/// The command line.
pub(super) fn command() -> Command {
    let id = || {
        Arg::new("id")
            .value_name("ID")
            .required(true)
            .value_parser(|text: &str| text.parse::<DraftId>())
            .help("The draft")
    };
    let base_version = || {
        Arg::new("base-version")
            .long("base-version")
            .value_name("VERSION")
            .value_parser(clap::value_parser!(u64))
    };
    Command::new("drafts")
        .about("List, read, change and watch the drafts of the token's user")
        .after_help(format!(
            "\
Examples:
  draftwire drafts list
  draftwire drafts create --id order-1 --kind order --content '{{\"quantity\":4}}'
  draftwire drafts update order-1 --base-version 1 --patch '{{\"quantity\":6}}'
  draftwire drafts watch

{EXIT_CODES}"
        ))
        .subcommand_required(true)
        .subcommands([
            Command::new("list").about("Print all drafts, one JSON object a line"),
            Command::new("get").about("Print a draft").arg(id()),
            Command::new("create")
                .about("Create a draft, and print its id, version and event number")
                .args([
                    Arg::new("id")
                        .long("id")
                        .value_name("ID")
                        .value_parser(|text: &str| text.parse::<DraftId>())
                        .help("Its id [default: one that the server chooses]"),
                    Arg::new("kind")
                        .long("kind")
                        .value_name("KIND")
                        .help("Its kind [default: draft]"),
                    Arg::new("key")
                        .long("key")
                        .value_name("KEY")
                        .help("Makes it safe to repeat, for a day: 1 to 64 characters"),
                    Arg::new("content")
                        .long("content")
                        .value_name("JSON")
                        .help("Its content, a JSON object [default: the input]"),
                ]),
            Command::new("update")
                .about("Change a draft by a merge patch (RFC 7396), and print its version and event number")
                .args([
                    id(),
                    base_version().required(true).help(
                        "The version that the patch was made on; where the same fields have changed since, it is \
                         a conflict",
                    ),
                    Arg::new("patch")
                        .long("patch")
                        .value_name("JSON")
                        .help("The patch, a JSON object [default: the input]"),
                ]),
            Command::new("delete")
                .about("Delete a draft, and print its version and event number")
                .args([id(), base_version().help("Only while nothing has changed since this version")]),
            Command::new("watch").about("Print all drafts, then each change of them").after_help(
                "The first line is {\"type\":\"SNAPSHOT\",\"drafts\":[…]}; it comes again when changes could not \
                 be told one by one. A change is {\"type\":\"DRAFT_UPDATED\",\"origin\":…,\"patch\":{…},\
                 \"draft\":{…}}, with the draft as it stands then.",
            ),
        ])
}

impl Action {
    pub(super) fn read(matches: &ArgMatches) -> Self {
        let (name, matches) = matches.subcommand().expect("clap demands one");
        let id = |matches: &ArgMatches| matches.get_one::<DraftId>("id").cloned().expect("it is required");
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        match name {
            "list" => Self::List,
            "get" => Self::Get(id(matches)),
            "create" => Self::Create {
                draft_id: matches.get_one::<DraftId>("id").cloned(),
                kind: text("kind"),
                key: text("key"),
                content: text("content"),
            },
            "update" => Self::Update {
                draft_id: id(matches),
                base_version: *matches.get_one("base-version").expect("it is required"),
                patch: text("patch"),
            },
            "delete" => {
                Self::Delete { draft_id: id(matches), base_version: matches.get_one("base-version").copied() }
            }
            _ => Self::Watch,
        }
    }
}

/// A change that was carried out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    draft_id: &'a str,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

/// A change of another device's, or of this one's.
#[derive(Serialize)]
struct Watched<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draft: Option<&'a Draft>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drafts: Option<Vec<Draft>>,
}

impl<'a> Watched<'a> {
    fn of(change: &'a DraftChange, drafts: Option<Vec<Draft>>) -> Self {
        let none = Self { kind: "SNAPSHOT", origin: None, patch: None, draft: None, drafts: None };
        match change {
            DraftChange::Created(draft) => Self { kind: "DRAFT_CREATED", draft: Some(draft), ..none },
            DraftChange::Updated { draft, patch, origin } => Self {
                kind: "DRAFT_UPDATED",
                origin: Some(origin),
                patch: Some(patch),
                draft: Some(draft),
                ..none
            },
            DraftChange::Deleted { draft, origin } => {
                Self { kind: "DRAFT_DELETED", origin: Some(origin), draft: Some(draft), ..none }
            }
            _ => Self { drafts, ..none },
        }
    }
}

/// Does it.
pub(super) async fn run(server: &Server, action: Action, output: &Output) -> Result<(), Failure> {
    server.require_token()?;
    match action {
        Action::List => {
            let (client, drafts) = listed(server).await?;
            for draft in drafts.list() {
                output.print(&draft).await?;
            }
            client.close();
            Ok(())
        }
        Action::Get(draft_id) => {
            let (_client, drafts) = listed(server).await?;
            let draft = drafts.get(draft_id.as_str());
            let missing = || Failure::refused("not_found", format!("there is no draft {draft_id}"));
            output.print(&draft.ok_or_else(missing)?).await
        }
        Action::Create { draft_id, kind, key, content } => {
            let content = object("the content", content)?;
            let mut draft = NewDraft::new(&content).map_err(|error| Failure::Usage(error.to_string()))?;
            if let Some(draft_id) = draft_id {
                draft = draft.id(draft_id.as_str());
            }
            if let Some(kind) = kind {
                draft = draft.kind(kind);
            }
            if let Some(key) = key {
                draft = draft.key(key);
            }
            change(server, output, async |drafts: &Drafts| drafts.create(draft).await).await
        }
        Action::Update { draft_id, base_version, patch } => {
            let patch = object("the patch", patch)?;
            let update = async |drafts: &Drafts| drafts.update(draft_id.as_str(), base_version, &patch).await;
            change(server, output, update).await
        }
        Action::Delete { draft_id, base_version } => {
            let delete = async |drafts: &Drafts| drafts.delete(draft_id.as_str(), base_version).await;
            change(server, output, delete).await
        }
        Action::Watch => tokio::select! {
            ended = watch(server, output) => ended,
            interrupted = interrupted() => Err(interrupted),
            closed = output.closed() => Err(closed),
        },
    }
}

/// Connects, and waits for the list of drafts.
async fn listed(server: &Server) -> Result<(Client, Drafts), Failure> {
    let client = server.connect(server.client().drafts()).await?;
    let drafts = client.drafts();
    let ready = server.in_time("no list of drafts", drafts.ready()).await?;
    ready.map_err(|closed| Failure::of_end(server.url(), &closed))?;
    Ok((client, drafts))
}

/// Changes a draft, and prints what has become of it.
async fn change(
    server: &Server,
    output: &Output,
    change: impl AsyncFnOnce(&Drafts) -> Result<Changed, CommandError>,
) -> Result<(), Failure> {
    let client = server.connect(server.client()).await?;
    let drafts = client.drafts();
    let changed = server.in_time("no answer", change(&drafts)).await?;
    let changed = changed.map_err(|error| Failure::of_command(server.url(), &error))?;
    client.close();
    let Changed { draft_id, version, seq, .. } = &changed;
    output.print(&Change { draft_id, version: *version, seq: *seq }).await
}

async fn watch(server: &Server, output: &Output) -> Result<(), Failure> {
    // Listened to from before the first list on, which is the first change.
    let changes = |client: &Client| client.drafts().changes();
    let (client, mut changes) = server.connect_with(server.client().drafts(), changes).await?;
    let drafts = client.drafts();
    let mut printed = Printed::default();
    loop {
        let change = changes.next().await.map_err(|closed| Failure::of_end(server.url(), &closed))?;
        let list = if change == DraftChange::Reset { Some(drafts.list()) } else { None };
        if printed.is_new(&change, list.as_deref()) {
            output.print(&Watched::of(&change, list)).await?;
        }
    }
}

/// The drafts that were printed, by their versions. A list may be ahead of changes that were told before it was made.
#[derive(Debug, Default)]
struct Printed(BTreeMap<String, u64>);

impl Printed {
    /// Whether a change is one that was not printed. Takes it for printed from then on.
    fn is_new(&mut self, change: &DraftChange, list: Option<&[Draft]>) -> bool {
        match change {
            DraftChange::Created(draft) | DraftChange::Updated { draft, .. } => {
                // What is gone does not come back, so what is unknown was deleted before the list, unless it is new.
                let is_created = matches!(change, DraftChange::Created(_));
                let known = self.0.get(&draft.draft_id).copied();
                let is_new = known.map_or(is_created, |version| version < draft.version);
                if is_new {
                    self.0.insert(draft.draft_id.clone(), draft.version);
                }
                is_new
            }
            DraftChange::Deleted { draft, .. } => self.0.remove(&draft.draft_id).is_some(),
            _ => {
                let drafts = list.unwrap_or_default().iter();
                self.0 = drafts.map(|draft| (draft.draft_id.clone(), draft.version)).collect();
                true
            }
        }
    }
}

/// A JSON object from an argument or from the input.
fn object(what: &str, given: Option<String>) -> Result<Json, Failure> {
    let text = match given {
        Some(text) => text,
        None => input::whole(what)?,
    };
    let json = Json::from_text(text.trim_ascii())
        .map_err(|error| Failure::Usage(format!("{what} is no JSON: {error}")))?;
    if json.text().starts_with('{') {
        return Ok(json);
    }
    Err(Failure::Usage(format!("{what} must be an object")))
}
