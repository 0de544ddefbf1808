//! Groups, entries, rows and relations as bytes; the layout stands in [`super::format`].

use super::wire::{Input, Malformed, put_sized, put_varint, put_zigzag};
use std::sync::Arc;
use tandem_core::{
    BarrierId, Cell, Change, Commit, Kind, Mark, Op, Position, Relation, RelationColumn, Row, Seq, Stamp,
    TableName, Value, WallTime,
};

const COMMITTED: u8 = 1;
const MARKED: u8 = 4;
const NOTED: u8 = 8;

const INSERT: u8 = 0;
const UPDATE: u8 = 1;
const UPDATE_OLD: u8 = 2;
const DELETE: u8 = 3;
const TRUNCATE: u8 = 4;
const BARRIER: u8 = 8;
const SKIP: u8 = 9;
const STAMPED: u8 = 16;

/// How a journaled transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitNote {
    pub position: Position,
    pub transaction_name: Arc<str>,
    pub committed_at: WallTime,
    pub mark: Option<Mark>,
}

impl CommitNote {
    pub(crate) fn of(commit: &Commit, mark: Option<&Mark>) -> Self {
        Self {
            position: commit.position.clone(),
            transaction_name: Arc::clone(&commit.transaction),
            committed_at: commit.committed_at,
            mark: mark.cloned(),
        }
    }
}

/// The head of a group.
#[derive(Debug, Clone)]
pub(crate) struct GroupHead {
    pub entries: usize,
    /// The first Seq of the source transaction.
    pub transaction: Seq,
    pub captured_at: WallTime,
    pub commit: Option<Arc<CommitNote>>,
}

/// Writes a group's head; `seq` is the Seq of its first entry, `frame_at` the frame's `captured_at`.
pub(crate) fn put_group(out: &mut Vec<u8>, head: &GroupHead, seq: Seq, frame_at: WallTime) {
    let flags = head.commit.as_ref().map_or(0, |commit| match &commit.mark {
        None => COMMITTED,
        Some(mark) if mark.note.is_empty() => COMMITTED | MARKED,
        Some(_) => COMMITTED | MARKED | NOTED,
    });
    out.push(flags);
    put_varint(out, head.entries as u64);
    put_zigzag(out, head.transaction.0.wrapping_sub(seq.0) as i64);
    put_zigzag(out, head.captured_at.0.wrapping_sub(frame_at.0));
    let Some(commit) = &head.commit else { return };
    put_sized(out, &commit.position.0);
    put_sized(out, commit.transaction_name.as_bytes());
    put_zigzag(out, commit.committed_at.0.wrapping_sub(head.captured_at.0));
    if let Some(mark) = &commit.mark {
        put_sized(out, mark.stream.as_bytes());
        put_varint(out, mark.seq.0);
        if !mark.note.is_empty() {
            put_sized(out, mark.note.as_bytes());
        }
    }
}

pub(crate) fn read_group(input: &mut Input, seq: Seq, frame_at: WallTime) -> Result<GroupHead, Malformed> {
    let flags = input.byte()?;
    if flags & !(COMMITTED | MARKED | NOTED) != 0 {
        return Err(Malformed("a group has unknown flags"));
    }
    let entries = input.count()?;
    let transaction = Seq(seq.0.wrapping_add(input.zigzag()? as u64));
    let captured_at = WallTime(frame_at.0.wrapping_add(input.zigzag()?));
    let mut commit = None;
    if flags & COMMITTED != 0 {
        let position = Position(input.sized()?);
        let transaction_name = Arc::from(&*input.sized_text()?);
        let committed_at = WallTime(captured_at.0.wrapping_add(input.zigzag()?));
        let mark = if flags & MARKED == 0 {
            None
        } else {
            let (stream, seq) = (Arc::from(&*input.sized_text()?), Seq(input.varint()?));
            let note = if flags & NOTED == 0 { "".into() } else { Arc::from(&*input.sized_text()?) };
            Some(Mark { stream, seq, note })
        };
        commit = Some(Arc::new(CommitNote { position, transaction_name, committed_at, mark }));
    }
    Ok(GroupHead { entries, transaction, captured_at, commit })
}

