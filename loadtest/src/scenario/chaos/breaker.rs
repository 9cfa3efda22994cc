//! Does to a cluster what the plan says, and mends it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::future::{BoxFuture, join_all};
use testkit::{Cluster, Service};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::plan::{How, Outage, Part, Planned};
use crate::users::ledger::Clock;

/// How often a part is started again that does not start: another may be away that it needs.
const STARTS_MAX: u32 = 10;

/// The pause before the next attempt.
const START_PAUSE: Duration = Duration::from_millis(500);

/// What can fail in this cluster.
pub(super) fn parts(cluster: &Cluster) -> Vec<Part> {
    let nodes = (0..cluster.nodes.len()).map(Part::Node);
    nodes.chain([Part::Redis, Part::Postgres]).chain(cluster.nginx.is_some().then_some(Part::Nginx)).collect()
}

/// What has been done so far.
#[derive(Debug, Default)]
pub(super) struct Done(Mutex<Vec<Outage>>);

impl Done {
    /// By when they began.
    pub(super) fn faults(&self) -> Vec<Outage> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        faults.sort_by_key(|fault| fault.began);
        faults
    }

    fn add(&self, fault: Outage) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }
}

/// Carries the plan out, counted from now. Once `stop` is set nothing more is broken, and what is broken
/// is mended at once; returns when all is.
///
/// # Errors
/// When a part does not come back; with the end of its log.
pub(super) async fn carry_out(
    cluster: &mut Cluster,
    plan: &[Planned],
    stop: &watch::Receiver<bool>,
    clock: Clock,
    done: &Done,
) -> Result<()> {
    let course = Course { begun: Instant::now(), plan, stop, clock, done };
    let Cluster { nodes, redis, postgres, nginx, .. } = cluster;
    // Several may be away at one time.
    let mut courses: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
    for (at, node) in nodes.iter_mut().enumerate() {
        courses.push(Box::pin(course.of(Part::Node(at), node)));
    }
    courses.push(Box::pin(course.of(Part::Redis, redis)));
    courses.push(Box::pin(course.of(Part::Postgres, postgres)));
    if let Some(nginx) = nginx {
        courses.push(Box::pin(course.of(Part::Nginx, nginx)));
    }
    join_all(courses).await.into_iter().collect()
}

/// What each part goes through, on its own.
struct Course<'a> {
    begun: Instant,
    plan: &'a [Planned],
    stop: &'a watch::Receiver<bool>,
    clock: Clock,
    done: &'a Done,
}

impl Course<'_> {
    async fn of(&self, part: Part, service: &mut (impl Service + Send)) -> Result<()> {
        let mut stop = self.stop.clone();
        for planned in self.plan.iter().filter(|planned| planned.part == part) {
            if stopped(&mut stop, self.begun + planned.at).await {
                break;
            }
            let began = self.clock.now();
            let hurt = hurt(service, planned.how).await;
            hurt.with_context(|| format!("{part} is to be {:?}", planned.how))?;
            stopped(&mut stop, self.begun + planned.at + planned.lasts).await;
            mend(service, planned.how).await.with_context(|| format!("{part} does not come back"))?;
            self.done.add(Outage { part, how: planned.how, began, mended: self.clock.now() });
        }
        Ok(())
    }
}

async fn hurt(service: &mut (impl Service + Send), how: How) -> Result<()> {
    match how {
        How::Kill => service.kill9(),
        How::Freeze => service.pause(),
        How::Restart => service.stop().await?,
    }
    Ok(())
}

async fn mend(service: &mut (impl Service + Send), how: How) -> Result<()> {
    if how == How::Freeze {
        service.resume();
        return Ok(());
    }
    let mut attempts = 1;
    loop {
        let started = service.start_again().await;
        if started.is_ok() || attempts == STARTS_MAX {
            return started;
        }
        attempts += 1;
        sleep(START_PAUSE).await;
    }
}

/// Waits for a moment; returns whether it was cut short.
async fn stopped(stop: &mut watch::Receiver<bool>, at: Instant) -> bool {
    tokio::select! {
        // Whoever no longer holds the sender wants nothing more.
        _ = stop.wait_for(|stop| *stop) => true,
        () = sleep_until(at) => false,
    }
}
