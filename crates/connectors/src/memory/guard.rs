//! Guards of the memory app: what its users may not do, in plain words. The definition that real apps approach.
//!
//! A user's transaction takes effect when it commits, and is refused by what stands then. So no delete of one that
//! was open while a guard was armed slips through, and none has to be waited for.

use super::connector::fenced;
use super::script::{Call, Line};
use super::{BoxFuture, Owner, World};
use tandem_core::connect::Guards;
use tandem_core::{BarrierId, Fault, FaultClass, Guard, Refusal, TableName, Value};

/// Arms and disarms.
pub(super) struct MemoryGuards {
    line: Line,
    owner: Owner,
}

impl MemoryGuards {
    pub(super) fn new(line: Line, owner: Owner) -> Self {
        Self { line, owner }
    }

    fn admit(&self, world: &World) -> Result<(), Fault> {
        self.line.stands(world)?;
        admit(world, self.owner)
    }
}

/// Refuses whoever is not the owner, or no longer.
pub(super) fn admit(world: &World, owner: Owner) -> Result<(), Fault> {
    match world.owner {
        Some(stored) if stored.journal != owner.journal => {
            Err(fenced("guard tables", "another data folder captures this app"))
        }
        Some(stored) if stored.epoch > owner.epoch => {
            Err(fenced("guard tables", "a later start of this data folder was here"))
        }
        Some(_) | None => Ok(()),
    }
}

impl Guards for MemoryGuards {
    fn arm<'a>(&'a mut self, guard: &'a Guard, barrier: BarrierId) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Arm).await?;
            self.line.reply(reply, || {
                let mut world = self.line.app.world();
                self.admit(&world)?;
                if !world.captured.contains(&guard.table) {
                    let message = format!("{} is not in capture", guard.table);
                    return Err(Fault::new(FaultClass::Setup, "arm guard", message)
                        .code("not_captured")
                        .table(guard.table.to_string()));
                }
                world.guards.retain(|standing| !standing.is_same(guard));
                world.guards.push(guard.clone());
                world.commit(super::Work::default(), Some(barrier), None);
                Ok(())
            })
        })
    }

    fn disarm<'a>(&'a mut self, guard: &'a Guard) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Disarm).await?;
            self.line.reply(reply, || {
                let mut world = self.line.app.world();
                self.admit(&world)?;
                world.guards.retain(|standing| !standing.is_same(guard));
                Ok(())
            })
        })
    }

    fn armed(&mut self) -> BoxFuture<'_, Result<Vec<Guard>, Fault>> {
        Box::pin(async move {
            let reply = self.line.call(Call::Armed).await?;
            self.line.reply(reply, || {
                let world = self.line.app.world();
                self.admit(&world)?;
                Ok(world.guards.clone())
            })
        })
    }
}

/// What a user wants to do to a record, or to all.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wish<'a> {
    Insert(&'a [Value]),
    Update(&'a [Value], &'a [Value]),
    Delete(&'a [Value]),
    Truncate,
}

/// Refuses a wish that a guard stands against, in the words that a user sees.
pub(super) fn allow(world: &World, name: &TableName, wish: Wish<'_>) -> Result<(), Fault> {
    let table = world.store.table(name)?;
    for guard in world.guards.iter().filter(|guard| guard.table == *name) {
        let key = |row: &[Value]| -> Vec<String> {
            let places = guard.key.iter().filter_map(|column| table.place(column));
            places.filter_map(|place| row.get(place)).map(ToString::to_string).collect()
        };
        let what = match (wish, guard.refuses) {
            (Wish::Truncate, _) => format!("{name} cannot be truncated now"),
            (Wish::Delete(row), _) => {
                format!("record {} of {name} cannot be deleted now", key(row).join("|"))
            }
            (Wish::Insert(row), Refusal::Writes) => {
                format!("record {} of {name} cannot be inserted now", key(row).join("|"))
            }
            (Wish::Update(row, _), Refusal::Writes) => {
                format!("record {} of {name} cannot be updated now", key(row).join("|"))
            }
            (Wish::Update(before, after), Refusal::Deletes) if key(before) != key(after) => {
                format!("the key of record {} of {name} cannot be changed now", key(before).join("|"))
            }
            (Wish::Insert(_) | Wish::Update(..), Refusal::Deletes) => continue,
        };
        let message = format!("{what}: {}", guard.reason());
        return Err(Fault::new(FaultClass::Application, "write record", message)
            .code("guarded")
            .table(name.to_string())
            .fix(guard.way_out()));
    }
    Ok(())
}
