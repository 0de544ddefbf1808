//! A thread that owns one connection. SQLite blocks; nothing else in the engine may.
//!
//! Jobs are done in the order in which they were handed in, each to its end, also when nobody waits for its
//! answer any more: whoever drops a future here loses an answer and never half a statement. When the desk is
//! dropped, the thread closes its connection, and an open transaction is rolled back.

use super::{WRITE_PATIENCE, jitter, trouble};
use std::sync::mpsc;
use tandem_core::{Fault, FaultClass};
use tokio::sync::oneshot;
use tokio::time::Instant;

type Job<S> = Box<dyn FnOnce(&mut S) + Send>;

/// A thread with its state.
pub(super) struct Desk<S> {
    jobs: mpsc::Sender<Job<S>>,
}

impl<S: 'static> Desk<S> {
    /// Starts the thread, and lets it make its state there.
    pub(super) async fn open(
        make: impl FnOnce() -> Result<S, Fault> + Send + 'static,
    ) -> Result<Self, Fault> {
        let (jobs, inbox) = mpsc::channel::<Job<S>>();
        let (made, ready) = oneshot::channel();
        let work = move || {
            let mut state = match make() {
                Ok(state) => state,
                Err(fault) => {
                    let _nobody_waits = made.send(Err(fault));
                    return;
                }
            };
            let _nobody_waits = made.send(Ok(()));
            while let Ok(job) = inbox.recv() {
                job(&mut state);
            }
        };
        std::thread::Builder::new()
            .name("tandem-sqlite".to_owned())
            .spawn(work)
            .map_err(|error| Fault::new(FaultClass::Unavailable, "start thread", error.to_string()))?;
        ready.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { jobs })
    }

    /// Has a job done, and waits for its answer.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        let (done, answer) = oneshot::channel();
        let job: Job<S> = Box::new(move |state| {
            let _nobody_waits = done.send(job(state));
        });
        self.jobs.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// Has a short write done, again while others write, giving way in between; a conflict if that lasts too
    /// long.
    pub(super) async fn insist<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut S) -> Result<T, Fault> + Clone + Send + 'static,
    ) -> Result<T, Fault> {
        let began = Instant::now();
        loop {
            match self.run(job.clone()).await? {
                Err(fault) if fault.class == FaultClass::Conflict && began.elapsed() < WRITE_PATIENCE => {
                    tokio::time::sleep(jitter()).await;
                }
                done => return done,
            }
        }
    }
}

fn gone() -> Fault {
    trouble::fault(FaultClass::Internal, "talk to the database's thread", "the thread is gone")
}
