//! Does to a cluster what the plan says, and mends it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::future::join_all;
use testkit::{Cluster, Nginx, Node, Postgres, Redis};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    history::Outage,
    plan::{How, Part, Planned},
    recorder::Clock,
};

/// How long a node may take to drain and leave when it is asked to stop.
const EXIT_WAIT: Duration = Duration::from_secs(60);

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
    let begun = Instant::now();
    let Cluster { nodes, redis, postgres, nginx, .. } = cluster;
    let nodes = nodes.iter_mut().enumerate().map(|(at, node)| (Part::Node(at), Patient::Node(node)));
    let rest = [(Part::Redis, Patient::Redis(redis)), (Part::Postgres, Patient::Postgres(postgres))];
    let nginx = nginx.as_mut().map(|nginx| (Part::Nginx, Patient::Nginx(nginx)));
    // Each part has its own course of events: several may be away at one time.
    let courses = nodes.chain(rest).chain(nginx).map(|(part, mut patient)| {
        let mut stop = stop.clone();
        async move {
            for planned in plan.iter().filter(|planned| planned.part == part) {
                if stopped(&mut stop, begun + planned.at).await {
                    break;
                }
                let began = clock.now();
                patient
                    .hurt(planned.how)
                    .await
                    .with_context(|| format!("{part} is to be {:?}", planned.how))?;
                stopped(&mut stop, begun + planned.at + planned.lasts).await;
                patient.mend(planned.how).await.with_context(|| format!("{part} does not come back"))?;
                done.add(Outage { part, how: planned.how, began, mended: clock.now() });
            }
            anyhow::Ok(())
        }
    });
    join_all(courses).await.into_iter().collect()
}

/// Waits for a moment; answers whether it was cut short.
async fn stopped(stop: &mut watch::Receiver<bool>, at: Instant) -> bool {
    tokio::select! {
        // Whoever no longer holds the sender wants nothing more.
        _ = stop.wait_for(|stop| *stop) => true,
        () = sleep_until(at) => false,
    }
}

/// A part, at hand.
enum Patient<'a> {
    Node(&'a mut Node),
    Redis(&'a mut Redis),
    Postgres(&'a mut Postgres),
    Nginx(&'a mut Nginx),
}

impl Patient<'_> {
    async fn hurt(&mut self, how: How) -> Result<()> {
        match (how, self) {
            (How::Kill, Self::Node(node)) => node.kill9(),
            (How::Kill, Self::Redis(redis)) => redis.kill9(),
            (How::Kill, Self::Postgres(postgres)) => postgres.kill9(),
            (How::Kill, Self::Nginx(nginx)) => nginx.kill9(),
            (How::Freeze, Self::Node(node)) => node.pause(),
            (How::Freeze, Self::Redis(redis)) => redis.pause(),
            (How::Freeze, Self::Postgres(postgres)) => postgres.pause(),
            (How::Freeze, Self::Nginx(nginx)) => nginx.pause(),
            (How::Restart, Self::Node(node)) => {
                node.terminate();
                node.wait_exit(EXIT_WAIT).await?;
            }
            (How::Restart, Self::Redis(redis)) => redis.stop().await?,
            (How::Restart, Self::Postgres(postgres)) => postgres.stop().await?,
            (How::Restart, Self::Nginx(nginx)) => nginx.stop().await?,
        }
        Ok(())
    }

    async fn mend(&mut self, how: How) -> Result<()> {
        if how == How::Freeze {
            match self {
                Self::Node(node) => node.resume(),
                Self::Redis(redis) => redis.resume(),
                Self::Postgres(postgres) => postgres.resume(),
                Self::Nginx(nginx) => nginx.resume(),
            }
            return Ok(());
        }
        let mut attempts = 1;
        loop {
            let started = match self {
                Self::Node(node) => node.start_again().await,
                Self::Redis(redis) => redis.start_again().await,
                Self::Postgres(postgres) => postgres.start_again().await,
                Self::Nginx(nginx) => nginx.start_again().await,
            };
            if started.is_ok() || attempts == STARTS_MAX {
                return started;
            }
            attempts += 1;
            sleep(START_PAUSE).await;
        }
    }
}
