//! The engine's surroundings: time, tasks, chance. Everything that the engine does not decide by itself goes
//! through here, so that a seeded, single-threaded simulation can drive the real engine.

use std::future::Future;
use std::time::Duration;
use tandem_core::WallTime;
use tandem_core::connect::BoxFuture;

/// The surroundings of an engine.
pub trait Env: Send + Sync {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// The wall clock: to show, never to order by.
    fn wall(&self) -> WallTime;

    /// Ends after a time.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// Runs a task beside the others. The task ends when its future does, or when the engine's process does.
    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>);

    /// Runs something that blocks (an fsync) where it stops nobody else.
    fn blocking(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;

    /// 64 random bits.
    fn random(&self) -> u64;
}

/// Runs blocking work and returns what it returned.
pub(crate) async fn blocking<T: Send + 'static>(
    env: &dyn Env,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (send, receive) = tokio::sync::oneshot::channel();
    env.blocking(Box::new(move || {
        // The receiver waits below; if it is gone the whole engine is, and nobody wants the answer.
        let _ = send.send(work());
    }))
    .await;
    receive.await.expect("the work was run to its end and sent its answer")
}

/// Ends with what `future` ends with, or `None` after `limit`.
pub(crate) async fn within<T>(env: &dyn Env, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let sleep = env.sleep(limit);
    tokio::select! {
        biased;
        done = future => Some(done),
        () = sleep => None,
    }
}
