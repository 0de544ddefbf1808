//! A connection on which one job is done at a time, beside everything else.
//!
//! Whoever waits for a job may be interrupted: the job goes on where it is, and is waited for again.

use std::future::Future;
use tandem_core::connect::BoxFuture;

/// A connection `C`, or the job that is being done with it, which ends in an `E` that gives the connection back.
#[derive(Default)]
pub(super) enum Line<C, E> {
    /// There is none.
    #[default]
    Closed,
    /// Nothing is being done.
    Idle(C),
    /// A job has the connection.
    Busy(BoxFuture<'static, E>),
}

impl<C, E> Line<C, E> {
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Line::Busy(_))
    }

    /// Begins a job, which is given the connection if there is one. Only on a line that is not busy.
    pub(super) fn begin<F>(&mut self, job: impl FnOnce(Option<C>) -> F)
    where
        F: Future<Output = E> + Send + 'static,
    {
        let connection = match std::mem::take(self) {
            Line::Idle(connection) => Some(connection),
            Line::Closed | Line::Busy(_) => None,
        };
        *self = Line::Busy(Box::pin(job(connection)));
    }

    /// Waits for the job that is being done. Dropping the future leaves the job where it is.
    pub(super) async fn ended(&mut self) -> E {
        match self {
            Line::Busy(job) => job.await,
            Line::Closed | Line::Idle(_) => std::future::pending().await,
        }
    }

    /// The line behind a job: with the connection that it gave back, if it did.
    pub(super) fn behind(connection: Option<C>) -> Self {
        connection.map_or(Line::Closed, Line::Idle)
    }
}
