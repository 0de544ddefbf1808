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
    /// Bytes of its log that the source kept for us at the last look.
    retained: Option<u64>,
    /// Barriers that were written into the log.
    written: BTreeSet<BarrierId>,
    /// Tables that are put into capture once more, behind a gap.
    again: Option<Again>,
    retry: Retry,
}

/// Tables are put into capture once more.
struct Again {
    /// What is written into the log for each of them.
    barrier: BarrierId,
    /// The log itself is taken up anew: everything of ours leaves the app first.
    anew: bool,
    /// It has left.
    left: bool,
    /// The tables that are still to come.
    tables: BTreeSet<TableName>,
    /// Where the first of them began.
    start: Option<Position>,
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
    Looked(Vec<TableName>, Option<u64>),
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
                Job::Look(_) => look(&mut *source).await,
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
        if let Some(again) = &self.again {
            let first = || again.tables.first().cloned();
            return match again.anew && !again.left {
                true => Some(Job::Leave(captured.union(&again.tables).cloned().collect())),
                false => first().map(|table| Job::Enter(again.barrier, vec![table])),
            };
        }
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

    /// Takes the log up anew, with all tables of the plan; what was written into it before does not come any more. Or,
    /// where the log is well, takes in again what has left it.
    pub(super) fn enter_again(&mut self, plan: &AppPlan, barrier: BarrierId, anew: bool) {
        let mut tables = plan.tables();
        if anew {
            self.written.clear();
            // It may be another app by now: it is asked once more what there is of ours.
            self.captured = None;
        } else {
            tables.retain(|table| self.missing.contains(table));
        }
        self.retry = Retry::default();
        let again = Again { barrier, anew, left: false, tables, start: None };
        self.again = Some(again).filter(|again| !again.tables.is_empty());
    }

    /// Whether the log is being taken up anew.
    pub(super) fn is_anew(&self) -> bool {
        self.again.as_ref().is_some_and(|again| again.anew)
    }

    /// Where the log that was taken up anew begins, once all tables are in it.
    pub(super) fn begun_anew(&mut self) -> Option<Position> {
        let again = self.again.take_if(|again| again.anew && again.tables.is_empty())?;
        again.start
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

    /// Bytes of its log that the source keeps for us, as of the last look.
    pub(super) fn retained(&self) -> Option<u64> {
        self.retained
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
                // How much is kept by now nobody knows.
                self.retained = None;
                // A table that does not come back must not keep others from what they wait for.
                self.again.take_if(|again| !again.anew && matches!(ended.job, Job::Enter(..)));
                self.retry.failed(fault.clone(), now);
                return Err(fault);
            }
        };
        self.retry = Retry::default();
        match (done, ended.job) {
            (Done::Looked(tables, retained), job) => {
                self.retained = retained;
                let captured: BTreeSet<TableName> = tables.into_iter().collect();
                if let Job::Look(expected) = job {
                    self.missing.extend(expected.difference(&captured).cloned());
                }
                self.captured = Some(captured);
            }
            (Done::Entered(start), Job::Enter(barrier, tables)) => {
                self.captured.get_or_insert_default().extend(tables.iter().cloned());
                if let Some(again) = self.again.as_mut().filter(|again| again.barrier == barrier) {
                    again.tables.retain(|table| !tables.contains(table));
                    self.missing.retain(|table| !tables.contains(table));
                    again.start.get_or_insert(start);
                    self.again.take_if(|again| !again.anew && again.tables.is_empty());
                    return Ok(None);
                }
                self.written.insert(barrier);
                return Ok(Some(start));
            }
            (Done::Left, Job::Leave(tables)) => {
                if let Some(again) = &mut self.again {
                    again.left |= again.tables.iter().all(|table| tables.contains(table));
                }
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

/// Asks which tables are in capture, and along with that how much the source keeps for us. One that may not say how much
/// is captured all the same.
async fn look(source: &mut dyn Source) -> Result<Done, Fault> {
    let tables = source.captured().await?;
    match source.retained().await {
        Ok(retained) => Ok(Done::Looked(tables, retained)),
        Err(fault) if fault.class.breaks_connection() => Err(fault),
        Err(_) => Ok(Done::Looked(tables, None)),
    }
}

/// The tables that must be in capture: those that are entering may have come or not.
fn expected(plan: &AppPlan) -> BTreeSet<TableName> {
    let mut tables = plan.tables();
    tables.retain(|table| !plan.entering.values().any(|entering| entering == table));
    tables
}
