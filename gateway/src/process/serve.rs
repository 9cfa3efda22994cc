//! `draftwire serve`: from the settings to the last connection.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use common::time::unix_ms;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::spawn_blocking,
    time::sleep,
};
use tracing::{info, warn};

use super::{memory, metrics, open_files, prometheus, store_size};
use crate::{
    config::{Config, ConfigErrors},
    edge::{
        listener::{self, Patience},
        router,
    },
    node::{Node, StartError},
    operations,
    store::StoreError,
    traces::Exporter,
};

/// How long a start waits for a database that is not there yet. Beyond it the process ends, and
/// whoever started it sees why.
const STORE_WAIT_MAX: Duration = Duration::from_secs(60);

/// The pause between attempts to reach it.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// What SIGHUP is answered with.
pub struct Rereading {
    /// Reads the settings again, from the flags, the environment and the files of the start.
    pub settings: Box<dyn Fn() -> Result<Config, ConfigErrors> + Send + Sync>,
    /// Takes `tracing` filter directives, known to be valid.
    pub set_log_level: Box<dyn Fn(&str) + Send + Sync>,
}

/// Serves until the process is told to stop (SIGTERM or SIGINT), and then drains. On SIGHUP keys and the log
/// level are read again.
///
/// # Errors
/// When the node cannot start; the message says what to mend.
pub async fn serve(settings: Config, rereading: Rereading) -> anyhow::Result<()> {
    for warning in settings.warnings() {
        warn!("{warning}");
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let handle = metrics::install()?;
    metrics::record_limits(&settings.changeable());
    open_files::raise(settings.websocket.connections_max);
    let exporter = settings.traces.as_ref().map(|traces| Exporter::start(traces, &settings.listen.node));
    let exporter = exporter.transpose().context("the client for OTEL_EXPORTER_OTLP_ENDPOINT")?;
    let public = bind("LISTEN_ADDR", settings.listen.addr)?;
    let private = bind("METRICS_ADDR", settings.listen.metrics_addr)?;
    let patience = Patience { idle: settings.listen.keep_alive, ..Patience::default() };
    let node = tokio::select! {
        started = start(settings) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    info!(
        node = %node.settings.listen.node,
        store = node.settings.store.kind(),
        bus = node.settings.bus.kind(),
        listen = %public.local_addr()?,
        metrics = %private.local_addr()?,
        "serving"
    );
    if node.settings.store.is_embedded() {
        info!("open http://{}/ for the demo", public.local_addr()?);
    }
    tokio::spawn(operations::keep_time());
    tokio::spawn(store_size::watch(Arc::downgrade(&node.store)));
    tokio::spawn(memory::look_after(Arc::downgrade(&node.connections), node.settings.fanout.linger));
    let (stop, stopped) = watch::channel(false);
    let metrics_server = tokio::spawn(listener::serve(
        private,
        prometheus::router(handle, node.clone(), stopped.clone()),
        patience,
        stopped.clone(),
    ));
    let server = tokio::spawn(listener::serve(public, router::router(node.edge()), patience, stopped));
    let keys = tokio::spawn({
        let node = node.clone();
        async move {
            let rereading = Arc::new(rereading);
            tokio::join!(
                node.verifier.keep_keys_fresh(),
                reread_on(hangup, &node, &rereading),
                follow_settings(&node, &*rereading.set_log_level)
            )
        }
    });

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!(connections = node.connections.total(), "stopping: clients are asked to move");
    let left = tokio::select! {
        left = node.drain() => left,
        // A second signal does not wait for anybody.
        _ = terminate.recv() => node.connections.total(),
        _ = interrupt.recv() => node.connections.total(),
    };
    stop.send_replace(true);
    keys.abort();
    server.await?;
    node.close().await;
    metrics_server.await?;
    if let Some(exporter) = exporter {
        exporter.stop().await;
    }
    if left > 0 {
        warn!(connections = left, "stopped with connections left");
    } else {
        info!("stopped");
    }
    Ok(())
}

/// Gives the process what it has of the settings that hold at the moment, now and whenever they change.
async fn follow_settings(node: &Node, set_log_level: &(dyn Fn(&str) + Send + Sync)) {
    let mut changed = node.live.subscribe();
    let mut log_level = node.settings.listen.log_level.clone();
    let mut connections_max = node.settings.websocket.connections_max;
    loop {
        changed.mark_unchanged();
        let settings = node.live.node();
        if log_level != settings.log_level {
            set_log_level(&settings.log_level);
            log_level.clone_from(&settings.log_level);
        }
        if connections_max < settings.websocket.connections_max {
            connections_max = settings.websocket.connections_max;
            open_files::raise(connections_max);
        }
        operations::set_threshold(settings.slow_operation);
        metrics::record_limits(&settings);
        if changed.changed().await.is_err() {
            return;
        }
    }
}

/// Reads again what can be, at each signal. What is wrong is said, and changes nothing.
async fn reread_on(mut hangup: Signal, node: &Node, rereading: &Arc<Rereading>) {
    while hangup.recv().await.is_some() {
        let read = rereading.clone();
        // Files may be far away.
        match spawn_blocking(move || (read.settings)()).await {
            Ok(Ok(settings)) => {
                node.runtime.reread_given(&settings.given, "LOG_LEVEL");
                match node.verifier.reload(&settings.auth.keys).await {
                    Ok(()) => info!("SIGHUP: keys and log level were read again; all else needs a restart"),
                    Err(error) => warn!(%error, "SIGHUP: the keys stay as they were"),
                }
            }
            Ok(Err(ConfigErrors(sentences))) => {
                for sentence in sentences {
                    warn!("SIGHUP: everything stays as it was: {sentence}");
                }
            }
            Err(error) => warn!(%error, "SIGHUP: the settings could not be read"),
        }
    }
}

/// Listens on the address of the setting `name`.
fn bind(name: &'static str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    listener::bind(addr)
        .with_context(|| format!("{name}: cannot listen on {addr}; free it or choose another address"))
}

/// Starts the node, waiting a while for a database that is still on its way up.
async fn start(settings: Config) -> anyhow::Result<std::sync::Arc<Node>> {
    let deadline = unix_ms() + u64::try_from(STORE_WAIT_MAX.as_millis())?;
    loop {
        match Node::start(settings.clone()).await {
            Ok(node) => return Ok(node),
            Err(StartError::Store(StoreError::Unavailable(reason))) if unix_ms() < deadline => {
                warn!(reason, "waiting for the database");
                sleep(STORE_RETRY).await;
            }
            Err(error) => return Err(error).context("cannot start"),
        }
    }
}
