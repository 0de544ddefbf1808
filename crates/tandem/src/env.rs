//! The real surroundings of the engine: tokio's tasks and timers, the system's clocks, the system's randomness.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tandem_core::WallTime;
use tandem_core::connect::BoxFuture;
use tandem_engine::env::Env;
use tokio::runtime::Handle;

/// See the module.
pub(crate) struct Surroundings {
    runtime: Handle,
    start: Instant,
}

impl Surroundings {
    /// Those of the runtime that we are in.
    pub(crate) fn here() -> Self {
        Self { runtime: Handle::current(), start: Instant::now() }
    }
}

impl Env for Surroundings {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn wall(&self) -> WallTime {
        // A clock before 1970 or after the year 294246 shows as the nearest moment that can be written.
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        WallTime(micros)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        tracing::trace!(task = name, "task started");
        self.runtime.spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let done = self.runtime.spawn_blocking(work);
        Box::pin(async move {
            if let Err(why) = done.await
                && why.is_panic()
            {
                // What the work owed is not there: going on would be going on over a hole.
                std::panic::resume_unwind(why.into_panic());
            }
        })
    }

    fn random(&self) -> u64 {
        getrandom::u64()
            .expect("the system has randomness: Linux blocks early at boot and never fails after it")
    }
}
