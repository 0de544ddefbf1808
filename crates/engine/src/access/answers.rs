//! Requests that carry a key of their client's own, and what came of them: so that a client that got no answer can ask again,
//! and nothing is done twice.
//!
//! That a request was begun is durable before anything is done, and its outcome before it is answered. A crash between the two
//! leaves a request of which nobody knows what came: whoever asks again is told so, and looks. That is rare, and the only
//! answer that is true whatever a request does; to do it again would be the one thing that the key is there to prevent.
//! A refusal has changed nothing, so it is not kept, and the same key may be tried again.
//!
//! Keys belong to the token that they came with, and are known for a day. There is a bound for each token: beyond it, the
//! oldest of that token is forgotten.

use super::secret::Digest;
use crate::request::Rejected;
use crate::store::{Record, Store};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tandem_core::WallTime;

/// The most keys of one token that are known.
pub const KEYS_OF_TOKEN_MAX: usize = 1000;
/// How long a key is known, in microseconds.
const KNOWN_MICROS: i64 = 24 * 3600 * 1_000_000;

/// A request with a key.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The token that it came with.
    pub token: Arc<str>,
    /// The key.
    pub key: String,
    /// What is asked: everything that makes it another request if it differs.
    pub what: Vec<u8>,
}

impl Asked {
    /// No token's name has a blank in it.
    pub(crate) fn name_of(token: &str, key: &str) -> String {
        format!("{token} {key}")
    }
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The status.
    pub status: u16,
    /// The body; none if it had a secret in it, which is not kept.
    pub body: Option<String>,
}

/// A request as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRecord {
    /// Token and key.
    pub name: String,
    what: Digest,
    at: WallTime,
    outcome: Option<Outcome>,
}

/// What is to become of a request with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It is the first: do it, and end it.
    New,
    /// It was done: this was the answer.
    Done(Outcome),
    /// It is being done now.
    Underway,
    /// It was begun, and what came of it is not known.
    Unknown,
    /// The key is that of another request.
    Another,
}

/// See the module.
pub(crate) struct Answers {
    store: Arc<dyn Store>,
    /// The lock is held while one is saved: what is here is what is on disk.
    known: Mutex<Known>,
}

struct Known {
    kept: BTreeMap<String, AnswerRecord>,
    /// Those that are being done. What is kept without an outcome and is not here was lost.
    underway: BTreeSet<String>,
}

impl Answers {
    /// Those that were saved.
    pub(crate) fn new(store: Arc<dyn Store>, kept: BTreeMap<String, AnswerRecord>) -> Self {
        Self { store, known: Mutex::new(Known { kept, underway: BTreeSet::new() }) }
    }

    /// Takes a request. Waits for the disk.
    pub(crate) fn take(&self, asked: Asked, now: WallTime) -> Result<Answered, Rejected> {
        let (name, what) = (Asked::name_of(&asked.token, &asked.key), Digest::of_bytes(&asked.what));
        let mut known = self.known();
        let is_over = |answer: &AnswerRecord| now.0.saturating_sub(answer.at.0) >= KNOWN_MICROS;
        if let Some(answer) = known.kept.get(&name).filter(|answer| !is_over(answer)) {
            return Ok(match &answer.outcome {
                _ if answer.what != what => Answered::Another,
                Some(outcome) => Answered::Done(outcome.clone()),
                None if known.underway.contains(&name) => Answered::Underway,
                None => Answered::Unknown,
            });
        }
        let mut gone: Vec<String> =
            known.kept.values().filter(|answer| is_over(answer)).map(|answer| answer.name.clone()).collect();
        let of_token = Asked::name_of(&asked.token, "");
        let mut left: Vec<(WallTime, &String)> = known
            .kept
            .values()
            .filter(|answer| answer.name.starts_with(&of_token) && !is_over(answer))
            .map(|answer| (answer.at, &answer.name))
            .collect();
        left.sort_unstable();
        let too_many = (left.len() + 1).saturating_sub(KEYS_OF_TOKEN_MAX);
        gone.extend(left.into_iter().take(too_many).map(|(_, name)| name.clone()));
        let answer = AnswerRecord { name: name.clone(), what, at: now, outcome: None };
        let mut records: Vec<Record> = gone.iter().cloned().map(Record::NoAnswer).collect();
        records.push(Record::Answer(Box::new(answer.clone())));
        self.save(&records)?;
        for name in &gone {
            known.kept.remove(name);
        }
        known.kept.insert(name.clone(), answer);
        known.underway.insert(name);
        Ok(Answered::New)
    }

