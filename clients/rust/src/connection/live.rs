//! An open connection: what comes goes to the session, what the session has to say is sent.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt, stream::SplitSink};
use tokio::{
    select,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};

use super::{
    open::{Socket, of_tungstenite},
    settings::{End, Settings},
};
use crate::{
    backoff::Backoff,
    error::ConnectError,
    shared::{Control, Shared},
    token::TokenSource,
};

/// From the handshake to `WELCOME`.
const WELCOME_WAIT: Duration = Duration::from_secs(15);

/// For the closing handshake, by which nothing depends any more.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// The pause before what was refused for the moment is sent again grows from the first to the second.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The pause before a token provider that failed is asked again grows from the first to the second.
const TOKEN_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

type TokenFetch = Pin<Box<dyn Future<Output = String> + Send>>;

/// The times at which something is due on a connection.
struct Clock {
    silence_max: Duration,
    /// When something came last.
    heard: Instant,
    /// Whether a sign of life was asked for since.
    asked: bool,
    /// `WELCOME` must have come by then; `None` when it has.
    welcome: Option<Instant>,
    retry: Option<Instant>,
    leave: Option<Instant>,
    retry_pause: Backoff,
}

/// What is due by the clock.
enum Due {
    Leave,
    Broken(ConnectError),
    Nothing,
}

impl Clock {
    fn new(silence_max: Duration) -> Self {
        let now = Instant::now();
        let (first, most) = RETRY_PAUSE;
        Self {
            silence_max,
            heard: now,
            asked: false,
            welcome: Some(now + WELCOME_WAIT),
            retry: None,
            leave: None,
            retry_pause: Backoff::new(first, most),
        }
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
        self.asked = false;
    }

    fn next(&self) -> Instant {
        let silent = self.heard + if self.asked { self.silence_max } else { self.silence_max / 2 };
        [self.welcome, self.retry, self.leave].into_iter().flatten().fold(silent, Instant::min)
    }

    /// Plans the retry that the session wants.
    fn plan_retry(&mut self, shared: &Shared) {
        let (wants, is_idle) = {
            let state = shared.state();
            (state.session.wants_retry(), state.session.pending_len() == 0)
        };
        if wants && self.retry.is_none() {
            // Half of it is fixed: at once would be no pause.
            let longest = self.retry_pause.next();
            self.retry = Some(Instant::now() + longest / 2 + RETRY_PAUSE.0 / 2);
        } else if is_idle {
            self.retry_pause.reset();
        }
    }

    fn due(&mut self, shared: &Shared) -> Due {
        let now = Instant::now();
        let is_over = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_over(self.leave) {
            return Due::Leave;
        }
        if is_over(self.welcome) {
            return Due::Broken(ConnectError::Timeout(WELCOME_WAIT));
        }
        if is_over(self.retry) {
            self.retry = None;
            shared.state().session.retry();
        }
        let silent = now.duration_since(self.heard);
        if self.asked && silent >= self.silence_max {
            return Due::Broken(ConnectError::Silent(self.silence_max));
        }
        if !self.asked && silent >= self.silence_max / 2 {
            self.asked = true;
            shared.state().session.ping();
        }
        Due::Nothing
    }
}