/// Writes a change; `relation` is the number of its relation in this segment.
pub(crate) fn put_change(out: &mut Vec<u8>, relation: u32, op: &Op, stamp: Option<Stamp>) {
    let tag = match op {
        Op::Insert { .. } => INSERT,
        Op::Update { old: None, .. } => UPDATE,
        Op::Update { old: Some(_), .. } => UPDATE_OLD,
        Op::Delete { .. } => DELETE,
        Op::Truncate => TRUNCATE,
    };
    out.push(tag | if stamp.is_some() { STAMPED } else { 0 });
    put_varint(out, u64::from(relation));
    if let Some(stamp) = stamp {
        put_varint(out, stamp.knew.0);
        put_zigzag(out, stamp.at.0);
    }
    [op.old_row(), op.new_row()].into_iter().flatten().for_each(|row| put_row(out, row));
}

pub(crate) fn put_barrier(out: &mut Vec<u8>, barrier: BarrierId) {
    out.push(BARRIER);
    put_varint(out, barrier.0);
}

pub(crate) fn put_skip(out: &mut Vec<u8>, seqs: u64) {
    out.push(SKIP);
    put_varint(out, seqs);
}

pub(crate) fn put_row(out: &mut Vec<u8>, row: &Row) {
    put_varint(out, row.0.len() as u64);
    for cell in &row.0 {
        match cell {
            Cell::Unchanged => out.push(0),
            Cell::Set(value) => put_value(out, value),
        }
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(1),
        Value::Bool(truth) => out.push(if *truth { 3 } else { 2 }),
        Value::Int(number) => {
            out.push(4);
            put_zigzag(out, *number);
        }
        Value::Float(number) => {
            out.push(5);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        Value::Text(text) if text.len() < 128 => {
            out.push(0x80 | text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Text(text) => {
            out.push(6);
            put_sized(out, text.as_bytes());
        }
        Value::Bytes(bytes) => {
            out.push(7);
            put_sized(out, bytes);
        }
        Value::Typed(kind, text) => {
            out.push(16 + kind_number(*kind));
            put_sized(out, text.as_bytes());
        }
    }
}

/// The number of a kind on disk: written out, so that a change of the enum's order changes no file.
fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Decimal => 0,
        Kind::Date => 1,
        Kind::Time => 2,
        Kind::TimeTz => 3,
        Kind::Timestamp => 4,
        Kind::TimestampTz => 5,
        Kind::Interval => 6,
        Kind::Uuid => 7,
        Kind::Json => 8,
        Kind::Other => 9,
    }
}

fn kind_of(number: u8) -> Result<Kind, Malformed> {
    Ok(match number {
        0 => Kind::Decimal,
        1 => Kind::Date,
        2 => Kind::Time,
        3 => Kind::TimeTz,
        4 => Kind::Timestamp,
        5 => Kind::TimestampTz,
        6 => Kind::Interval,
        7 => Kind::Uuid,
        8 => Kind::Json,
        9 => Kind::Other,
        _ => return Err(Malformed("a value has an unknown kind")),
    })
}

/// What an entry is, before its rows are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryHead {
    Change { tag: u8, relation: u32, stamp: Option<Stamp> },
    Barrier,
    Skip(u64),
}

/// Passes over one entry, checking its bounds, and says what it was.
pub(crate) fn pass_entry(input: &mut Input) -> Result<EntryHead, Malformed> {
    let head = read_entry_head(input)?;
    if let EntryHead::Change { tag, .. } = head {
        let rows = match tag & 15 {
            UPDATE_OLD => 2,
            TRUNCATE => 0,
            _ => 1,
        };
        for _ in 0..rows {
            pass_row(input)?;
        }
    }
    Ok(head)
}

fn read_entry_head(input: &mut Input) -> Result<EntryHead, Malformed> {
    let tag = input.byte()?;
    match tag {
        BARRIER => {
            input.varint()?;
            Ok(EntryHead::Barrier)
        }
        SKIP => Ok(EntryHead::Skip(input.varint()?)),
        _ if tag & !STAMPED <= TRUNCATE => {
            let relation =
                u32::try_from(input.varint()?).map_err(|_| Malformed("a relation's number is too large"))?;
            let mut stamp = None;
            if tag & STAMPED != 0 {
                stamp = Some(Stamp { knew: Seq(input.varint()?), at: WallTime(input.zigzag()?) });
            }
            Ok(EntryHead::Change { tag, relation, stamp })
        }
        _ => Err(Malformed("an entry has an unknown tag")),
    }
}

