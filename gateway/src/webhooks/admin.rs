//! What operators do with webhooks.

use std::time::Duration;

use common::{
    Cursor, Epoch, Seq, Stream,
    ids::WebhookId,
    json::{DEPTH_MAX, Fields, Invalid},
};

use super::{
    Webhooks, address,
    filter::{Filter, without},
    signature,
};
use crate::store::{
    StoreError,
    webhooks::{
        Changed, Changes, Lag, NameRange, NewWebhook, Place, Replay, Replayed, SigningSecret, WEBHOOKS_MAX,
        Webhook,
    },
};

/// How long a secret signs on that was replaced, where nothing else is asked for.
const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// The longest that may be asked for, in seconds.
const OVERLAP_SECONDS_MAX: u64 = 30 * 24 * 3600;

/// Secrets that sign at once. Each of them adds a signature of 50 bytes to a header field.
const SECRETS_MAX: usize = 5;

/// Why nothing was done.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The store keeps no webhooks.
    Unsupported,
    /// There is no such webhook.
    NotFound,
    /// The webhook is at another version.
    Version(u64),
    /// The body of the request is not what it has to be.
    Invalid(Invalid),
    /// There are as many webhooks as there may be.
    TooMany(u32),
    /// As many secrets sign as may do so at once.
    TooManySecrets(usize),
    /// A cursor is no position of the stream.
    NoPosition {
        /// The history.
        epoch: Epoch,
        /// The last event.
        head: Seq,
        /// The last event that retention has removed.
        floor: Seq,
    },
    /// The store did not answer.
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Invalid> for Refused {
    fn from(error: Invalid) -> Self {
        Self::Invalid(error)
    }
}

/// A webhook with a secret that is shown once.
pub(crate) struct Created {
    pub(crate) webhook: Webhook,
    pub(crate) secret: String,
}

impl Webhooks {
    /// Adds a webhook, as the body of a request describes it.
    pub(crate) async fn create(&self, body: &str) -> Result<Created, Refused> {
        let webhooks = self.kept()?;
        let fields = Fields::of(body, &["url", "filter", "from", "secret", "paused"], DEPTH_MAX)?;
        let url = self.url(&fields.required::<String>("url")?)?;
        let filter: Filter = fields.required("filter")?;
        let at = place(fields.optional::<String>("from")?.as_deref())?;
        let secret = secret(&fields)?;
        let new = NewWebhook {
            id: format!("wh_{:032x}", rand::random::<u128>()),
            url,
            filter: text_of(&filter)?,
            secret: SigningSecret { secret: secret.clone(), until: None },
            paused: fields.optional("paused")?.unwrap_or(false),
        };
        let webhook = webhooks.create(&new, &filter.ranges(), at).await?;
        Ok(Created { webhook: webhook.ok_or(Refused::TooMany(WEBHOOKS_MAX))?, secret })
    }

    /// Returns all webhooks.
    pub(crate) async fn list(&self) -> Result<Vec<Webhook>, Refused> {
        Ok(self.kept()?.list().await?)
    }

    /// Returns a webhook.
    pub(crate) async fn get(&self, id: &WebhookId) -> Result<Webhook, Refused> {
        self.kept()?.get(id.as_str()).await?.ok_or(Refused::NotFound)
    }

    /// Returns how far a webhook is behind; `None` where its filter cannot be read.
    pub(crate) async fn lag(&self, webhook: &Webhook) -> Result<Option<Lag>, Refused> {
        let Ok(filter) = filter_of(webhook) else { return Ok(None) };
        Ok(Some(self.kept()?.lag(&webhook.id, &filter.ranges()).await?))
    }

    /// Changes a webhook that is at one of these versions, or at any.
    pub(crate) async fn change(
        &self,
        id: &WebhookId,
        versions: Option<&[u64]>,
        body: &str,
    ) -> Result<Webhook, Refused> {
        let webhooks = self.kept()?;
        let fields = Fields::of(body, &["url", "filter", "paused"], DEPTH_MAX)?;
        let url = fields.optional::<String>("url")?.map(|url| self.url(&url)).transpose()?;
        let filter: Option<Filter> = fields.optional("filter")?;
        let paused = fields.optional("paused")?;
        loop {
            let webhook = self.get(id).await?;
            check(&webhook, versions)?;
            let mut changes = Changes { url: url.clone(), paused, ..Changes::default() };
            if let Some(filter) = &filter {
                let after = filter.ranges();
                // Where nobody knows what it took, no cursor is moved: that may repeat, and skips nothing.
                let before = filter_of(&webhook).map_or_else(|_| after.clone(), |before| before.ranges());
                changes.filter = Some((text_of(filter)?, without(&after, &before), without(&before, &after)));
            }
            match webhooks.change(id.as_str(), webhook.version, &changes).await? {
                Changed::Done(webhook) => return Ok(*webhook),
                Changed::NotFound => return Err(Refused::NotFound),
                // Somebody was faster. What they have made of it may be another version that was asked for.
                Changed::Version(_) => {}
            }
        }
    }

    /// Removes a webhook that is at one of these versions, or at any.
    pub(crate) async fn remove(&self, id: &WebhookId, versions: Option<&[u64]>) -> Result<(), Refused> {
        let webhooks = self.kept()?;
        let version = match versions {
            None => None,
            Some(_) => {
                let webhook = self.get(id).await?;
                check(&webhook, versions)?;
                Some(webhook.version)
            }
        };
        match webhooks.remove(id.as_str(), version).await? {
            Changed::Done(()) => Ok(()),
            Changed::Version(version) => Err(Refused::Version(version)),
            Changed::NotFound => Err(Refused::NotFound),
        }
    }