/// Stays on a connection until it ends.
pub(super) async fn live(
    socket: Socket,
    settings: &mut Settings,
    shared: &Shared,
    token: Option<String>,
) -> End {
    shared.state().session.connected();
    shared.settle();
    let (sink, mut stream) = socket.split();
    let mut writer = Writer { sink, next: None, is_flushed: true };
    let mut clock = Clock::new(settings.silence_max);
    let mut fetch: Option<TokenFetch> = None;
    let mut current = token.clone();
    let end = loop {
        clock.plan_retry(shared);
        select! {
            message = stream.next() => {
                clock.heard();
                match take(message, shared) {
                    Err(error) => break End::Broken { error, token: token.clone() },
                    Ok(controls) => for control in controls {
                        match control {
                            Control::Connected => {
                                clock.welcome = None;
                                settings.backoff.reset();
                            }
                            Control::Reconnect(after) => clock.leave = Some(Instant::now() + after),
                            Control::TokenExpiring if settings.token.renews() && fetch.is_none() => {
                                fetch = Some(fetch_other(settings.token.clone(), current.clone()));
                            }
                            Control::TokenExpiring => {}
                        }
                    }
                }
            }
            error = std::future::poll_fn(|cx| writer.poll(cx, shared)) => {
                break End::Broken { error: of_tungstenite(error), token: token.clone() };
            }
            fresh = async { fetch.as_mut().expect("checked by the guard").await }, if fetch.is_some() => {
                fetch = None;
                shared.state().session.authenticate(&fresh);
                current = Some(fresh);
            }
            () = shared.wake.notified() => {}
            () = sleep_until(clock.next()) => match clock.due(shared) {
                Due::Leave => break End::Moved,
                Due::Broken(error) => break End::Broken { error, token: token.clone() },
                Due::Nothing => {}
            },
        }
        if shared.closed().is_some() {
            break End::Closed;
        }
    };
    if !matches!(end, End::Broken { .. }) {
        let _ = timeout(CLOSE_WAIT, writer.sink.close()).await;
    }
    end
}

/// Hands what came to the session.
fn take(
    message: Option<Result<Message, tungstenite::Error>>,
    shared: &Shared,
) -> Result<Vec<Control>, ConnectError> {
    let closed = |frame: Option<CloseFrame>| ConnectError::Closed {
        code: frame.as_ref().map(|frame| frame.code.into()),
        reason: frame.map(|frame| frame.reason.to_string()).unwrap_or_default(),
    };
    match message {
        None => Err(closed(None)),
        Some(Err(error)) => Err(of_tungstenite(error)),
        Some(Ok(Message::Close(frame))) => Err(closed(frame)),
        Some(Ok(Message::Text(text))) => {
            let received = shared.state().session.receive(&text);
            let controls = shared.settle();
            received?;
            Ok(controls)
        }
        Some(Ok(_)) => Ok(Vec::new()),
    }
}

/// Asks the provider until it gives another token than the present one.
fn fetch_other(source: TokenSource, current: Option<String>) -> TokenFetch {
    Box::pin(async move {
        let mut pause = Backoff::new(TOKEN_PAUSE.0, TOKEN_PAUSE.1);
        loop {
            match source.fetch().await {
                Ok(Some(token)) if current.as_ref() != Some(&token) => return token,
                Ok(_) => tracing::debug!("the token provider gives the same token again"),
                Err(error) => tracing::warn!(%error, "no fresh token yet"),
            }
            sleep(pause.next() + TOKEN_PAUSE.0).await;
        }
    })
}

/// Sends what the session has to say, while the other side takes it: reading goes on meanwhile, because a
/// server that is not read may not read either.
struct Writer {
    sink: SplitSink<Socket, Message>,
    next: Option<Message>,
    is_flushed: bool,
}

impl Writer {
    /// Ends only with an error.
    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared) -> Poll<tungstenite::Error> {
        loop {
            if self.next.is_none() {
                self.next = shared.state().session.next_message().map(Message::text);
            }
            let step = if self.next.is_some() {
                ready!(self.sink.poll_ready_unpin(cx)).and_then(|()| match self.next.take() {
                    Some(message) => {
                        self.is_flushed = false;
                        self.sink.start_send_unpin(message)
                    }
                    None => Ok(()),
                })
            } else if self.is_flushed {
                return Poll::Pending;
            } else {
                let flushed = ready!(self.sink.poll_flush_unpin(cx));
                self.is_flushed = true;
                flushed
            };
            if let Err(error) = step {
                return Poll::Ready(error);
            }
        }
    }
}
