//! The last events, numbered, and where a listener begins among them.

use super::{About, Event};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// The most events that are kept.
const EVENTS_MAX: usize = 2048;
/// The most bytes of them.
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// The number of an event, and the life of the server that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    life: u64,
    number: u64,
}

impl Mark {
    /// One as a client sends it back; `None` if it is none of ours.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (life, number) = text.trim().split_once('-')?;
        Some(Self { life: u64::from_str_radix(life, 16).ok()?, number: number.parse().ok()? })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.life, self.number)
    }
}

/// Where a listener begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// Behind which event.
    pub(super) behind: u64,
    /// Whether it is to read everything anew first.
    pub(super) reset: bool,
}

/// See the module.
pub(super) struct Ring {
    life: u64,
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    /// The number of the newest; the others count back from it.
    last: u64,
}

impl Ring {
    pub(super) fn new(life: u64) -> Self {
        Self { life, events: VecDeque::new(), bytes: 0, last: 0 }
    }

    /// Adds events, and lets go of the oldest. Returns the number of the newest.
    pub(super) fn append(&mut self, events: Vec<Event>) -> u64 {
        for event in events {
            self.bytes += event.data.len();
            self.last += 1;
            self.events.push_back(Arc::new(event));
            while self.events.len() > EVENTS_MAX || (self.bytes > BYTES_MAX && self.events.len() > 1) {
                let Some(gone) = self.events.pop_front() else { break };
                self.bytes -= gone.data.len();
            }
        }
        self.last
    }

    pub(super) fn mark(&self, number: u64) -> Mark {
        Mark { life: self.life, number }
    }

    /// Where a listener begins that has seen an event, or none.
    pub(super) fn start(&self, seen: Option<Mark>) -> Start {
        let known = seen.filter(|seen| seen.life == self.life && self.has_all_behind(seen.number));
        match known {
            Some(seen) => Start { behind: seen.number, reset: false },
            None => Start { behind: self.last, reset: true },
        }
    }

    /// The next events behind a number, at most so many, with theirs; `None` if some of them are gone.
    pub(super) fn behind(&self, number: u64, limit: usize) -> Option<Vec<(Mark, Arc<Event>)>> {
        if !self.has_all_behind(number) {
            return None;
        }
        let skipped = number.saturating_sub(self.before_first());
        let from = usize::try_from(skipped).unwrap_or(usize::MAX);
        let numbered = (number + 1..).zip(self.events.iter().skip(from).take(limit));
        Some(numbered.map(|(number, event)| (self.mark(number), event.clone())).collect())
    }

    fn before_first(&self) -> u64 {
        self.last.saturating_sub(self.events.len() as u64)
    }

    fn has_all_behind(&self, number: u64) -> bool {
        (self.before_first()..=self.last).contains(&number)
    }
}

impl Mark {
    pub(super) fn number(self) -> u64 {
        self.number
    }
}

impl Event {
    /// Says that everything is to be read anew.
    pub(super) fn reset() -> Self {
        Self { name: "reset", data: "{}".to_owned(), about: About::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(many: usize, data: &str) -> Vec<Event> {
        (0..many).map(|_| Event { data: data.to_owned(), ..Event::reset() }).collect()
    }

    #[test]
    fn a_listener_goes_on_where_it_was_as_long_as_the_ring_has_what_follows() {
        let mut ring = Ring::new(0xab);
        assert_eq!(ring.start(None), Start { behind: 0, reset: true });
        assert_eq!(ring.append(events(3, "{}")), 3);
        let check = |ring: &Ring, seen: &str, behind: u64, reset: bool| {
            assert_eq!(ring.start(Mark::read(seen)), Start { behind, reset }, "{seen}");
        };
        check(&ring, "ab-0", 0, false);
        check(&ring, "ab-2", 2, false);
        check(&ring, "ab-3", 3, false);
        for foreign in ["ab-4", "ac-2", "2", "", "ab-", "-2", "ab--1", "ab-99999999999999999999"] {
            check(&ring, foreign, 3, true);
        }
        let numbers = |ring: &Ring, from: u64, limit: usize| {
            let found = ring.behind(from, limit)?;
            Some(found.into_iter().map(|(mark, _)| mark.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(numbers(&ring, 1, 9).unwrap(), ["ab-2", "ab-3"]);
        assert_eq!(numbers(&ring, 0, 2).unwrap(), ["ab-1", "ab-2"]);
        assert_eq!(numbers(&ring, 3, 9).unwrap(), [""; 0]);
        ring.append(events(EVENTS_MAX - 2, "{}"));
        assert_eq!(numbers(&ring, 0, 9), None, "the first one is gone");
        assert_eq!(numbers(&ring, 1, 1).unwrap(), ["ab-2"]);
        check(&ring, "ab-0", EVENTS_MAX as u64 + 1, true);
    }

    #[test]
    fn the_ring_has_a_bound_in_bytes_too() {
        let mut ring = Ring::new(1);
        ring.append(events(9, &"x".repeat(BYTES_MAX / 4)));
        assert_eq!((ring.events.len(), ring.bytes), (4, BYTES_MAX));
        ring.append(events(1, &"x".repeat(BYTES_MAX * 2)));
        assert_eq!(
            (ring.events.len(), ring.last),
            (1, 10),
            "one that is too large by itself is told all the same"
        );
    }
}
