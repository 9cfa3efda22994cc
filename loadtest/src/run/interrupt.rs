//! Ctrl-C: once to end the load and verify, twice to give up.

use tokio::sync::watch;

/// How often it was pressed.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(watch::Receiver<u32>);

/// Listens from now on.
pub(crate) fn listen() -> Interrupt {
    let (sender, receiver) = watch::channel(0);
    tokio::spawn(async move {
        for times in 1.. {
            if tokio::signal::ctrl_c().await.is_err() {
                // No signals here: runs end by their duration. The sender stays, for those who wait on it.
                sender.closed().await;
                return;
            }
            sender.send_replace(times);
        }
    });
    Interrupt(receiver)
}

impl Interrupt {
    /// Waits for the first Ctrl-C. Safe to drop.
    pub(crate) async fn pressed(&mut self) {
        self.times(1).await;
    }

    /// Whether it was pressed.
    pub(crate) fn was_pressed(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits for the second Ctrl-C. Safe to drop.
    pub(crate) async fn pressed_again(&mut self) {
        self.times(2).await;
    }

    async fn times(&mut self, times: u32) {
        if self.0.wait_for(|pressed| *pressed >= times).await.is_err() {
            // It can no longer be pressed.
            std::future::pending::<()>().await;
        }
    }
}
