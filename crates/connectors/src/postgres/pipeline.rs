//! Statements sent one behind the other without waiting for answers: one round trip for a whole transaction.
//!
//! Inside a transaction a statement that fails makes all later ones fail, the COMMIT included, which then rolls
//! back. So a pipeline has done everything, or its first failure says why it has done nothing.

use super::value::TextParameter;
use futures_util::poll;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use tandem_core::Value;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

type Answer = Result<u64, Error>;

enum Sent<'c> {
    Answered(Answer),
    Waiting(Pin<Box<dyn Future<Output = Answer> + Send + 'c>>),
}

/// Statements on their way, in order.
pub(super) struct Pipeline<'c> {
    client: &'c Client,
    sent: Vec<Sent<'c>>,
}

/// The first statement that failed, by its place in the pipeline.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) place: usize,
    pub(super) error: Error,
    /// What the statements before it did: rows affected.
    pub(super) counts: Vec<u64>,
}

impl<'c> Pipeline<'c> {
    pub(super) fn new(client: &'c Client) -> Self {
        Self { client, sent: Vec::new() }
    }

    /// The place that the next statement will have.
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// Sends plain SQL, which may be several statements.
    pub(super) async fn text(&mut self, sql: &'c str) {
        let client = self.client;
        self.send(async move { client.batch_execute(sql).await.map(|()| 0) }).await;
    }

    /// Sends a prepared statement with owned parameters.
    pub(super) async fn arrays<P: ToSql + Send + 'c>(&mut self, statement: Statement, parameters: Vec<P>) {
        let client = self.client;
        self.send(async move {
            // Encoded as it is first polled; kept only as long as that.
            client.execute_raw(&statement, parameters).await
        })
        .await;
    }

    /// Sends a prepared statement with values as text parameters.
    pub(super) async fn values(&mut self, statement: Statement, values: Vec<&'c Value>) {
        let client = self.client;
        self.send(async move {
            let parameters: Vec<_> = values.into_iter().map(TextParameter).collect();
            client.execute_raw(&statement, parameters).await
        })
        .await;
    }

    /// Sends a prepared statement with parameters of the driver's own types.
    pub(super) async fn parameters(
        &mut self,
        statement: Statement,
        parameters: Vec<Box<dyn ToSql + Send + Sync>>,
    ) {
        let client = self.client;
        self.send(async move {
            let parameters = parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync));
            client.execute_raw(&statement, parameters.collect::<Vec<_>>()).await
        })
        .await;
    }

    async fn send(&mut self, request: impl Future<Output = Answer> + Send + 'c) {
        let mut request: Pin<Box<dyn Future<Output = Answer> + Send + 'c>> = Box::pin(request);
        // The driver sends a request when it is first polled: polled here, so that the order is ours.
        self.sent.push(match poll!(&mut request) {
            Poll::Ready(answer) => Sent::Answered(answer),
            Poll::Pending => Sent::Waiting(request),
        });
    }

    /// Waits for all answers: rows affected, by place; or the first failure.
    pub(super) async fn finish(self) -> Result<Vec<u64>, Failed> {
        let mut counts = Vec::with_capacity(self.sent.len());
        let mut failed = None;
        for (place, sent) in self.sent.into_iter().enumerate() {
            let answer = match sent {
                Sent::Answered(answer) => answer,
                Sent::Waiting(request) => request.await,
            };
            match (answer, &failed) {
                (Ok(count), None) => counts.push(count),
                (Err(error), None) => failed = Some((place, error)),
                // What follows a failure says only that something failed.
                (_, Some(_)) => {}
            }
        }
        match failed {
            None => Ok(counts),
            Some((place, error)) => Err(Failed { place, error, counts }),
        }
    }
}
