//! One listener: its place in the ring, and whether it may still listen.

use super::ring::Start;
use super::{Event, Place};
use crate::gate::Pass;
use axum::response::sse;
use futures_util::Stream;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tandem_engine::Engine;

/// How often it is looked whether who listens still may.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How many events are taken from the ring at once.
const TAKEN_MAX: usize = 32;
/// After what time a client comes back that was cut off.
const RETRY: Duration = Duration::from_secs(2);

/// See the module. Ends when the token or session does, when the engine ends, and when it is too slow.
pub(crate) struct Listener {
    engine: Engine,
    pass: Pass,
    place: Place,
    head: tokio::sync::watch::Receiver<super::Head>,
    behind: u64,
    taken: VecDeque<sse::Event>,
    looked: Instant,
}

impl Listener {
    pub(super) fn new(engine: Engine, pass: Pass, place: Place, start: Start) -> Self {
        let mark = place.shared.ring().mark(start.behind).to_string();
        let reset = Event::reset();
        let first = match start.reset {
            true => sse::Event::default().event(reset.name).id(mark).data(&reset.data),
            // The headers alone leave a client in doubt whether anything comes.
            false => sse::Event::default().comment("goes on"),
        };
        let head = place.shared.head.subscribe();
        let taken = VecDeque::from([first.retry(RETRY)]);
        Self { engine, pass, place, head, behind: start.behind, taken, looked: Instant::now() }
    }

    /// Everything from here on, as it happens.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        futures_util::stream::unfold(self, |mut listener| async move {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        })
    }

    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if self.looked.elapsed() >= LOOK_EVERY {
                self.engine.still(&self.pass.credential).ok()?;
                self.looked = Instant::now();
            }
            if let Some(event) = self.taken.pop_front() {
                return Some(event);
            }
            let head = *self.head.borrow_and_update();
            // `None`: it was too slow.
            let events = self.place.shared.ring().behind(self.behind, TAKEN_MAX)?;
            if let Some((mark, _)) = events.last() {
                self.behind = mark.number();
                self.take(events);
                continue;
            }
            if head.closed {
                return None;
            }
            tokio::select! {
                changed = self.head.changed() => changed.ok()?,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn take(&mut self, events: Vec<(super::Mark, Arc<Event>)>) {
        for (mark, event) in events {
            if event.about.is_for(&self.pass.caller) {
                let sent = sse::Event::default().event(event.name).id(mark.to_string()).data(&event.data);
                self.taken.push_back(sent);
            }
        }
    }
}
