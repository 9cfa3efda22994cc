//! Samples of what the threads of this process run, taken by a signal (SIGPROF) for each 1/99 s of processor time.

use std::{
    sync::{Mutex, MutexGuard, Once, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use nix::sys::signal::{Signal, raise};
use pprof::{Frames, ProfilerGuard, ProfilerGuardBuilder};
use tokio::{task::spawn_blocking, time::sleep};

/// Samples for a second of processor time. Not 100, which would be in step with what is done every ten milliseconds.
pub(super) const FREQUENCY: i32 = 99;

/// Code of these libraries is not sampled: it holds locks, and has states, that resolving a function may meet.
const NOT_SAMPLED: [&str; 2] = ["libgcc_s", "ld-linux"];

/// When the collection that runs will have ended.
static UNTIL: Mutex<Option<Instant>> = Mutex::new(None);

/// What was collected.
pub(super) struct Samples {
    /// Each stack that was met, and how often.
    pub(super) stacks: Vec<(Frames, u64)>,
    pub(super) began: SystemTime,
    pub(super) lasted: Duration,
}

/// Why there are no samples.
#[derive(Debug, thiserror::Error)]
pub(super) enum SamplingError {
    #[error("another profile is being collected; try again in {} s", .0.as_secs())]
    Running(Duration),
    #[error("the profiler cannot start: {0}; it needs a temporary folder that can be written")]
    Start(#[from] pprof::Error),
    #[error("the profile is lost: its task panicked")]
    Panicked,
}

/// Collects for this long. Dropping the future ends the collection.
///
/// # Errors
/// When another one runs, or the profiler cannot start.
pub(super) async fn collect(duration: Duration) -> Result<Samples, SamplingError> {
    let turn = Turn::take(duration)?;
    // Reading the symbols of the binary takes a while, the first time.
    let running = spawn_blocking(move || start().map(|guard| (guard, turn)));
    let (guard, turn) = running.await.map_err(|_| SamplingError::Panicked)??;
    let (began, since) = (SystemTime::now(), Instant::now());
    sleep(duration).await;
    let lasted = since.elapsed();
    let resolved = spawn_blocking(move || {
        let report = guard.report().build_unresolved();
        // Nothing is sampled while names are looked up.
        drop(guard);
        let stacks = report.map(|report| {
            let counted = report.data.into_iter();
            counted.map(|(stack, count)| (Frames::from(stack), u64::try_from(count).unwrap_or(0))).collect()
        });
        drop(turn);
        stacks
    });
    let stacks = resolved.await.map_err(|_| SamplingError::Panicked)??;
    Ok(Samples { stacks, began, lasted })
}

fn start() -> pprof::Result<ProfilerGuard<'static>> {
    static UNWINDER: Once = Once::new();
    let builder = || ProfilerGuardBuilder::default().blocklist(&NOT_SAMPLED);
    if !UNWINDER.is_completed() {
        // The unwinder reads the tables of all libraries when it is first used, which allocates and locks. That must
        // not happen where a signal has interrupted a thread that does the same: so this thread is its first user, at
        // a point where it does neither, before the timer of once a second can have fired.
        let guard = builder().frequency(1).build()?;
        UNWINDER.call_once(|| {
            // It fails only for signals that do not exist.
            let _ = raise(Signal::SIGPROF);
        });
        drop(guard);
    }
    builder().frequency(FREQUENCY).build()
}

/// The right to collect, of one caller at a time.
struct Turn;

impl Turn {
    fn take(duration: Duration) -> Result<Self, SamplingError> {
        let (mut until, now) = (until(), Instant::now());
        if let Some(until) = *until {
            let left = until.saturating_duration_since(now).as_secs();
            return Err(SamplingError::Running(Duration::from_secs(left + 1)));
        }
        *until = Some(now + duration);
        Ok(Self)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *until() = None;
    }
}

fn until() -> MutexGuard<'static, Option<Instant>> {
    UNTIL.lock().unwrap_or_else(PoisonError::into_inner)
}
