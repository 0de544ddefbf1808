//! What changes, told as it happens: maps, rules, apps, entries of the activity log, as Server-Sent Events.
//!
//! One task looks at the engine's snapshots a few times a second and compares what a client would be shown with what was told
//! last, so that a map that changes a thousand times in a second is told of four times, and always as it is now. What is
//! told goes into one ring, numbered; listeners read that ring, each at its own place. Nothing is kept per listener, so
//! one that does not read costs nothing but its place: when the ring has gone past that, or its connection takes
//! nothing for long, it is cut off, and asks again with the number of the last event that it has seen. If the ring
//! still has what follows, it goes on there. If not, or if the number is of another life of the server, it is told
//! `reset`: read everything anew. A listener is told that first, too, since it has read nothing yet that these
//! changes could be about.
//!
//! While nobody listens nothing is compared; what has changed meanwhile is found when somebody does again.
//!
//! Events have the shapes that the API's other routes show to a viewer, and say nothing that those do not: no value of a
//! record is in them.

mod changes;
mod listener;
mod ring;

use crate::gate::Pass;
use crate::problem::Refusal;
use axum::http::StatusCode;
use changes::Changes;
pub(crate) use listener::Listener;
use ring::{Mark, Ring};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tandem_core::MapName;
use tandem_engine::{Caller, Engine};
use tokio::sync::{Notify, OnceCell, watch};

/// The most listeners at a time.
pub(crate) const LISTENERS_MAX: usize = 64;
/// The most of them with one token.
pub(crate) const LISTENERS_OF_TOKEN_MAX: usize = 16;
/// How often it is looked for changes.
const TURN: Duration = Duration::from_millis(250);

/// Something that changed, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    name: &'static str,
    /// JSON, on one line.
    data: String,
    about: About,
}

/// What an event is about, and with that, who may know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum About {
    /// A map: those who may see it.
    Map(MapName),
    /// All maps, or what is no map's: those who are bound to none.
    All,
    /// What everybody is told: it says nothing of anything.
    Nothing,
}

impl About {
    fn is_for(&self, caller: &Caller) -> bool {
        match self {
            About::Map(map) => caller.maps.has(map),
            About::All => caller.maps.is_all(),
            About::Nothing => true,
        }
    }
}

/// How far the ring is, and whether anything follows at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    last: u64,
    closed: bool,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Events {
    engine: Engine,
    shared: Arc<Shared>,
}

struct Shared {
    ring: Mutex<Ring>,
    head: watch::Sender<Head>,
    /// How many listen with each token.
    listeners: Mutex<BTreeMap<Arc<str>, usize>>,
    someone_came: Notify,
    begun: OnceCell<()>,
}

impl Events {
    pub(crate) fn new(engine: Engine) -> Self {
        let shared = Shared {
            ring: Mutex::new(Ring::new(engine.draw())),
            head: watch::Sender::new(Head { last: 0, closed: false }),
            listeners: Mutex::default(),
            someone_came: Notify::new(),
            begun: OnceCell::new(),
        };
        Self { engine, shared: Arc::new(shared) }
    }

    /// Begins to listen behind the event that the client has seen last, if it says so.
    pub(crate) async fn listen(&self, pass: Pass, seen: Option<&str>) -> Result<Listener, Refusal> {
        let place = Place::take(&self.shared, &pass.caller.name)?;
        // What is compared with is taken before the client is told to read everything: nothing lies between.
        self.shared.begun.get_or_try_init(|| self.begin()).await?;
        self.shared.someone_came.notify_one();
        let start = self.shared.ring().start(seen.and_then(Mark::read));
        Ok(Listener::new(self.engine.clone(), pass, place, start))
    }

    async fn begin(&self) -> Result<(), Refusal> {
        let changes = Changes::since_now(self.engine.clone()).await?;
        let (shared, snapshots) = (self.shared.clone(), self.engine.watch());
        tokio::spawn(shared.tell(changes, snapshots));
        Ok(())
    }
}

impl Shared {
    async fn tell(
        self: Arc<Self>,
        mut changes: Changes,
        mut snapshots: watch::Receiver<Arc<tandem_engine::Snapshot>>,
    ) {
        loop {
            while self.listeners().is_empty() {
                tokio::select! {
                    () = self.someone_came.notified() => {}
                    // The engine ends, and its data folder is not to be held because of events.
                    changed = snapshots.changed() => if changed.is_err() {
                        return self.close();
                    },
                }
            }
            let events = changes.look().await;
            if !events.is_empty() {
                let last = self.ring().append(events);
                self.head.send_replace(Head { last, closed: false });
            }
            tokio::time::sleep(TURN).await;
            if snapshots.has_changed().is_err() {
                return self.close();
            }
        }
    }

    fn close(&self) {
        self.head.send_modify(|head| head.closed = true);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, usize>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one listener among those that there may be; free again when it is dropped.
struct Place {
    shared: Arc<Shared>,
    token: Arc<str>,
}

impl Place {
    fn take(shared: &Arc<Shared>, token: &Arc<str>) -> Result<Self, Refusal> {
        let mut listeners = shared.listeners();
        let of_token = listeners.get(token).copied().unwrap_or_default();
        let all: usize = listeners.values().sum();
        if of_token >= LISTENERS_OF_TOKEN_MAX || all >= LISTENERS_MAX {
            let detail = format!(
                "{of_token} listen with the token {token} and {all} in all; there may be {LISTENERS_OF_TOKEN_MAX} and {LISTENERS_MAX}"
            );
            let title = "Too many listen to events";
            return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_listeners", title, detail)
                .fix("close one, such as a page that nobody looks at, or ask again later")
                .retry_after(10));
        }
        listeners.insert(token.clone(), of_token + 1);
        Ok(Self { shared: shared.clone(), token: token.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut listeners = self.shared.listeners();
        match listeners.get_mut(&self.token) {
            Some(left) if *left > 1 => *left -= 1,
            _ => drop(listeners.remove(&self.token)),
        }
    }
}
