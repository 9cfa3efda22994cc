//! What can be done to every program that a cluster is made of.

use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;

use crate::process::Process;

/// A program that is frozen, stopped, killed, and started again where it was.
pub trait Service {
    /// By which it stops in an orderly way.
    const STOP_SIGNAL: Signal;

    /// How long that may take.
    const STOP_WAIT: Duration;

    /// Its process; also one that has ended, until it is started again.
    fn process(&self) -> Option<&Process>;

    /// As [`Service::process`].
    fn process_mut(&mut self) -> Option<&mut Process>;

    /// Starts it on the same ports and data, after [`Service::stop`] or [`Service::kill9`], and waits until
    /// it answers.
    ///
    /// # Errors
    /// When it does not start, or does not answer in time; with the end of its log.
    fn start_again(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// The process id, while it runs.
    fn pid(&self) -> Option<u32> {
        self.process().filter(|process| process.runs()).map(Process::pid)
    }

    /// Freezes it and its children (SIGSTOP): connections stay, the kernel accepts new ones, and nothing is
    /// answered.
    fn pause(&self) {
        if let Some(process) = self.process() {
            process.pause();
        }
    }

    /// Lets it go on after [`Service::pause`].
    fn resume(&self) {
        if let Some(process) = self.process() {
            process.resume();
        }
    }

    /// Stops it in an orderly way. Returns when it is down.
    ///
    /// # Errors
    /// When it does not stop.
    fn stop(&mut self) -> impl Future<Output = Result<()>> + Send
    where
        Self: Send,
    {
        async {
            if let Some(process) = self.process_mut() {
                process.signal(Self::STOP_SIGNAL);
                process.wait_exit(Self::STOP_WAIT).await?;
            }
            Ok(())
        }
    }

    /// Kills it and its children (SIGKILL), as a power cut would.
    fn kill9(&mut self) {
        if let Some(process) = self.process_mut() {
            process.kill9();
        }
    }
}
