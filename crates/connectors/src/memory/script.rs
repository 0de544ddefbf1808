//! Scripted faults: what the memory app does instead of what it was asked.
//!
//! A script is a queue for each call of the seam: the n-th such call meets the reaction, once. What is not
//! scripted works. Under a seed this is all that a test needs to build outages, lost replies and delays.

use super::{MemoryApp, World};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::Poll;
use tandem_core::{Fault, FaultClass, Write};

/// A call of the seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `Connector::describe`.
    Describe,
    /// `Connector::check`.
    Check,
    /// `Connector::open_source`.
    OpenSource,
    /// `Connector::open_capture`.
    OpenCapture,
    /// `Connector::open_apply`.
    OpenApply,
    /// `Connector::open_reads`.
    OpenReads,
    /// `Connector::open_guards`.
    OpenGuards,
    /// `Source::enter`.
    Enter,
    /// `Source::mark`.
    Mark,
    /// `Source::leave`.
    Leave,
    /// `Source::captured`.
    Captured,
    /// `Capture::next`.
    Next,
    /// `Capture::acknowledge`.
    Acknowledge,
    /// `Reads::chunk`, `Reads::records` and `Reads::estimate`.
    Read,
    /// `Apply::fence`.
    Fence,
    /// `Apply::apply`.
    Apply,
    /// `Apply::rollback`.
    Rollback,
    /// `Apply::retire`.
    Retire,
    /// `Guards::arm`.
    Arm,
    /// `Guards::disarm`.
    Disarm,
    /// `Guards::armed`.
    Armed,
}

/// What the app does instead.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// Refuses with this fault; nothing was done.
    Refuse(Fault),
    /// Does it, and the connection breaks before the reply: a commit has an unknown outcome, and took effect.
    LoseReply,
    /// The connection breaks with the request on its way: a commit has an unknown outcome, and took none.
    LoseRequest,
    /// Waits until [`MemoryApp::release`], then does it.
    Hold,
    /// Gives way to others this many times, then does it.
    Slow(u32),
}

type WriteRule = Box<dyn Fn(&Write) -> Option<Fault> + Send>;

/// What was scripted, and what is held.
#[derive(Default)]
pub(super) struct Script {
    /// Per call: how many were seen, and what meets which of them.
    reactions: BTreeMap<Call, (u64, BTreeMap<u64, Reaction>)>,
    releases: BTreeMap<Call, u64>,
    held: BTreeMap<Call, u64>,
    refuse_write: Option<WriteRule>,
}

impl Script {
    fn meet(&mut self, call: Call) -> Option<Reaction> {
        let (seen, reactions) = self.reactions.get_mut(&call)?;
        *seen += 1;
        reactions.remove(seen)
    }

    pub(super) fn refuses(&self, write: &Write) -> Option<Fault> {
        self.refuse_write.as_ref().and_then(|rule| rule(write))
    }
}

impl MemoryApp {
    /// Scripts the next such call that has no script yet.
    pub fn script(&self, call: Call, reaction: Reaction) {
        let mut world = self.world();
        let (seen, reactions) = world.script.reactions.entry(call).or_default();
        let mut at = *seen + 1;
        while reactions.contains_key(&at) {
            at += 1;
        }
        reactions.insert(at, reaction);
    }

    /// Scripts the `nth` such call from now on; 1 is the next one.
    pub fn script_nth(&self, call: Call, nth: u64, reaction: Reaction) {
        let mut world = self.world();
        let (seen, reactions) = world.script.reactions.entry(call).or_default();
        let at = *seen + nth;
        reactions.insert(at, reaction);
    }

    /// Refuses each write for which the rule has a fault, until it is replaced: what a trigger of the app or a
    /// constraint does that we do not know of.
    pub fn refuse_writes(&self, rule: impl Fn(&Write) -> Option<Fault> + Send + 'static) {
        self.world().script.refuse_write = Some(Box::new(rule));
    }

