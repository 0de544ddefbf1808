//! PostgreSQL 15 and newer, as source and as destination.
//!
//! **As a source** it is read by logical replication: one slot and one publication per app, both named
//! `tandem_<app>`. The slot's flush position moves only when the engine acknowledges, to exactly what it
//! acknowledged. A table enters capture under a lock that waits for its writers, together with a barrier, since a
//! table added to a living publication beside open transactions loses their rows silently.
//!
//! **As a destination** it is written in transactions whose first statement compares and sets the watermark in
//! `tandem.watermark`, and fails the transaction if it is not where we left it.
//!
//! **Guards** are triggers on its tables, there only while they are armed; see `guard.rs`.
//!
//! What we leave in an app: the schema `tandem` (owner of the slot, watermarks, starts, the guards' function), the
//! slot, the publication. All of it goes when the last table leaves capture and the last watermark is retired.

mod apply;
mod aside;
mod capture;
mod check;
mod connect;
mod error;
mod exact;
mod fast;
mod fit;
mod guard;
mod kin;
mod load;
mod lock;
mod lookup;
mod marker;
mod names;
mod owner;
mod pgoutput;
mod pipeline;
mod position;
mod reads;
mod schema;
mod sequences;
mod source;
mod statements;
mod value;
mod watermark;

use connect::Endpoint;
use names::slot_name;
use std::sync::Arc;
use tandem_core::connect::{Apply, BoxFuture, Capture, Connector, Guards, Needs, Owner, Reads, Source};
use tandem_core::{AppName, Fault, Finding, Position, TableName, TableSchema};

/// A PostgreSQL database as an app.
#[derive(Debug)]
pub struct Postgres {
    endpoint: Arc<Endpoint>,
    /// The name of the slot and of the publication.
    slot: Arc<str>,
}

impl Postgres {
    /// The app under its URL: `postgres://user:password@host:port/database?sslmode=verify-full`. Connects to
    /// nothing yet.
    ///
    /// `sslmode` is `disable`, `prefer` (the default), `require`, `verify-ca` or `verify-full`; `sslrootcert`,
    /// `sslcert` and `sslkey` name PEM files. `verify-ca` is stricter here than elsewhere: a certificate that
    /// names another host is refused. Without `sslrootcert` the public authorities are trusted.
    ///
    /// # Errors
    ///
    /// [`FaultClass::Setup`](tandem_core::FaultClass::Setup) if the URL is none.
    pub fn connector(app: &AppName, url: &str) -> Result<Arc<dyn Connector>, Fault> {
        let endpoint = Arc::new(Endpoint::parse(url)?);
        Ok(Arc::new(Self { endpoint, slot: slot_name(app).into() }))
    }
}

impl Connector for Postgres {
    fn describe<'a>(
        &'a self,
        tables: &'a [TableName],
    ) -> BoxFuture<'a, Result<Vec<Option<TableSchema>>, Fault>> {
        Box::pin(async move {
            let client = self.endpoint.session("read the schema").await?;
            let mut schemas = Vec::with_capacity(tables.len());
            for table in tables {
                schemas.push(schema::describe(&client, table).await?);
            }
            Ok(schemas)
        })
    }

    fn check<'a>(&'a self, needs: &'a Needs) -> BoxFuture<'a, Result<Vec<Finding>, Fault>> {
        Box::pin(check::check(&self.endpoint, &self.slot, needs))
    }

    fn open_source(&self, owner: Owner) -> BoxFuture<'_, Result<Box<dyn Source>, Fault>> {
        Box::pin(async move {
            let source = source::PostgresSource::open(&self.endpoint, self.slot.clone(), owner).await?;
            Ok(Box::new(source) as Box<dyn Source>)
        })
    }

    fn open_capture<'a>(
        &'a self,
        owner: Owner,
        from: &'a Position,
    ) -> BoxFuture<'a, Result<Box<dyn Capture>, Fault>> {
        Box::pin(async move {
            let capture = capture::PostgresCapture::open(&self.endpoint, &self.slot, owner, from).await?;
            Ok(Box::new(capture) as Box<dyn Capture>)
        })
    }

    fn open_apply<'a>(
        &'a self,
        owner: Owner,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Apply>, Fault>> {
        Box::pin(async move {
            let apply = apply::PostgresApply::open(self.endpoint.clone(), owner, stream).await?;
            Ok(Box::new(apply) as Box<dyn Apply>)
        })
    }

    fn open_reads(&self) -> BoxFuture<'_, Result<Box<dyn Reads>, Fault>> {
        Box::pin(async move {
            let reads = reads::PostgresReads::open(self.endpoint.clone()).await?;
            Ok(Box::new(reads) as Box<dyn Reads>)
        })
    }

    fn number_on<'a>(
        &'a self,
        table: &'a TableName,
        columns: &'a [Arc<str>],
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let client = self.endpoint.session("move the sequences on").await?;
            sequences::number_on(&client, table, columns).await
        })
    }

    fn open_guards(&self, owner: Owner) -> BoxFuture<'_, Result<Box<dyn Guards>, Fault>> {
        Box::pin(async move {
            let (endpoint, slot) = (self.endpoint.clone(), self.slot.clone());
            let guards = guard::PostgresGuards::open(endpoint, slot, owner).await?;
            Ok(Box::new(guards) as Box<dyn Guards>)
        })
    }

    fn release_sql(&self) -> BoxFuture<'_, Result<String, Fault>> {
        Box::pin(async { Ok(guard::release_sql(&self.slot)) })
    }
}
