//! A device: connects to one node after the other and remembers what it has seen.

use std::sync::{Arc, Mutex, MutexGuard};

use common::{Stream, protocol};
use fanout::Hub;
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    connection::{Connection, Habits},
    log::ModelLog,
    seen::Seen,
};

pub(crate) struct Device {
    pub(crate) who: protocol::Device,
    /// Its user's stream, a topic, and the one that everybody follows.
    pub(crate) streams: [Stream; 3],
    /// Whether it attends the topic.
    pub(crate) attends: bool,
    seen: Arc<Mutex<Seen>>,
    connection: Option<JoinHandle<()>>,
    /// While true the device does not read.
    stalled: watch::Sender<bool>,
}

impl Device {
    pub(crate) fn new(who: protocol::Device, topic: Stream, attends: bool) -> Self {
        let user = Stream::User(who.user_id.clone().unwrap());
        Self {
            who,
            streams: [user, topic, Stream::All],
            attends,
            seen: Arc::default(),
            connection: None,
            stalled: watch::Sender::new(false),
        }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub(crate) fn topic(&self) -> &Stream {
        &self.streams[1]
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.is_finished())
    }

    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    pub(crate) fn connect(&mut self, hub: &Arc<Hub>, log: &Arc<ModelLog>, habits: Habits) {
        self.disconnect();
        let (hub, log, seen) = (hub.clone(), log.clone(), self.seen.clone());
        let (streams, stalled) = (self.streams.clone(), self.stalled.subscribe());
        let attends = self.attends.then(|| self.who.clone());
        self.connection = Some(tokio::spawn(async move {
            if let Some(connection) =
                Connection::open(hub, log, seen, stalled, habits, streams, attends).await
            {
                connection.run().await;
            }
        }));
    }

    pub(crate) fn disconnect(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.abort();
        }
    }

    /// Fails when the device saw something it should not have.
    pub(crate) async fn check(&mut self) {
        if self.connection.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(connection) = self.connection.take()
            && let Err(error) = connection.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}
