//! The decoder of pgoutput, protocol version 1: what PostgreSQL says about changed rows.
//!
//! The transport reads Begin, Commit and Message itself; everything else comes here. The bytes come from
//! outside, so nothing is indexed: each read may fail, and a message that ends early or holds what cannot be is
//! a [`Malformed`], never a guess. Values are slices of the message that they came in; no payload is copied.
//!
//! Three things in this format look like null and are not. `u` is a large value that did not change. In an old
//! row of kind `K` the columns outside of the replica identity are sent as `n` and mean *not named*. Only `n`
//! elsewhere is null.

#![deny(clippy::indexing_slicing)]

use super::value::Form;
use bytes::{Buf, Bytes};
use std::collections::HashMap;
use std::sync::Arc;
use tandem_core::{Cell, Change, Op, Relation, RelationColumn, Row, TableName};
use tokio_postgres::types::Type;

/// A message that is not what the protocol says. Names the place, never a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed pgoutput message: {0}")]
pub(super) struct Malformed(pub(super) String);

/// Keeps what the log said about relations and types. One per replication session, since the server repeats it
/// for each.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    relations: HashMap<u32, Known>,
    types: HashMap<u32, TypeName>,
    /// Names under which tables were known that have another now.
    pub(super) renamed: Vec<TableName>,
}

#[derive(Debug)]
struct Known {
    relation: Arc<Relation>,
    forms: Vec<Form>,
}

#[derive(Debug)]
struct TypeName {
    built_in: bool,
    name: Arc<str>,
}

/// Which columns of a row were sent as `n` without being null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    All,
    IdentityOnly,
}

impl Decoder {
    /// Reads one message and appends the changes that it holds to `changes`.
    pub(super) fn decode(&mut self, data: Bytes, changes: &mut Vec<Change>) -> Result<(), Malformed> {
        let mut reader = Reader(data);
        match reader.byte()? {
            b'R' => self.relation(&mut reader)?,
            b'Y' => self.type_name(&mut reader)?,
            // The transaction came to the source from elsewhere; our own are known by their mark.
            b'O' => {}
            b'I' => {
                let known = self.known(reader.u32()?)?;
                reader.expect(b'N')?;
                let new = reader.row(known, Named::All)?;
                changes.push(Change { relation: known.relation.clone(), op: Op::Insert { new } });
            }
            b'U' => {
                let known = self.known(reader.u32()?)?;
                let (old, mut new) = match reader.byte()? {
                    b'N' => (None, reader.row(known, Named::All)?),
                    kind => {
                        let old = reader.row(known, named(kind)?)?;
                        reader.expect(b'N')?;
                        (Some(old), reader.row(known, Named::All)?)
                    }
                };
                if let Some(old) = &old {
                    complete(&mut new, old);
                }
                changes.push(Change { relation: known.relation.clone(), op: Op::Update { old, new } });
            }
            b'D' => {
                let known = self.known(reader.u32()?)?;
                let named = named(reader.byte()?)?;
                let old = reader.row(known, named)?;
                changes.push(Change { relation: known.relation.clone(), op: Op::Delete { old } });
            }
            b'T' => {
                let count = reader.u32()?;
                let _options = reader.byte()?;
                for _ in 0..count {
                    let known = self.known(reader.u32()?)?;
                    changes.push(Change { relation: known.relation.clone(), op: Op::Truncate });
                }
            }
            other => return Err(Malformed(format!("unknown kind {other:#04x}"))),
        }
        Ok(())
    }

    fn known(&self, id: u32) -> Result<&Known, Malformed> {
        self.relations.get(&id).ok_or_else(|| Malformed(format!("relation {id} was never described")))
    }

    fn type_name(&mut self, reader: &mut Reader) -> Result<(), Malformed> {
        let id = reader.u32()?;
        let namespace = reader.text()?;
        let name = reader.text()?;
        // An empty namespace is pg_catalog. For a domain the server names the type underneath.
        let built_in = namespace.is_empty() || namespace == "pg_catalog";
        self.types.insert(id, TypeName { built_in, name: name.into() });
        Ok(())
    }

