//! The memory app as a source: tables enter and leave capture, and the log is read.

use super::connector::fenced;
use super::script::{Call, Line, broken};
use super::{BoxFuture, Owner, World};
use std::future::poll_fn;
use std::task::Poll;
use tandem_core::connect::{Capture, Captured, Source};
use tandem_core::{BarrierId, Commit, Fault, FaultClass, Fragment, Position, TableName};

/// Puts tables into capture.
pub(super) struct MemorySource {
    pub(super) line: Line,
    pub(super) owner: Owner,
    pub(super) handle: u64,
}

impl MemorySource {
    fn owns(&self, world: &World) -> Result<(), Fault> {
        self.line.stands(world)?;
        if world.open_source != Some(self.handle) {
            return Err(broken("change what is captured"));
        }
        match world.owner {
            Some(owner) if owner != self.owner => {
                Err(fenced("change what is captured", "another engine is at work"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Source for MemorySource {
    fn enter<'a>(
        &'a mut self,
        tables: &'a [TableName],
        barrier: BarrierId,
    ) -> BoxFuture<'a, Result<Position, Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Enter).await?;
            self.line.reply(reply, || {
                let mut world = self.line.app.world();
                self.owns(&world)?;
                tables.iter().try_for_each(|table| world.store.table(table).map(drop))?;
                world.owner = Some(self.owner);
                let before = world.log.head;
                world.log.acknowledged.get_or_insert(before);
                world.captured.extend(tables.iter().cloned());
                // A user's transaction takes its place in the log when it commits, and whole: whatever commits
                // behind the barrier finds its tables captured.
                world.commit(super::Work::default(), Some(barrier), None);
                Ok(world.log.position(before))
            })
        })
    }

    fn leave<'a>(&'a mut self, tables: &'a [TableName]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Leave).await?;
            self.line.reply(reply, || {
                let mut world = self.line.app.world();
                self.owns(&world)?;
                let stays = world.captured.iter().any(|table| !tables.contains(table));
                if !stays && world.open_capture.is_some() {
                    let message = "a capture is still open";
                    return Err(Fault::new(FaultClass::Conflict, "end capture", message));
                }
                world.captured.retain(|table| !tables.contains(table));
                world.guards.retain(|guard| !tables.contains(&guard.table));
                if !stays {
                    world.log.acknowledged = None;
                    world.log.transactions.clear();
                    world.owner = None;
                }
                Ok(())
            })
        })
    }

    fn mark<'a>(&'a mut self, barriers: &'a [BarrierId]) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Mark).await?;
            self.line.reply(reply, || {
                let mut world = self.line.app.world();
                self.owns(&world)?;
                for barrier in barriers {
                    world.commit(super::Work::default(), Some(*barrier), None);
                }
                Ok(())
            })
        })
    }

    fn captured(&mut self) -> BoxFuture<'_, Result<Vec<TableName>, Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Captured).await?;
            self.line.reply(reply, || {
                let world = self.line.app.world();
                self.owns(&world)?;
                Ok(world.captured.iter().cloned().collect())
            })
        })
    }
}

impl Drop for MemorySource {
    fn drop(&mut self) {
        let mut world = self.line.app.world();
        if world.open_source == Some(self.handle) {
            world.open_source = None;
        }
    }
}

/// Reads the log.
pub(super) struct MemoryCapture {
    line: Line,
    handle: u64,
    /// Delivered through this transaction.
    number: u64,
    /// Entries of the next transaction that were delivered already.
    within: usize,
    /// What was last said to be the end of the log.
    reported: u64,
}

impl MemoryCapture {
    pub(super) fn new(line: Line, handle: u64, number: u64) -> Self {
        Self { line, handle, number, within: 0, reported: number }
    }

    /// What there is, or nothing if the log has to grow first. Moves only with what it returns.
    fn read(&mut self, world: &mut World) -> Option<Captured> {
        let mut captured = Captured::default();
        let mut room = world.batch_entries;
        while room > 0 {
            let Some(logged) = world.log.after(self.number) else { break };
            let rest = logged.entries.get(self.within..).unwrap_or_default();
            let take = rest.len().min(world.fragment_entries).min(room);
            let entries = rest.get(..take).unwrap_or_default().to_vec();
            room -= take;
            let commit = (take == rest.len()).then(|| Commit {
                position: world.log.position(logged.number),
                transaction: logged.number.to_string().into(),
                committed_at: logged.committed_at,
            });
            let mark = logged.mark.clone();
            if commit.is_some() {
                (self.number, self.within) = (logged.number, 0);
                self.reported = self.reported.max(logged.number);
            } else {
                self.within += take;
            }
            captured.fragments.push(Fragment { entries, commit, mark });
        }
        if self.within == 0 && world.log.head > self.reported && world.log.after(self.number).is_none() {
            (self.number, self.reported) = (world.log.head, world.log.head);
            captured.idle = Some(world.log.position(world.log.head));
        }
        let upto =
            world.log.after(self.number).filter(|_| self.within > 0).map_or(self.number, |open| open.number);
        world.log.seen = world.log.seen.max(upto);
        (!captured.fragments.is_empty() || captured.idle.is_some()).then_some(captured)
    }
}

impl Capture for MemoryCapture {
    fn next(&mut self) -> BoxFuture<'_, Result<Captured, Fault>> {
        Box::pin(async move {
            let line = self.line.clone();
            let reply = line.call(Call::Next).await?;
            let captured = poll_fn(|context| {
                let mut world = line.app.world();
                line.stands(&world)?;
                match self.read(&mut world) {
                    Some(captured) => Poll::Ready(Ok::<_, Fault>(captured)),
                    None => {
                        world.wait(context.waker());
                        Poll::Pending
                    }
                }
            })
            .await?;
            line.reply(reply, || Ok(captured))
        })
    }

    fn acknowledge<'a>(&'a mut self, position: &'a Position) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Acknowledge).await?;
            self.line.reply(reply, || {
                let mut world = self.line.app.world();
                self.line.stands(&world)?;
                let number = world.log.behind(position)?;
                world.log.acknowledge(number);
                Ok(())
            })
        })
    }
}

impl Drop for MemoryCapture {
    fn drop(&mut self) {
        let mut world = self.line.app.world();
        if world.open_capture == Some(self.handle) {
            world.open_capture = None;
        }
    }
}
