//! An open connection: what comes goes to the session, what the session has to say is sent.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{
    SinkExt, StreamExt,
    stream::{FuturesUnordered, SplitSink},
};
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
    session::TokenRequest,
    shared::{Control, Shared},
    token::TokenSource,
};

/// A connection that lasted for so long was a good one: the pauses before the next ones begin anew. Without it, a
/// server that greets and then breaks the protocol would be asked again and again.
const STEADY_AFTER: Duration = Duration::from_secs(10);

/// From the handshake to `WELCOME`.
const WELCOME_WAIT: Duration = Duration::from_secs(15);

/// For the closing handshake, by which nothing depends any more.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// The pause before a token provider that failed is asked again grows from the first to the second.
const TOKEN_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Tokens of topics that are asked for at a time; further ones wait.
const TOPIC_TOKENS_AT_ONCE: usize = 8;

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
    /// The part of each of these pauses that is not random: at once would be no pause.
    retry_least: Duration,
}

/// What is due by the clock.
enum Due {
    Leave,
    Broken(ConnectError),
    Nothing,
}

impl Clock {
    fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        let (first, most) = settings.retry_pause;
        Self {
            silence_max: settings.silence_max,
            heard: now,
            asked: false,
            welcome: Some(now + WELCOME_WAIT),
            retry: None,
            leave: None,
            retry_pause: Backoff::new(first, most),
            retry_least: first / 2,
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
        let (wants, is_settled) = {
            let state = shared.state();
            (state.session.wants_retry(), state.session.is_settled())
        };
        if wants && self.retry.is_none() {
            self.retry = Some(Instant::now() + self.retry_pause.next() / 2 + self.retry_least);
        } else if is_settled {
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
    let mut clock = Clock::new(settings);
    let mut fetch: Option<TokenFetch> = None;
    let mut current = token;
    let mut topic_tokens = FuturesUnordered::new();
    let mut welcomed: Option<Instant> = None;
    let end = loop {
        clock.plan_retry(shared);
        while topic_tokens.len() < TOPIC_TOKENS_AT_ONCE
            && let Some((request, source)) = shared.next_token_request()
        {
            topic_tokens.push(async move { (source.fetch().await, request) });
        }
        select! {
            message = stream.next() => {
                clock.heard();
                match take(message, shared) {
                    Err(error) => break End::Broken { error, token: current.clone() },
                    Ok(controls) => for control in controls {
                        match control {
                            Control::Connected => {
                                clock.welcome = None;
                                welcomed = Some(Instant::now());
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
                break End::Broken { error: of_tungstenite(error), token: current.clone() };
            }
            fresh = async { fetch.as_mut().expect("checked by the guard").await }, if fetch.is_some() => {
                fetch = None;
                shared.state().session.authenticate(&fresh);
                current = Some(fresh);
            }
            Some((token, request)) = topic_tokens.next() => take_topic_token(token, &request, shared),
            () = shared.wake.notified() => {}
            () = sleep_until(clock.next()) => match clock.due(shared) {
                Due::Leave => break End::Moved,
                Due::Broken(error) => break End::Broken { error, token: current.clone() },
                Due::Nothing => {}
            },
        }
        if shared.closed().is_some() {
            break End::Closed;
        }
    };
    if welcomed.is_some_and(|at| at.elapsed() >= STEADY_AFTER) {
        settings.backoff.reset();
    }
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

/// Hands the session what a topic's token provider gave.
fn take_topic_token(token: Result<Option<String>, ConnectError>, request: &TokenRequest, shared: &Shared) {
    let mut state = shared.state();
    match token {
        Ok(Some(token)) => return state.session.give_topic_token(request, token),
        Ok(None) => {}
        Err(error) => tracing::warn!(topic = request.topic, %error, "no token of the topic yet"),
    }
    state.session.no_topic_token(request);
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
