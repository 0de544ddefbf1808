//! Telling people what rules do, and when a planned pause is over, beside everything else.
//!
//! A mail server that does not answer holds up nobody: whoever decides leaves a notice here and goes on at once. Each
//! target has a task and a queue of its own, so that one that is away does not keep another from being told. A
//! notice is tried again with growing waits for [`GIVE_UP_AFTER`], under the same id, so that whoever gets it twice
//! can see that; then it is logged, dropped, and counted. Notices are in memory only: what was not told when the
//! engine ends is not told any more, and stands in the activity log all the same.

use crate::env::Env;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tandem_core::Fault;
use tandem_core::connect::BoxFuture;
use tandem_core::rules::Notice;
use tokio::sync::mpsc;

/// How long a notice is tried again before it is dropped.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);
/// The first wait before it is tried again; doubled each time.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The last wait.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How many notices wait for one target at the most.
const WAITING_MAX: usize = 64;

/// Knows how to reach the targets that rules name.
pub trait Tell: Send + Sync {
    /// Every target that there is, for what is no rule's to tell.
    fn targets(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// Tells one target, once, within some seconds. `id` is the notice's own, the same at every try. A fault that
    /// is transient is worth another try, which is not this one's to make. It names no secret.
    fn tell<'a>(
        &'a self,
        target: &'a str,
        id: &'a str,
        notice: &'a Notice,
    ) -> BoxFuture<'a, Result<(), Fault>>;
}

/// Tells nobody: for engines without rules.
#[derive(Debug, Clone, Copy)]
pub struct TellNobody;

impl Tell for TellNobody {
    fn tell<'a>(&'a self, _: &'a str, _: &'a str, _: &'a Notice) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What became of the notices of one rule since the engine started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Taken over by a target.
    pub(crate) told: u64,
    /// Dropped.
    pub(crate) dropped: u64,
}

type Tallies = Arc<Mutex<BTreeMap<Arc<str>, Tally>>>;

/// The queues of the targets.
pub(crate) struct Telling {
    env: Arc<dyn Env>,
    tell: Arc<dyn Tell>,
    targets: BTreeMap<Arc<str>, mpsc::Sender<Letter>>,
    tallies: Tallies,
}

/// A notice on its way to one target.
struct Letter {
    id: String,
    notice: Notice,
    /// When it is dropped.
    until: Duration,
}

impl Telling {
    pub(crate) fn new(env: Arc<dyn Env>, tell: Arc<dyn Tell>) -> Self {
        Self { env, tell, targets: BTreeMap::new(), tallies: Tallies::default() }
    }

    /// Sends a notice on its way to every target that it names.
    pub(crate) fn send(&mut self, notice: &Notice) {
        let id = format!("{}-{:016x}", notice.at.0, self.env.random());
        for target in &notice.targets {
            let until = self.env.now() + GIVE_UP_AFTER;
            let letter = Letter { id: id.clone(), notice: notice.clone(), until };
            let queue = self.targets.entry(target.clone()).or_insert_with(|| {
                let (queue, letters) = mpsc::channel(WAITING_MAX);
                let post = Post {
                    env: self.env.clone(),
                    tell: self.tell.clone(),
                    target: target.clone(),
                    tallies: self.tallies.clone(),
                };
                self.env.spawn("telling", Box::pin(post.deliver(letters)));
                queue
            });
            if queue.try_send(letter).is_err() {
                tracing::error!(rule = notice.rule.as_deref(), %target, "not told, because {WAITING_MAX} notices wait already: {}", notice.subject());
                count(&self.tallies, notice, |tally| tally.dropped += 1);
            }
        }
    }

    /// What became of the notices of a rule.
    pub(crate) fn tally(&self, rule: &str) -> Tally {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.get(rule).copied().unwrap_or_default()
    }
}

/// Who brings the letters of one target.
struct Post {
    env: Arc<dyn Env>,
    tell: Arc<dyn Tell>,
    target: Arc<str>,
    tallies: Tallies,
}

impl Post {
    /// Ends with the engine.
    async fn deliver(self, mut letters: mpsc::Receiver<Letter>) {
        while let Some(letter) = letters.recv().await {
            let (rule, target) = (letter.notice.rule.as_deref(), &self.target);
            match self.bring(&letter).await {
                Ok(()) => {
                    tracing::info!(rule, %target, "told: {}", letter.notice.subject());
                    count(&self.tallies, &letter.notice, |tally| tally.told += 1);
                }
                Err(fault) => {
                    tracing::error!(rule, %target, class = %fault.class, "not told, and given up: {}: {fault}", letter.notice.subject());
                    count(&self.tallies, &letter.notice, |tally| tally.dropped += 1);
                }
            }
        }
    }