    fn relation(&mut self, reader: &mut Reader) -> Result<(), Malformed> {
        let id = reader.u32()?;
        let namespace = reader.text()?;
        let namespace = if namespace.is_empty() { "pg_catalog".to_owned() } else { namespace };
        let name = reader.text()?;
        let _identity_kind = reader.byte()?;
        let count = usize::from(reader.u16()?);
        let mut columns = Vec::with_capacity(count.min(1664));
        let mut forms = Vec::with_capacity(count.min(1664));
        for _ in 0..count {
            let identity = reader.byte()? & 1 == 1;
            let column = reader.text()?;
            let type_id = reader.u32()?;
            let _modifier = reader.u32()?;
            let (form, type_name) = self.type_of(type_id);
            forms.push(form);
            columns.push(RelationColumn { name: column.into(), type_name, identity });
        }
        let table = TableName { schema: Some(namespace.into()), name: name.into() };
        let relation = Relation { table, columns };
        // The server describes a relation anew for many reasons; what did not change keeps its allocation, and
        // so its identity for those who compare pointers.
        match self.relations.get_mut(&id) {
            Some(known) if *known.relation == relation => known.forms = forms,
            known => {
                let before = known.map(|known| known.relation.table.clone());
                self.renamed.extend(before.filter(|before| *before != relation.table));
                self.relations.insert(id, Known { relation: Arc::new(relation), forms });
            }
        }
        Ok(())
    }

    fn type_of(&self, id: u32) -> (Form, Arc<str>) {
        if let Some(known) = self.types.get(&id) {
            let form = if known.built_in { Form::of(&known.name) } else { Form::of("") };
            return (form, known.name.clone());
        }
        match Type::from_oid(id) {
            Some(built_in) => (Form::of(built_in.name()), built_in.name().into()),
            None => (Form::of(""), "".into()),
        }
    }
}

fn named(kind: u8) -> Result<Named, Malformed> {
    match kind {
        b'K' => Ok(Named::IdentityOnly),
        b'O' => Ok(Named::All),
        other => Err(Malformed(format!("unknown kind of old row {other:#04x}"))),
    }
}

/// With a full old row, a large value that did not change is known after all.
fn complete(new: &mut Row, old: &Row) {
    for (new, old) in new.0.iter_mut().zip(&old.0) {
        if matches!(new, Cell::Unchanged) {
            new.clone_from(old);
        }
    }
}

struct Reader(Bytes);

impl Reader {
    fn short() -> Malformed {
        Malformed("it ends early".to_owned())
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| Self::short())
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.0.try_get_u16().map_err(|_| Self::short())
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32().map_err(|_| Self::short())
    }

    fn expect(&mut self, kind: u8) -> Result<(), Malformed> {
        match self.byte()? {
            byte if byte == kind => Ok(()),
            other => Err(Malformed(format!("{other:#04x} where {kind:#04x} belongs"))),
        }
    }

    fn take(&mut self, size: usize) -> Result<Bytes, Malformed> {
        if size > self.0.len() {
            return Err(Self::short());
        }
        Ok(self.0.split_to(size))
    }

    /// Text up to a zero byte.
    fn text(&mut self) -> Result<String, Malformed> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(Self::short)?;
        let text = self.take(end)?;
        self.0.advance(1);
        String::from_utf8(text.into()).map_err(|_| Malformed("a name is not UTF-8".to_owned()))
    }

    fn row(&mut self, known: &Known, named: Named) -> Result<Row, Malformed> {
        let count = usize::from(self.u16()?);
        if count != known.forms.len() {
            let said = known.forms.len();
            return Err(Malformed(format!("a row of {count} columns in a relation of {said}")));
        }
        let mut cells = Vec::with_capacity(count);
        for (form, column) in known.forms.iter().zip(&known.relation.columns) {
            let cell = match self.byte()? {
                b'u' => Cell::Unchanged,
                b'n' if named == Named::IdentityOnly && !column.identity => Cell::Unchanged,
                b'n' => Cell::Set(tandem_core::Value::Null),
                b't' => {
                    let size = self.u32()? as usize;
                    let text = self.take(size)?;
                    let value = form.read(text).ok_or_else(|| {
                        let (table, column, kind) = (&known.relation.table, &column.name, &column.type_name);
                        Malformed(format!("{table}.{column}: not the text of a value of type {kind}"))
                    })?;
                    Cell::Set(value)
                }
                other => return Err(Malformed(format!("unknown kind of value {other:#04x}"))),
            };
            cells.push(cell);
        }
        Ok(Row(cells))
    }
}

#[cfg(test)]
#[path = "pgoutput_tests.rs"]
mod tests;
