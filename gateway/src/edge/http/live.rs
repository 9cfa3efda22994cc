//! `GET /v1/admin/live`: the cluster every second, as server-sent events.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::Uri,
    response::{IntoResponse, Response},
};
use common::{Code, time::unix_ms};
use futures_util::stream;
use tokio::{sync::watch, time::sleep};

use crate::{
    auth::Expiry,
    cluster::{Cluster, WATCHERS_MAX, Watcher},
    commands::failure::Failure,
    edge::{
        context::ConnectionContext,
        identity::{RequiredIdentity, check_admin},
        problem::Problem,
        query::Parameters,
        sse,
    },
};

/// Somebody who looks on.
struct Live {
    watcher: Watcher,
    expiry: Expiry,
    stopping: watch::Receiver<bool>,
    /// What a client that loses the connection is told first: after how long to come back.
    retry: Option<Bytes>,
}

/// After how many milliseconds a client comes back.
const RETRY: &[u8] = b"retry: 1000\n\n";

pub(in crate::edge) async fn follow(
    RequiredIdentity(identity): RequiredIdentity,
    State(cluster): State<Arc<Cluster>>,
    State(context): State<Arc<ConnectionContext>>,
    uri: Uri,
) -> Result<Response, Problem> {
    check_admin(&identity)?;
    Parameters::of(&uri, &[])?;
    let watcher = cluster.watch().ok_or_else(|| {
        let message = format!("{WATCHERS_MAX} clients look on already, which is the most");
        Failure::new(Code::RateLimited, message)
    })?;
    let live = Live {
        watcher,
        expiry: Expiry::of(&identity, context.live.node().websocket.token_warning, unix_ms()),
        stopping: context.drain.subscribe(),
        retry: Some(Bytes::from_static(RETRY)),
    };
    let body = Body::from_stream(stream::unfold(live, |mut live| async move {
        let bytes = live.next().await?;
        Some((Ok::<Bytes, Infallible>(bytes), live))
    }));
    Ok((sse::head(), body).into_response())
}

impl Live {
    /// The next bytes; `None` once the token has ended, or the node stops.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(retry) = self.retry.take() {
            return Some(retry);
        }
        // By the wall clock, which may have been set: looked at with each picture.
        if self.expiry.has_ended(unix_ms()) {
            return None;
        }
        tokio::select! {
            picture = self.watcher.next() => {
                picture.map(|picture| Bytes::from(format!("event: CLUSTER\ndata: {picture}\n\n")))
            }
            () = sleep(self.expiry.wait_for_end(unix_ms())) => None,
            _ = self.stopping.changed() => None,
        }
    }
}
