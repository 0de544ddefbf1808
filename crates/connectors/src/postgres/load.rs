//! Rows that were read from another table: only what differs is written, and what was done is counted.
//!
//! [`load`] takes rows in by COPY, where none of them is believed to be there. [`copy`] compares first: a row that is as
//! it is to be costs a look, no new version, no log and no trigger. Values are the same if their text is, but for types
//! of which that is known to follow from being equal: 1.0 and 1.00 are equal numbers and two values.

use super::apply::Halt;
use super::error::fault;
use super::lookup;
use super::names::quoted;
use super::statements::{Form, PreparedTarget};
use super::value::{TextArray, write_text};
use bytes::{BufMut, BytesMut};
use futures_util::SinkExt;
use std::pin::pin;
use tandem_core::connect::Copied;
use tandem_core::{Fault, FaultClass, Value, Write, WriteOp};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

/// Rows in one statement, and bytes in one message.
const ROWS_MAX: usize = 5_000;
const MESSAGE_BYTES: usize = 64 << 10;

/// The rows of upserts.
fn rows(writes: &[Write]) -> Result<Vec<&[Value]>, Halt> {
    let row = |write: &'_ Write| match &write.op {
        WriteOp::Upsert(values) => Some(values.len()),
        WriteOp::Patch { .. } | WriteOp::Rekey { .. } | WriteOp::Delete(_) => None,
    };
    let first = writes.first().map(|write| &write.target);
    if writes.iter().any(|write| row(write).is_none() || Some(&write.target) != first) {
        let message = "only upserts of one table can be copied";
        return Err(Fault::new(FaultClass::Internal, "copy records", message).into());
    }
    Ok(writes
        .iter()
        .filter_map(|write| if let WriteOp::Upsert(values) = &write.op { Some(&**values) } else { None })
        .collect())
}

/// Writes what differs.
pub(super) async fn copy(
    client: &Client,
    target: &mut PreparedTarget,
    writes: &[Write],
) -> Result<Copied, Halt> {
    let statement = target.statement(client, &Form::Copies).await?;
    let (mut copied, first) = (Copied::default(), writes.first());
    for rows in rows(writes)?.chunks(ROWS_MAX) {
        let mut columns: Vec<TextArray> = target.columns.iter().map(|_| TextArray::default()).collect();
        for row in rows {
            columns.iter_mut().zip(*row).for_each(|(column, value)| column.push(value));
        }
        let parameters: Vec<_> = columns.iter().map(|column| column as &(dyn ToSql + Sync)).collect();
        let answer = client.query_one(&statement, &parameters).await;
        let answer = answer.map_err(|error| {
            let looked_up = first.and_then(|write| lookup::refused(&write.target, &error));
            looked_up.unwrap_or_else(|| named(fault("copy records", &error), target))
        })?;
        let number = |column| u64::try_from(answer.get::<_, i64>(column)).unwrap_or_default();
        let (there, written) = (number(0), number(1));
        let inserted = (rows.len() as u64).saturating_sub(there);
        copied.inserted += inserted;
        copied.updated += written.saturating_sub(inserted);
        copied.unchanged += (rows.len() as u64).saturating_sub(written);
    }
    Ok(copied)
}

/// Takes rows in of which none is there.
pub(super) async fn load(client: &Client, target: &PreparedTarget, writes: &[Write]) -> Result<Copied, Halt> {
    let failed = |error: tokio_postgres::Error| Halt::from(named(fault("load records", &error), target));
    let rows = rows(writes)?;
    let names: Vec<String> = target.columns.iter().map(|column| quoted(&column.name)).collect();
    let sql = format!("COPY {} ({}) FROM STDIN", target.destination.sql, names.join(", "));
    let mut sink = pin!(client.copy_in(&sql).await.map_err(failed)?);
    let mut message = BytesMut::with_capacity(MESSAGE_BYTES * 2);
    let mut text = BytesMut::new();
    for row in &rows {
        for (nth, value) in row.iter().enumerate() {
            if nth > 0 {
                message.put_u8(b'\t');
            }
            if value.is_null() {
                message.put_slice(b"\\N");
                continue;
            }
            text.clear();
            write_text(value, &mut text);
            escape(&text, &mut message);
        }
        message.put_u8(b'\n');
        if message.len() >= MESSAGE_BYTES {
            sink.send(message.split().freeze()).await.map_err(failed)?;
        }
    }
    sink.send(message.split().freeze()).await.map_err(failed)?;
    let inserted = sink.finish().await.map_err(failed)?;
    Ok(Copied { inserted, ..Copied::default() })
}

fn named(fault: Fault, target: &PreparedTarget) -> Fault {
    if fault.table.is_some() { fault } else { fault.table(target.destination.shown.clone()) }
}

/// A value's text as a field of COPY.
fn escape(text: &[u8], out: &mut BytesMut) {
    for part in text.split_inclusive(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r')) {
        let (plain, special) = match part.split_last() {
            Some((b'\\', plain)) => (plain, Some(b'\\')),
            Some((b'\t', plain)) => (plain, Some(b't')),
            Some((b'\n', plain)) => (plain, Some(b'n')),
            Some((b'\r', plain)) => (plain, Some(b'r')),
            _ => (part, None),
        };
        out.put_slice(plain);
        if let Some(special) = special {
            out.put_slice(&[b'\\', special]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_copy_are_escaped() {
        let escaped = |text: &str| {
            let mut out = BytesMut::new();
            escape(text.as_bytes(), &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        assert_eq!(escaped("plain"), "plain");
        assert_eq!(escaped(""), "");
        assert_eq!(escaped("\\N"), "\\\\N");
        assert_eq!(escaped("a\tb\nc\rd\\"), "a\\tb\\nc\\rd\\\\");
    }
}