    /// Delivers again from a position on.
    pub(crate) async fn replay(&self, id: &WebhookId, body: &str) -> Result<Webhook, Refused> {
        let webhooks = self.kept()?;
        let fields = Fields::of(body, &["stream", "cursor", "from"], DEPTH_MAX)?;
        let stream: Option<String> = fields.optional("stream")?;
        let cursor: Option<Cursor> = fields.optional("cursor")?;
        let from: Option<String> = fields.optional("from")?;
        let filter = filter_of(&self.get(id).await?)?;
        let stream: Option<Stream> = stream
            .map(|name| name.parse().map_err(|error| Invalid::from(error).within("stream")))
            .transpose()?;
        if stream.as_ref().is_some_and(|stream| !filter.takes_stream(stream)) {
            return Err(Invalid::new("is no stream that the webhook's filter takes").within("stream").into());
        }
        let replay = match (stream, cursor, from.as_deref()) {
            (Some(stream), Some(cursor), None) => Replay::Stream(stream, cursor.epoch, cursor.seq),
            (Some(stream), None, Some("floor")) => Replay::All(vec![NameRange::only(stream.key())]),
            (None, None, Some("floor")) => Replay::All(filter.ranges()),
            _ => {
                let what =
                    "must have `stream` and `cursor`, or \"from\":\"floor\" with a `stream` or without";
                return Err(Invalid::new(what).into());
            }
        };
        match webhooks.replay(id.as_str(), &replay).await? {
            Replayed::Done(webhook) => Ok(*webhook),
            Replayed::Position(epoch, head, floor) => Err(Refused::NoPosition { epoch, head, floor }),
            Replayed::NotFound => Err(Refused::NotFound),
        }
    }

    /// Replaces the secret. The one before signs beside it for a while, as do those before that which have not ended.
    /// Without an overlap all of them end.
    pub(crate) async fn rotate(&self, id: &WebhookId, body: &str) -> Result<Created, Refused> {
        let webhooks = self.kept()?;
        let fields = Fields::of(body, &["secret", "overlapSeconds"], DEPTH_MAX)?;
        let secret = secret(&fields)?;
        let overlap = fields.optional::<u64>("overlapSeconds")?.unwrap_or(OVERLAP.as_secs());
        if overlap > OVERLAP_SECONDS_MAX {
            let what = format!("must be at most {OVERLAP_SECONDS_MAX}");
            return Err(Invalid::new(what).within("overlapSeconds").into());
        }
        loop {
            let webhook = self.get(id).await?;
            let until = Some(webhook.now + 1000 * overlap);
            let new = SigningSecret { secret: secret.clone(), until: None };
            let holds = |before: &&SigningSecret| {
                overlap > 0 && before.secret != secret && before.until.is_none_or(|until| webhook.now < until)
            };
            let before = webhook.secrets.iter().filter(holds);
            let before =
                before.map(|before| SigningSecret { until: before.until.or(until), ..before.clone() });
            let secrets: Vec<_> = std::iter::once(new).chain(before).collect();
            if secrets.len() > SECRETS_MAX {
                return Err(Refused::TooManySecrets(SECRETS_MAX));
            }
            let changes = Changes { secrets: Some(secrets), ..Changes::default() };
            match webhooks.change(id.as_str(), webhook.version, &changes).await? {
                Changed::Done(webhook) => return Ok(Created { webhook: *webhook, secret }),
                Changed::NotFound => return Err(Refused::NotFound),
                Changed::Version(_) => {}
            }
        }
    }

    fn url(&self, text: &str) -> Result<String, Invalid> {
        let url = address::endpoint(text, self.shared.settings.allow_private);
        url.map(String::from).map_err(|rule| Invalid::new(rule).within("url"))
    }
}

/// Whether a webhook is at one of these versions; `None` stands for any.
fn check(webhook: &Webhook, versions: Option<&[u64]>) -> Result<(), Refused> {
    match versions {
        Some(versions) if !versions.contains(&webhook.version) => Err(Refused::Version(webhook.version)),
        _ => Ok(()),
    }
}

fn filter_of(webhook: &Webhook) -> Result<Filter, Refused> {
    common::json::Field::read(&webhook.filter).map_err(|error: Invalid| {
        let place = format!("the filter of webhook {}", webhook.id);
        Refused::Store(StoreError::Failed(error.sentence(&place)))
    })
}

fn text_of(filter: &Filter) -> Result<String, Refused> {
    let text = serde_json::to_string(filter);
    text.map_err(|error| Refused::Store(StoreError::Failed(format!("a filter: {error}"))))
}

fn place(from: Option<&str>) -> Result<Place, Invalid> {
    match from {
        None | Some("now") => Ok(Place::Head),
        Some("floor") => Ok(Place::Floor),
        Some(_) => Err(Invalid::new("must be now or floor").within("from")),
    }
}

/// The secret that is asked for, or a new one.
fn secret(fields: &Fields<'_>) -> Result<String, Invalid> {
    let Some(secret) = fields.optional::<String>("secret")? else { return Ok(signature::new_secret()) };
    signature::key(&secret).map_err(|rule| Invalid::new(rule).within("secret"))?;
    Ok(secret)
}
