//! What an app is to refuse on behalf of maps, and what it refuses now: brought in line, one try at a time.
//!
//! Beside everything else: reading goes on, and no pause waits for a guard. What stands in the app is the truth, and
//! is read from there after each start and each broken connection; nothing of it is remembered here. A lock that
//! cannot be had is tried for again and again, with whoever holds it named meanwhile.

use super::AppPlan;
use super::bypass::Bypasses;
use super::line::Line;
use crate::retry::Retry;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{Connector, Guards, Owner};
use tandem_core::{BarrierId, Fault, Guard, TableName};

/// The guards of one app.
#[derive(Default)]
pub(super) struct Guarding {
    line: Line<Box<dyn Guards>, Ended>,
    /// What the app says that stands; `None` until it was asked.
    standing: Option<Vec<Guard>>,
    retry: Retry,
    pub(super) bypasses: Bypasses,
    /// How many barriers were written since the start.
    barriers: u32,
}

/// A job that has ended.
pub(super) struct Ended {
    guards: Option<Box<dyn Guards>>,
    job: Job,
    done: Result<Vec<Guard>, Fault>,
}

#[derive(Debug, Clone)]
enum Job {
    Look,
    Arm(Guard, BarrierId),
    Disarm(Guard),
}

impl Guarding {
    /// Starts what comes next, unless something is being done. Only tables in capture can be guarded.
    pub(super) fn begin(
        &mut self,
        plan: &AppPlan,
        captured: Option<&BTreeSet<TableName>>,
        (connector, owner): (&Arc<dyn Connector>, Owner),
        now: Duration,
    ) {
        self.bypasses.follow(plan);
        if self.line.is_busy() || !self.retry.is_due(now) {
            return;
        }
        let Some(job) = captured.and_then(|captured| self.next(plan, captured, owner)) else { return };
        let connector = connector.clone();
        self.line.begin(|guards| async move {
            let mut guards = match guards {
                Some(guards) => guards,
                None => match connector.open_guards(owner).await {
                    Ok(guards) => guards,
                    Err(fault) => return Ended { guards: None, job, done: Err(fault) },
                },
            };
            let done = match &job {
                Job::Look => guards.armed().await,
                Job::Arm(guard, barrier) => guards.arm(guard, *barrier).await.map(|()| Vec::new()),
                Job::Disarm(guard) => guards.disarm(guard).await.map(|()| Vec::new()),
            };
            Ended { guards: Some(guards), job, done }
        });
    }

    fn next(&mut self, plan: &AppPlan, captured: &BTreeSet<TableName>, owner: Owner) -> Option<Job> {
        let Some(standing) = &self.standing else {
            // An app without tables of ours has no guards either, and is left in peace.
            return (!captured.is_empty()).then_some(Job::Look);
        };
        let is_in = |guards: &[Guard], guard: &Guard| guards.iter().any(|other| other.is_same(guard));
        if let Some(guard) = standing.iter().find(|guard| !is_in(&plan.guards, guard)) {
            return Some(Job::Disarm(guard.clone()));
        }
        let is_missing = |guard: &&Guard| {
            let unplaced = self.bypasses.is_unplaced(guard);
            (unplaced || !is_in(standing, guard)) && captured.contains(&guard.table)
        };
        let missing = plan.guards.iter().find(is_missing)?.clone();
        // Unlike those of maps, these barriers are never waited for; they only must not be taken for one of them.
        self.barriers += 1;
        let barrier = BarrierId(1 << 63 | (owner.epoch.0 & 0x7fff_ffff) << 32 | u64::from(self.barriers));
        self.bypasses.arming(&missing, barrier);
        Some(Job::Arm(missing, barrier))
    }

    /// Waits for what is being done. Dropping the future leaves it where it is.
    pub(super) async fn ended(&mut self) -> Ended {
        self.line.ended().await
    }

    /// Notes what came of it.
    pub(super) fn note(&mut self, ended: Ended, now: Duration) {
        let keep = ended.done.as_ref().err().is_none_or(|fault| !fault.class.breaks_connection());
        self.line = Line::behind(ended.guards.filter(|_| keep));
        let found = match ended.done {
            Ok(found) => found,
            Err(fault) => {
                if self.retry.fault().is_none() {
                    tracing::warn!(class = %fault.class, "a guard does not stand as it should: {fault}");
                }
                self.retry.failed(fault, now);
                if let Job::Arm(_, barrier) = ended.job {
                    self.bypasses.arming_failed(barrier);
                }
                // What was asked for may have taken effect all the same.
                self.standing = self.standing.take().filter(|_| keep);
                return;
            }
        };
        self.retry = Retry::default();
        let standing = self.standing.get_or_insert_default();
        match ended.job {
            Job::Look => {
                self.bypasses.looked(&found);
                *standing = found;
            }
            Job::Arm(guard, _) => {
                tracing::info!(map = %guard.map, table = %guard.table, refuses = guard.refuses.name(), "guard armed");
                standing.retain(|other| !other.is_same(&guard));
                standing.push(guard);
            }
            Job::Disarm(guard) => {
                tracing::info!(map = %guard.map, table = %guard.table, refuses = guard.refuses.name(), "guard disarmed");
                standing.retain(|other| !other.is_same(&guard));
            }
        }
    }

    /// What stands, as far as it is known.
    pub(super) fn standing(&self) -> &[Guard] {
        self.standing.as_deref().unwrap_or_default()
    }

    /// Why what is wanted does not stand.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.retry.fault()
    }

    /// Tables have left, and their guards with them.
    pub(super) fn forget(&mut self, captured: &BTreeSet<TableName>) {
        if let Some(standing) = &mut self.standing {
            standing.retain(|guard| captured.contains(&guard.table));
        }
    }

    /// When what failed is tried again.
    pub(super) fn due(&self) -> Option<Duration> {
        self.retry.due()
    }
}
