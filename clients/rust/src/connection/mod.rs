//! The task that keeps a client connected.

mod live;
mod open;
mod settings;
mod tls;

use std::sync::Arc;

use tokio::{select, time::sleep};

use self::settings::End;
pub(crate) use self::{settings::Settings, tls::connector};
use crate::{
    error::{Closed, ConnectError},
    session::AfterClose,
    shared::{ConnectionState, Shared},
    token::TokenSource,
};

/// The token was not taken: only another one helps.
const UNAUTHORIZED: u16 = 4401;

/// Keeps the client connected until it is closed, or the server says that coming back is pointless.
pub(crate) async fn run(mut settings: Settings, shared: Arc<Shared>) {
    // The token that the server has refused, or ended a connection of: it is not shown again.
    let mut refused: Option<String> = None;
    loop {
        shared.connection.send_replace(ConnectionState::Connecting);
        let end = attempt(&mut settings, &shared, refused.as_deref()).await;
        shared.state().session.disconnected();
        shared.settle();
        let error = match end {
            End::Closed => return,
            End::Moved => continue,
            End::Broken { error, token } => {
                if let ConnectError::Closed { code, .. } = error
                    && AfterClose::of(code) == AfterClose::RenewToken
                {
                    refused = token;
                }
                error
            }
        };
        tracing::debug!(%error, "the connection ended");
        if is_final(&error, &settings.token) {
            return shared.close(Closed::Failed(Arc::new(error)));
        }
        let pause = settings.backoff.next();
        shared.connection.send_replace(ConnectionState::Waiting { error: Arc::new(error), pause });
        select! {
            () = sleep(pause) => {}
            () = closed(&shared) => return,
        }
    }
}

/// Connects, and stays until the connection ends.
async fn attempt(settings: &mut Settings, shared: &Shared, refused: Option<&str>) -> End {
    let broken = |error, token| End::Broken { error, token };
    let token = select! {
        token = settings.token.fetch() => token,
        () = closed(shared) => return End::Closed,
    };
    let token = match token {
        Ok(token) => token,
        Err(error) => return broken(error, None),
    };
    if token.is_some() && token.as_deref() == refused {
        let reason = "the token provider gives the token again that the server no longer takes".to_owned();
        return broken(ConnectError::Closed { code: Some(UNAUTHORIZED), reason }, token);
    }
    let query = shared.state().session.query();
    let opened = select! {
        opened = open::open(&settings.url, &query, token.as_deref(), settings.connector.clone()) => opened,
        () = closed(shared) => return End::Closed,
    };
    match opened {
        Ok(socket) => live::live(socket, settings, shared, token).await,
        Err(error) => broken(error, token),
    }
}

fn is_final(error: &ConnectError, token: &TokenSource) -> bool {
    match error {
        ConnectError::Closed { code, .. } => match AfterClose::of(*code) {
            AfterClose::ComeBack => false,
            AfterClose::RenewToken => !token.renews(),
            AfterClose::StayAway => true,
        },
        ConnectError::Address { .. } | ConnectError::TokenText => true,
        _ => false,
    }
}

/// Waits until the client is closed.
async fn closed(shared: &Shared) {
    let mut connection = shared.connection.subscribe();
    // It fails only when the sender is gone, which is borrowed here.
    let _ = connection.wait_for(|state| matches!(state, ConnectionState::Closed(_))).await;
}
