//! Ctrl-C: once to end the load and verify, twice to give up.

use tokio::sync::watch;

/// Exit code after giving up: 128 and the signal's number, as shells count.
const GIVEN_UP: i32 = 130;

/// Becomes true at the first Ctrl-C. The second ends the process.
pub(crate) fn listen() -> watch::Receiver<bool> {
    let (interrupted, receiver) = watch::channel(false);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_err() {
            // No signals here: runs end by their duration. The sender stays, for those who wait on it.
            interrupted.closed().await;
            return;
        }
        interrupted.send_replace(true);
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(GIVEN_UP);
        }
    });
    receiver
}

/// Waits for the first Ctrl-C. Safe to drop.
pub(crate) async fn pressed(interrupted: &mut watch::Receiver<bool>) {
    if interrupted.wait_for(|pressed| *pressed).await.is_err() {
        // It can no longer be pressed.
        std::future::pending::<()>().await;
    }
}