    /// Takes back all scripts and rules; what is held goes on.
    pub fn heal(&self) {
        let mut world = self.world();
        let held = std::mem::take(&mut world.script.held);
        world.script.reactions.clear();
        world.script.refuse_write = None;
        for (call, count) in held {
            *world.script.releases.entry(call).or_default() += count;
        }
        world.wake();
    }

    /// Lets one held call go on.
    pub fn release(&self, call: Call) {
        let mut world = self.world();
        *world.script.releases.entry(call).or_default() += 1;
        world.wake();
    }

    /// How many such calls are held now.
    pub fn held(&self, call: Call) -> u64 {
        self.world().script.held.get(&call).copied().unwrap_or(0)
    }
}

/// Gives way to others once. Under any executor: it asks to be polled again at once.
pub(super) async fn give_way() {
    let mut given = false;
    poll_fn(|context| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What is to happen with the reply of a call that was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    Deliver,
    /// Do it, then lose the reply.
    Lose,
    /// Do not do it, and break the connection.
    NeverAsked,
}

/// One connection to the app, or one call without one. Broken as soon as the app breaks its connections.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) app: MemoryApp,
    generation: u64,
}

impl Line {
    pub(super) fn new(app: &MemoryApp) -> Self {
        Self { app: app.clone(), generation: app.world().generation }
    }

    /// Whether the line still stands.
    pub(super) fn stands(&self, world: &World) -> Result<(), Fault> {
        if world.online && world.generation == self.generation {
            Ok(())
        } else {
            Err(broken("talk to the app"))
        }
    }

    /// Every call of the seam comes through here first.
    pub(super) async fn call(&self, call: Call) -> Result<Reply, Fault> {
        give_way().await;
        let reaction = {
            let mut world = self.app.world();
            self.stands(&world)?;
            world.script.meet(call)
        };
        let reply = match reaction {
            None => Reply::Deliver,
            Some(Reaction::Refuse(fault)) => return Err(fault),
            Some(Reaction::LoseReply) => Reply::Lose,
            Some(Reaction::LoseRequest) => Reply::NeverAsked,
            Some(Reaction::Slow(times)) => {
                for _ in 0..times {
                    give_way().await;
                }
                Reply::Deliver
            }
            Some(Reaction::Hold) => {
                self.hold(call).await?;
                Reply::Deliver
            }
        };
        self.stands(&self.app.world())?;
        Ok(reply)
    }

    async fn hold(&self, call: Call) -> Result<(), Fault> {
        *self.app.world().script.held.entry(call).or_default() += 1;
        let let_go = Held { line: self, call };
        poll_fn(|context| {
            let mut world = self.app.world();
            self.stands(&world)?;
            match world.script.releases.get_mut(&call) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    Poll::Ready(Ok(()))
                }
                _ => {
                    world.wait(context.waker());
                    Poll::Pending
                }
            }
        })
        .await?;
        drop(let_go);
        Ok(())
    }

    /// The reply of a call that is no commit: given, or lost with the connection.
    pub(super) fn reply<T>(&self, reply: Reply, done: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
        match reply {
            Reply::Deliver => done(),
            Reply::Lose => {
                let _lost = done();
                Err(self.lose())
            }
            Reply::NeverAsked => Err(self.lose()),
        }
    }

    /// Breaks this app's connections, of which this one is, and says so.
    pub(super) fn lose(&self) -> Fault {
        self.app.break_connections();
        broken("wait for the reply")
    }
}

/// A call that is held; gone from the count when it goes on or is given up.
struct Held<'a> {
    line: &'a Line,
    call: Call,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.line.app.world().script.held.get_mut(&self.call) {
            *count = count.saturating_sub(1);
        }
    }
}

pub(super) fn broken(operation: &str) -> Fault {
    Fault::new(FaultClass::Connection, operation, "the connection is broken").code("connection_lost")
}
