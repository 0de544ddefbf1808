//! The memory app at the seam: what it says of itself, and the connections that it hands out.

use super::apply::MemoryApply;
use super::capture::{MemoryCapture, MemorySource};
use super::guard::{self, MemoryGuards};
use super::reads::MemoryReads;
use super::script::{Call, Line};
use super::{BoxFuture, MemoryApp, Owner, World};
use std::sync::Arc;
use tandem_core::connect::{Apply, Capture, Connector, Guards, Needs, Reads, Source};
use tandem_core::{Fault, FaultClass, Finding, Position, TableName, TableSchema};

impl Connector for MemoryApp {
    fn describe<'a>(
        &'a self,
        tables: &'a [TableName],
    ) -> BoxFuture<'a, Result<Vec<Option<TableSchema>>, Fault>> {
        Box::pin(async move {
            let line = Line::new(self);
            let reply = line.call(Call::Describe).await?;
            line.reply(reply, || {
                let world = self.world();
                let schema = |name| world.store.tables.get(name).map(|table| table.schema());
                Ok(tables.iter().map(schema).collect())
            })
        })
    }

    fn check<'a>(&'a self, needs: &'a Needs) -> BoxFuture<'a, Result<Vec<Finding>, Fault>> {
        Box::pin(async move {
            let line = Line::new(self);
            let reply = line.call(Call::Check).await?;
            line.reply(reply, || Ok(findings(&self.world(), needs)))
        })
    }

    fn open_source(&self, owner: Owner) -> BoxFuture<'_, Result<Box<dyn Source>, Fault>> {
        Box::pin(async move {
            let line = Line::new(self);
            let reply = line.call(Call::OpenSource).await?;
            line.reply(reply, || {
                let mut world = self.world();
                if world.open_source.is_some() {
                    return Err(fenced("open source", "another engine is at work on this app"));
                }
                // Another data folder's owner that no longer lives is taken over: what it left captured is
                // still captured, and says so.
                match world.owner {
                    Some(stored) if stored.journal == owner.journal && stored.epoch > owner.epoch => {
                        return Err(fenced("open source", "a later start of this data folder was here"));
                    }
                    _ => world.owner = Some(owner),
                }
                let handle = world.handle();
                world.open_source = Some(handle);
                drop(world);
                Ok(Box::new(MemorySource { line: line.clone(), owner, handle }) as Box<dyn Source>)
            })
        })
    }

    fn open_capture<'a>(
        &'a self,
        owner: Owner,
        from: &'a Position,
    ) -> BoxFuture<'a, Result<Box<dyn Capture>, Fault>> {
        Box::pin(async move {
            let line = Line::new(self);
            let reply = line.call(Call::OpenCapture).await?;
            line.reply(reply, || {
                let mut world = self.world();
                if world.open_capture.is_some() {
                    return Err(fenced("open log", "another capture reads this log"));
                }
                match world.owner {
                    Some(stored) if stored.journal != owner.journal => {
                        return Err(fenced("open log", "another data folder captures this app"));
                    }
                    Some(stored) if stored.epoch > owner.epoch => {
                        return Err(fenced("open log", "a later start of this data folder was here"));
                    }
                    Some(_) | None => {}
                }
                let number = world.log.behind(from)?;
                world.owner = Some(owner);
                let handle = world.handle();
                world.open_capture = Some(handle);
                drop(world);
                Ok(Box::new(MemoryCapture::new(line.clone(), handle, number)) as Box<dyn Capture>)
            })
        })
    }

    fn open_apply<'a>(
        &'a self,
        owner: Owner,
        stream: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Apply>, Fault>> {
        Box::pin(async move {
            let line = Line::new(self);
            let reply = line.call(Call::OpenApply).await?;
            line.reply(
                reply,
                || Ok(Box::new(MemoryApply::new(line.clone(), owner, stream)) as Box<dyn Apply>),
            )
        })
    }

    fn open_reads(&self) -> BoxFuture<'_, Result<Box<dyn Reads>, Fault>> {
        Box::pin(async move {
            let line = Line::new(self);
            let reply = line.call(Call::OpenReads).await?;
            line.reply(reply, || Ok(Box::new(MemoryReads::new(line.clone())) as Box<dyn Reads>))
        })
    }

    fn open_guards(&self, owner: Owner) -> BoxFuture<'_, Result<Box<dyn Guards>, Fault>> {
        Box::pin(async move {
            let line = Line::new(self);
            let reply = line.call(Call::OpenGuards).await?;
            line.reply(reply, || {
                guard::admit(&self.world(), owner)?;
                Ok(Box::new(MemoryGuards::new(line.clone(), owner)) as Box<dyn Guards>)
            })
        })
    }

    fn release_sql(&self) -> BoxFuture<'_, Result<String, Fault>> {
        Box::pin(async {
            Ok("-- an app in memory goes with its process: there is nothing to free".to_owned())
        })
    }
}

pub(super) fn fenced(operation: &str, message: &str) -> Fault {
    Fault::new(FaultClass::Fenced, operation, message)
}

fn findings(world: &World, needs: &Needs) -> Vec<Finding> {
    let mut findings = Vec::new();
    let captured = needs.captured.iter().map(|need| (&need.table, &need.key, false));
    let written = needs.written.iter().map(|need| (&need.table, &need.columns, true));
    for (name, columns, written) in captured.chain(written) {
        let Some(table) = world.store.tables.get(name) else {
            findings.push(Finding::error("table_missing", name.to_string(), "the table is not there"));
            continue;
        };
        let place = |column: &Arc<str>| format!("{name}.{column}");
        for column in columns {
            match table.relation.columns.iter().find(|known| known.name == *column) {
                None => {
                    findings.push(Finding::error("column_missing", place(column), "the column is not there"))
                }
                Some(known) if !written && !known.identity => findings.push(Finding::error(
                    "replica_identity",
                    place(column),
                    "old rows in the log do not name this column of the key",
                )),
                Some(_) => {}
            }
        }
    }
    for need in &needs.written {
        let unique = world.store.tables.get(&need.table).map(|table| table.schema().is_unique(&need.key));
        if unique == Some(false) {
            let message = "the integration key is not unique";
            findings.push(Finding::error("key_not_unique", need.table.to_string(), message));
        }
    }
    findings
}