    /// Tries until it is told, or waiting mends nothing any more.
    async fn bring(&self, letter: &Letter) -> Result<(), Fault> {
        let mut wait = WAIT_MIN;
        loop {
            let Err(fault) = self.tell.tell(&self.target, &letter.id, &letter.notice).await else {
                return Ok(());
            };
            if !fault.class.is_transient() || self.env.now() + wait >= letter.until {
                return Err(fault);
            }
            tracing::warn!(rule = letter.notice.rule.as_deref(), target = %self.target, class = %fault.class, "not told yet: {fault}");
            self.env.sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }
}

fn count(tallies: &Tallies, notice: &Notice, add: impl FnOnce(&mut Tally)) {
    let mut tallies = tallies.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(rule) = &notice.rule {
        add(tallies.entry(rule.clone()).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use tandem_core::rules::{News, RuleAction, Why};
    use tandem_core::{FaultClass, WallTime};

    /// A clock that stands still until somebody sleeps.
    struct Dream(Mutex<Duration>);

    impl Env for Dream {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn wall(&self) -> WallTime {
            WallTime(0)
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            *self.0.lock().unwrap() += duration;
            Box::pin(tokio::task::yield_now())
        }

        fn spawn(&self, _: &str, task: BoxFuture<'static, ()>) {
            tokio::spawn(task);
        }

        fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
            work();
            Box::pin(std::future::ready(()))
        }

        fn random(&self) -> u64 {
            7
        }
    }

    /// Answers as it is told to, and remembers the ids; `hangs` never answers.
    #[derive(Default)]
    struct Scripted {
        answers: Mutex<VecDeque<FaultClass>>,
        ids: Mutex<Vec<String>>,
    }

    impl Tell for Scripted {
        fn tell<'a>(
            &'a self,
            target: &'a str,
            id: &'a str,
            _: &'a Notice,
        ) -> BoxFuture<'a, Result<(), Fault>> {
            if target == "hangs" {
                return Box::pin(std::future::pending());
            }
            self.ids.lock().unwrap().push(id.to_owned());
            let fault = self.answers.lock().unwrap().pop_front();
            Box::pin(std::future::ready(fault.map_or(Ok(()), |class| Err(Fault::new(class, "send", "no")))))
        }
    }

    fn notice(targets: &[&str]) -> Notice {
        Notice {
            rule: Some("watch".into()),
            targets: targets.iter().map(|target| (*target).into()).collect(),
            at: WallTime(5),
            news: News::Fired(RuleAction::Nothing, vec![("a".into(), Why::Lag(Duration::from_secs(9)))]),
        }
    }

    fn telling(answers: &[FaultClass]) -> (Telling, Arc<Scripted>) {
        let tell = Arc::new(Scripted { answers: Mutex::new(answers.to_vec().into()), ..Scripted::default() });
        (Telling::new(Arc::new(Dream(Mutex::default())), tell.clone()), tell)
    }

    async fn until(telling: &Telling, wanted: Tally) {
        for _ in 0..10_000 {
            if telling.tally("watch") == wanted {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("{:?}, not {wanted:?}", telling.tally("watch"));
    }

    #[tokio::test]
    async fn it_is_tried_again_under_the_same_id_and_told_once() {
        let (mut telling, tell) = telling(&[FaultClass::Connection, FaultClass::Throttled]);
        telling.send(&notice(&["ops"]));
        until(&telling, Tally { told: 1, dropped: 0 }).await;
        let ids = tell.ids.lock().unwrap().clone();
        assert_eq!(ids, vec!["5-0000000000000007"; 3]);
    }

    #[tokio::test]
    async fn what_waiting_does_not_mend_is_dropped_and_counted() {
        let (mut telling, tell) = telling(&[FaultClass::Setup]);
        telling.send(&notice(&["ops"]));
        until(&telling, Tally { told: 0, dropped: 1 }).await;
        assert_eq!(tell.ids.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn it_is_given_up_after_some_minutes() {
        let (mut telling, tell) = telling(&[FaultClass::Connection; 100]);
        telling.send(&notice(&["ops"]));
        until(&telling, Tally { told: 0, dropped: 1 }).await;
        let tries = tell.ids.lock().unwrap().len();
        assert!((10..30).contains(&tries), "{tries}");
    }

    #[tokio::test]
    async fn a_target_that_hangs_keeps_no_other_from_being_told_and_holds_a_bounded_number() {
        let (mut telling, _) = telling(&[]);
        let many = WAITING_MAX as u64 + 10;
        for _ in 0..many {
            telling.send(&notice(&["hangs", "ops"]));
            tokio::task::yield_now().await;
        }
        // One is with the target, and so many wait.
        until(&telling, Tally { told: many, dropped: 9 }).await;
    }
}
