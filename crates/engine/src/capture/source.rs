//! What is done in the source beside reading: tables enter capture and leave it, one job at a time.

use super::AppPlan;
use super::line::Line;
use super::marking::Marking;
use crate::retry::Retry;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::{Connector, Owner, Source};
use tandem_core::{BarrierId, Fault, Position, TableName};

/// The jobs of one app.
#[derive(Default)]
pub(super) struct Jobs {
    line: Line<Box<dyn Source>, Ended>,
    /// Tables known to be in capture; `None` until the source was asked.
    captured: Option<BTreeSet<TableName>>,
    /// When the source was asked last.
    looked_at: Duration,
    /// The log has brought something of a table that nobody wants: it may be one of ours under another name.
    look_soon: bool,
    /// Tables that were in capture and are not any more, though nobody has taken them out.
    missing: BTreeSet<TableName>,
    /// Barriers that were written into the log.
    written: BTreeSet<BarrierId>,
    retry: Retry,
}

/// How often the source is asked whether its tables are still in capture. A table that was dropped, made anew or renamed
/// leaves it without a word in the log.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How soon it is asked again when there is reason to.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A job that has ended.
pub(super) struct Ended {
    source: Option<Box<dyn Source>>,
    job: Job,
    done: Result<Done, Fault>,
}

#[derive(Debug, Clone)]
enum Job {
    /// With the tables that must be in capture.
    Look(BTreeSet<TableName>),
    Enter(BarrierId, Vec<TableName>),
    Leave(Vec<TableName>),
    Mark(Vec<BarrierId>),
}

enum Done {
    Looked(Vec<TableName>),
    Entered(Position),
    Left,
    Marked,
}

impl Jobs {
    /// Starts the next job that the plan asks for, unless one is being done. `seen`: barriers that have come back.
    pub(super) fn begin(
        &mut self,
        plan: &AppPlan,
        seen: impl Fn(&BarrierId) -> bool,
        marking: &mut Marking,
        (connector, owner): (&Arc<dyn Connector>, Owner),
        now: Duration,
    ) {
        if self.line.is_busy() || !self.retry.is_due(now) {
            return;
        }
        let kept = expected(plan);
        self.missing.retain(|table| kept.contains(table));
        let Some(job) = self.next(plan, seen, marking, now) else { return };
        if matches!(job, Job::Look(_)) {
            (self.looked_at, self.look_soon) = (now, false);
        }
        let connector = connector.clone();
        self.line.begin(|source| async move {
            let mut source = match source {
                Some(source) => source,
                None => match connector.open_source(owner).await {
                    Ok(source) => source,
                    Err(fault) => return Ended { source: None, job, done: Err(fault) },
                },
            };
            let done = match &job {
                Job::Look(_) => source.captured().await.map(Done::Looked),
                Job::Enter(barrier, tables) => source.enter(tables, *barrier).await.map(Done::Entered),
                Job::Leave(tables) => source.leave(tables).await.map(|()| Done::Left),
                Job::Mark(barriers) => source.mark(barriers).await.map(|()| Done::Marked),
            };
            Ended { source: Some(source), job, done }
        });
    }

    fn next(
        &self,
        plan: &AppPlan,
        seen: impl Fn(&BarrierId) -> bool,
        marking: &mut Marking,
        now: Duration,
    ) -> Option<Job> {
        let Some(captured) = &self.captured else { return Some(Job::Look(expected(plan))) };
        let leaving: Vec<TableName> = captured.difference(&plan.tables()).cloned().collect();
        if !leaving.is_empty() {
            return Some(Job::Leave(leaving));
        }
        let entering = plan.entering.iter().find(|(id, _)| !self.written.contains(id) && !seen(id));
        if let Some((barrier, table)) = entering {
            return Some(Job::Enter(*barrier, vec![table.clone()]));
        }
        // A place in a log that holds nothing for us means nothing.
        if captured.is_empty() {
            return None;
        }
        let mark = marking.next().map(Job::Mark);
        mark.or_else(|| (self.look_due() <= now).then(|| Job::Look(expected(plan))))
    }

    fn look_due(&self) -> Duration {
        self.looked_at + if self.look_soon { LOOK_AGAIN } else { LOOK_EVERY }
    }

    /// The log names a table that nobody wants.
    pub(super) fn look_soon(&mut self) {
        self.look_soon = true;
    }

    /// Tables were captured under these names, and are no more.
    pub(super) fn renamed(&mut self, tables: &[TableName], plan: &AppPlan) {
        let ours = plan.tables();
        self.missing.extend(tables.iter().filter(|table| ours.contains(*table)).cloned());
    }

    /// Tables that have left capture, though nobody has taken them out: what was written to them since is unknown.
    pub(super) fn missing(&self) -> &BTreeSet<TableName> {
        &self.missing
    }

    /// Waits for the job that is being done. Dropping the future leaves the job where it is.
    pub(super) async fn ended(&mut self) -> Ended {
        self.line.ended().await
    }

    /// Notes what came of a job. Returns where a capture begins that has no position yet, if a table has entered.
    pub(super) fn note(
        &mut self,
        ended: Ended,
        marking: &mut Marking,
        now: Duration,
    ) -> Result<Option<Position>, Fault> {
        let keep = ended.done.as_ref().err().is_none_or(|fault| !fault.class.breaks_connection());
        self.line = Line::behind(ended.source.filter(|_| keep));
        let done = match ended.done {
            Ok(done) => done,
            Err(fault) => {
                self.retry.failed(fault.clone(), now);
                return Err(fault);
            }
        };
        self.retry = Retry::default();
        match (done, ended.job) {
            (Done::Looked(tables), job) => {
                let captured: BTreeSet<TableName> = tables.into_iter().collect();
                if let Job::Look(expected) = job {
                    self.missing.extend(expected.difference(&captured).cloned());
                }
                self.captured = Some(captured);
            }
            (Done::Entered(start), Job::Enter(barrier, tables)) => {
                self.written.insert(barrier);
                self.captured.get_or_insert_default().extend(tables);
                return Ok(Some(start));
            }
            (Done::Left, Job::Leave(tables)) => {
                let captured = self.captured.get_or_insert_default();
                captured.retain(|table| !tables.contains(table));
            }
            (Done::Marked, Job::Mark(barriers)) => marking.written(&barriers),
            (Done::Entered(_) | Done::Left | Done::Marked, _) => {}
        }
        Ok(None)
    }

    /// The tables that are known to be in capture; `None` until the source was asked.
    pub(super) fn captured(&self) -> Option<&BTreeSet<TableName>> {
        self.captured.as_ref()
    }

    /// Whether the source says that no table is in capture.
    pub(super) fn none_captured(&self) -> bool {
        self.captured.as_ref().is_some_and(BTreeSet::is_empty)
    }

    /// When a job that failed is tried again, or the source is asked again.
    pub(super) fn due(&self) -> Option<Duration> {
        let looks = self.captured.as_ref().filter(|captured| !captured.is_empty() && !self.line.is_busy());
        self.retry.due().or(looks.map(|_| self.look_due()))
    }
}

/// The tables that must be in capture: those that are entering may have come or not.
fn expected(plan: &AppPlan) -> BTreeSet<TableName> {
    let mut tables = plan.tables();
    tables.retain(|table| !plan.entering.values().any(|entering| entering == table));
    tables
}
