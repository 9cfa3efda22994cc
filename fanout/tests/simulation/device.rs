//! A device: follows one stream through whichever node it is connected to, and checks every event.

use std::sync::{Arc, Mutex};

use common::{Cursor, Event, Stream};
use fanout::{Hub, Mailbox, Step};
use tokio::{sync::watch, task::JoinHandle};

use crate::log::ModelLog;

pub(crate) struct Device {
    pub(crate) stream: Stream,
    state: Arc<Mutex<Seen>>,
    connection: Option<JoinHandle<()>>,
    /// While true the device does not read.
    stalled: watch::Sender<bool>,
}

#[derive(Default)]
struct Seen {
    cursor: Option<Cursor>,
    snapshots: u32,
    synced: u32,
}

impl Device {
    pub(crate) fn new(stream: Stream) -> Self {
        let stalled = watch::Sender::new(false);
        Self { stream, state: Arc::default(), connection: None, stalled }
    }

    pub(crate) fn cursor(&self) -> Option<Cursor> {
        self.state.lock().unwrap().cursor.clone()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.is_finished())
    }

    pub(crate) fn set_stalled(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    pub(crate) fn connect(&mut self, hub: &Arc<Hub>, log: &Arc<ModelLog>) {
        self.disconnect();
        let (hub, log, state) = (hub.clone(), log.clone(), self.state.clone());
        let (stream, stalled) = (self.stream.clone(), self.stalled.subscribe());
        self.connection = Some(tokio::spawn(follow(hub, log, stream, state, stalled)));
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

/// A connection, as a session of the gateway handles one.
async fn follow(
    hub: Arc<Hub>,
    log: Arc<ModelLog>,
    stream: Stream,
    state: Arc<Mutex<Seen>>,
    mut stalled: watch::Receiver<bool>,
) {
    let mailbox = Arc::<Mailbox>::default();
    let from = state.lock().unwrap().cursor.clone();
    let Ok(mut follower) = hub.follow(stream.clone(), from.as_ref(), mailbox.clone(), 0).await else {
        return;
    };
    if from.is_none() {
        state.lock().unwrap().cursor = Some(follower.head());
    }
    loop {
        stalled.wait_for(|stalled| !stalled).await.unwrap();
        match follower.step(200) {
            Step::Wait => {
                mailbox.marked().await;
                mailbox.take();
            }
            Step::Send(due) => {
                for delivery in due {
                    see(&state, &delivery.event);
                }
            }
            Step::Synced(seq) => {
                let mut state = state.lock().unwrap();
                assert_eq!(
                    state.cursor.as_ref().map(|cursor| cursor.seq),
                    Some(seq),
                    "synced where it stands"
                );
                state.synced += 1;
            }
            Step::Signals(_) => {}
            Step::Read(read) => {
                let page = hub.read(read).await;
                for event in follower.accept(&page) {
                    see(&state, &event);
                }
            }
            Step::Reset => {
                let cursor = Cursor { epoch: log.epoch(), seq: log.head(&stream) };
                hub.observe_epoch(&cursor.epoch);
                follower.restart(cursor.clone());
                let mut state = state.lock().unwrap();
                let stood = state.cursor.take().unwrap();
                // Once there are several histories a node may learn late which is the present one, and
                // answer with a state that was not needed. While there is one, it must not.
                let lost = cursor.epoch.as_str() != "e1" || stood.seq < log.floor(&stream);
                assert!(lost, "reset at {stood} for nothing, the head is {}", cursor.seq);
                state.cursor = Some(cursor);
                state.snapshots += 1;
            }
        }
    }
}

/// Every event is the next one, and of the history that the device is in.
fn see(state: &Mutex<Seen>, event: &Event) {
    let mut state = state.lock().unwrap();
    let cursor = state.cursor.as_mut().unwrap();
    assert_eq!(event.seq, cursor.seq.next(), "the event after {cursor}");
    let expected = format!("{{\"epoch\":{},\"seq\":{}}}", &cursor.epoch.as_str()[1..], event.seq);
    // An event of an earlier epoch that survived the failover is as good as one of this epoch.
    let body = event.payload.get();
    let of_epoch = |body: &str| body[9..].split(',').next().unwrap().parse::<u64>().unwrap();
    assert!(of_epoch(body) <= of_epoch(&expected), "{body} in the history of {cursor}");
    cursor.seq = event.seq;
}
