//! Time, tasks and chance under one seed: a single thread polls whichever ready task the seed picks.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;
use tandem_core::WallTime;
use tandem_core::connect::BoxFuture;
use tandem_engine::env::Env;

/// A small generator (splitmix64): the same numbers everywhere, for ever.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Whether something of this many chances in a thousand happens.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// The simulated surroundings. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct SimEnv {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    now: Duration,
    random: Random,
    spawned: Vec<BoxFuture<'static, ()>>,
    timers: BTreeMap<(Duration, u64), Waker>,
    next_timer: u64,
}

impl SimEnv {
    pub(crate) fn new(seed: u64) -> Self {
        let random = Random::new(seed ^ 0x5EED);
        let inner =
            Inner { now: Duration::ZERO, random, spawned: vec![], timers: BTreeMap::new(), next_timer: 0 };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("the simulation has one thread")
    }

    /// Moves the clock to the next timer. False if there is none.
    pub(crate) fn advance(&self) -> bool {
        let mut inner = self.inner();
        let Some((at, _)) = inner.timers.keys().next().copied() else { return false };
        inner.now = inner.now.max(at);
        let now = inner.now;
        let mut due = Vec::new();
        while let Some(entry) = inner.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            due.push(entry.remove());
        }
        drop(inner);
        due.into_iter().for_each(Waker::wake);
        true
    }

    fn take_spawned(&self) -> Vec<BoxFuture<'static, ()>> {
        std::mem::take(&mut self.inner().spawned)
    }

    /// Everything that ran is gone, as after a crash of the process. The clock goes on.
    fn forget(&self) {
        let mut inner = self.inner();
        let spawned = std::mem::take(&mut inner.spawned);
        let timers = std::mem::take(&mut inner.timers);
        drop(inner);
        drop((spawned, timers));
    }
}

struct Sleep {
    env: SimEnv,
    until: Duration,
    id: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let env = self.env.clone();
        let mut inner = env.inner();
        if inner.now >= self.until {
            return Poll::Ready(());
        }
        let id = *self.id.get_or_insert_with(|| {
            inner.next_timer += 1;
            inner.next_timer
        });
        inner.timers.insert((self.until, id), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(id) = self.id
            && let Ok(mut inner) = self.env.inner.lock()
        {
            inner.timers.remove(&(self.until, id));
        }
    }
}

impl Env for SimEnv {
    fn now(&self) -> Duration {
        self.inner().now
    }

    fn wall(&self) -> WallTime {
        WallTime(1_000_000_000 + i64::try_from(self.inner().now.as_micros()).expect("a short simulation"))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let until = self.inner().now + duration;
        Box::pin(Sleep { env: self.clone(), until, id: None })
    }

    fn spawn(&self, _name: &str, task: BoxFuture<'static, ()>) {
        self.inner().spawned.push(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        // Others run before the work is done, and again before its end is seen.
        Box::pin(async move {
            give_way().await;
            work();
            give_way().await;
        })
    }

    fn random(&self) -> u64 {
        self.inner().random.next()
    }
}

/// Lets others run.
pub(crate) async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|context| {
        if given {
            return Poll::Ready(());
        }
        given = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The tasks of one life of the engine.
pub(crate) struct Executor {
    env: SimEnv,
    tasks: BTreeMap<u64, BoxFuture<'static, ()>>,
    ready: Arc<Mutex<BTreeSet<u64>>>,
    next: u64,
}

struct TaskWaker {
    task: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().expect("the simulation has one thread").insert(self.task);
    }
}

impl Executor {
    pub(crate) fn new(env: SimEnv) -> Self {
        Self { env, tasks: BTreeMap::new(), ready: Arc::default(), next: 0 }
    }

    /// Adds a task.
    pub(crate) fn spawn(&mut self, task: BoxFuture<'static, ()>) {
        self.next += 1;
        self.tasks.insert(self.next, task);
        self.ready.lock().expect("the simulation has one thread").insert(self.next);
    }

    /// Polls one ready task, which the seed picks. False if none is ready.
    pub(crate) fn step(&mut self, random: &mut Random) -> bool {
        for task in self.env.take_spawned() {
            self.spawn(task);
        }
        let picked = {
            let mut ready = self.ready.lock().expect("the simulation has one thread");
            if ready.is_empty() {
                return false;
            }
            let place = usize::try_from(random.below(ready.len() as u64)).expect("few tasks");
            let picked = *ready.iter().nth(place).expect("below the count");
            ready.remove(&picked);
            picked
        };
        let Some(mut task) = self.tasks.remove(&picked) else { return true };
        let waker = Waker::from(Arc::new(TaskWaker { task: picked, ready: self.ready.clone() }));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.insert(picked, task);
        }
        true
    }

    /// The process dies: nothing of it runs on.
    pub(crate) fn kill(&mut self) {
        self.env.forget();
        self.tasks.clear();
        self.env.forget();
        self.ready.lock().expect("the simulation has one thread").clear();
    }
}