fn pass_row(input: &mut Input) -> Result<(), Malformed> {
    for _ in 0..input.count()? {
        match input.byte()? {
            0..=3 => {}
            4 => drop(input.varint()?),
            5 => input.skip(8)?,
            6 | 7 | 16..=25 => {
                let len = input.count()?;
                input.skip(len)?;
            }
            short @ 128.. => input.skip(usize::from(short & 0x7f))?,
            _ => return Err(Malformed("a cell has an unknown kind")),
        }
    }
    Ok(())
}

/// Reads a change out of an entry's bytes, and its stamp if it has one.
pub(crate) fn read_change(
    entry: &mut Input,
    relation: &Arc<Relation>,
) -> Result<(Change, Option<Stamp>), Malformed> {
    let EntryHead::Change { tag, stamp, .. } = read_entry_head(entry)? else {
        return Err(Malformed("an entry is no change"));
    };
    let op = match tag & 15 {
        INSERT => Op::Insert { new: read_row(entry)? },
        UPDATE => Op::Update { old: None, new: read_row(entry)? },
        UPDATE_OLD => {
            let old = Some(read_row(entry)?);
            Op::Update { old, new: read_row(entry)? }
        }
        DELETE => Op::Delete { old: read_row(entry)? },
        _ => Op::Truncate,
    };
    Ok((Change { relation: Arc::clone(relation), op }, stamp))
}

pub(crate) fn read_row(input: &mut Input) -> Result<Row, Malformed> {
    let count = input.count()?;
    let mut cells = Vec::with_capacity(count);
    for _ in 0..count {
        cells.push(read_cell(input)?);
    }
    Ok(Row(cells))
}

fn read_cell(input: &mut Input) -> Result<Cell, Malformed> {
    Ok(Cell::Set(match input.byte()? {
        0 => return Ok(Cell::Unchanged),
        1 => Value::Null,
        2 => Value::Bool(false),
        3 => Value::Bool(true),
        4 => Value::Int(input.zigzag()?),
        5 => Value::Float(f64::from_bits(input.u64()?)),
        6 => Value::Text(input.sized_text()?),
        7 => Value::Bytes(input.sized()?),
        short @ 128.. => Value::Text(input.text(usize::from(short & 0x7f))?),
        kind @ 16..=25 => Value::Typed(kind_of(kind - 16)?, input.sized_text()?),
        _ => return Err(Malformed("a cell has an unknown kind")),
    }))
}

/// Writes a relation under its number in this segment.
pub(crate) fn put_relation(out: &mut Vec<u8>, id: u32, relation: &Relation) {
    put_varint(out, u64::from(id));
    put_table(out, &relation.table);
    put_varint(out, relation.columns.len() as u64);
    for column in &relation.columns {
        put_sized(out, column.name.as_bytes());
        put_sized(out, column.type_name.as_bytes());
        out.push(u8::from(column.identity));
    }
}

pub(crate) fn read_relation(input: &mut Input) -> Result<(u32, Relation), Malformed> {
    let id = u32::try_from(input.varint()?).map_err(|_| Malformed("a relation's number is too large"))?;
    let table = read_table(input)?;
    let count = input.count()?;
    let mut columns = Vec::with_capacity(count);
    for _ in 0..count {
        columns.push(RelationColumn {
            name: Arc::from(&*input.sized_text()?),
            type_name: Arc::from(&*input.sized_text()?),
            identity: input.byte()? != 0,
        });
    }
    Ok((id, Relation { table, columns }))
}

pub(crate) fn put_table(out: &mut Vec<u8>, table: &TableName) {
    match &table.schema {
        None => out.push(0),
        Some(schema) => {
            out.push(1);
            put_sized(out, schema.as_bytes());
        }
    }
    put_sized(out, table.name.as_bytes());
}

pub(crate) fn read_table(input: &mut Input) -> Result<TableName, Malformed> {
    let schema = match input.byte()? {
        0 => None,
        1 => Some(Arc::from(&*input.sized_text()?)),
        _ => return Err(Malformed("a table's schema")),
    };
    Ok(TableName { schema, name: Arc::from(&*input.sized_text()?) })
}