    /// Ends a request that was taken. Waits for the disk.
    pub(crate) fn end(&self, name: &str, outcome: Option<Outcome>) -> Result<(), Rejected> {
        let mut known = self.known();
        known.underway.remove(name);
        // It may be forgotten already: there is a bound.
        let Some(answer) = known.kept.get(name) else { return Ok(()) };
        match outcome {
            None => {
                self.save(&[Record::NoAnswer(name.to_owned())])?;
                known.kept.remove(name);
            }
            outcome => {
                let answer = AnswerRecord { outcome, ..answer.clone() };
                self.save(&[Record::Answer(Box::new(answer.clone()))])?;
                known.kept.insert(name.to_owned(), answer);
            }
        }
        Ok(())
    }

    fn save(&self, records: &[Record]) -> Result<(), Rejected> {
        self.store.save(records).map(drop).map_err(|error| Rejected::Disk(error.to_string()))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that panics changes what is in it before it is saved.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn ask(key: &str, what: &str) -> Asked {
        Asked { token: "ann".into(), key: key.to_owned(), what: what.as_bytes().to_vec() }
    }

    #[test]
    fn a_request_is_done_once_also_across_a_crash() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let again = || Answers::new(store.clone(), store.load().unwrap().answers);
        let answers = again();
        let take =
            |answers: &Answers, key: &str, what: &str| answers.take(ask(key, what), WallTime(0)).unwrap();
        assert_eq!(take(&answers, "k", "pause"), Answered::New);
        assert_eq!(take(&answers, "k", "pause"), Answered::Underway);
        assert_eq!(take(&answers, "k", "stop"), Answered::Another);
        assert_eq!(take(&again(), "k", "pause"), Answered::Unknown, "begun in a life that crashed");
        let outcome = Outcome { status: 200, body: Some("{}".to_owned()) };
        answers.end("ann k", Some(outcome.clone())).unwrap();
        for answers in [&answers, &again()] {
            assert_eq!(take(answers, "k", "pause"), Answered::Done(outcome.clone()));
            assert_eq!(take(answers, "k", "stop"), Answered::Another);
        }
        let other = Asked { token: "bob".into(), ..ask("k", "stop") };
        assert_eq!(answers.take(other, WallTime(0)).unwrap(), Answered::New, "another token, another key");
        assert_eq!(take(&answers, "refused", "run"), Answered::New);
        answers.end("ann refused", None).unwrap();
        assert_eq!(take(&answers, "refused", "skip"), Answered::New, "a refusal has changed nothing");
    }

    #[test]
    fn keys_are_known_for_a_day_and_up_to_a_bound() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let answers = Answers::new(store.clone(), BTreeMap::new());
        let take = |key: &str, at: i64| answers.take(ask(key, ""), WallTime(at)).unwrap();
        for n in 0..=KEYS_OF_TOKEN_MAX {
            assert_eq!(take(&n.to_string(), n as i64), Answered::New);
        }
        assert_eq!(take("1", 2000), Answered::Underway);
        assert_eq!(take("0", 2000), Answered::New, "the oldest made room");
        assert_eq!(store.load().unwrap().answers.len(), KEYS_OF_TOKEN_MAX);
        assert_eq!(take("2", KNOWN_MICROS + 2), Answered::New, "a day later");
    }
}
