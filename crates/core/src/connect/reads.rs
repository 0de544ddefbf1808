//! Reading a table as it stands now, beside its log.
//!
//! A read by itself says nothing of *when*: the app goes on while it is read. So the engine writes a barrier into the
//! log before the read begins and another when it has ended, and takes from the read only what the log does not name
//! in between. For that a read has to show everything that lies before the first barrier, or say what it may lack.

use super::BoxFuture;
use crate::{Fault, IntegrationKey, Relation, Row, TableName};
use std::sync::Arc;

/// A table, and by which columns its records are known and ordered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyedTable {
    /// The table.
    pub table: TableName,
    /// The integration key's columns, in the map's order.
    pub key: Vec<Arc<str>>,
}

/// How large a chunk may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimit {
    /// Rows. At least one is read.
    pub rows: usize,
    /// Bytes of payload, as [`Row::payload_len`] counts them; the row that exceeds them is the last one.
    pub bytes: usize,
}

/// Rows of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The rows, whole, in the values that the log would bring.
    pub rows: Vec<Row>,
    /// What the rows' cells are: the relation as the log would describe it, also where there are no rows.
    pub relation: Arc<Relation>,
    /// Where the next chunk begins: behind this key. `None` if there is nothing more.
    pub next: Option<IntegrationKey>,
    /// Transactions that wrote to the table and may lie in the log before the read began, and whose work the rows may
    /// lack all the same; by the names that the log gives them ([`Commit::transaction`](crate::Commit)).
    pub unseen: Vec<Arc<str>>,
}

/// Reads tables as they stand now. One connection with one owner; it changes nothing in the app.
///
/// The rows show everything that was committed before the call, but for what [`Chunk::unseen`] names. What is committed
/// during the call they may show or not. Values come in exactly the form in which a capture brings them.
pub trait Reads: Send {
    /// The next rows behind a key, in the *database's* order of keys: the only one there is, and the engine never
    /// compares two of them. Rows with a null in their key are no records, and are left out. Several calls with the
    /// `next` of the one before deliver every record once that stands still meanwhile.
    fn chunk<'a>(
        &'a mut self,
        table: &'a KeyedTable,
        after: Option<&'a IntegrationKey>,
        limit: ChunkLimit,
    ) -> BoxFuture<'a, Result<Chunk, Fault>>;

    /// The rows that have these keys, in any order; those that are not there are left out. `next` is none.
    fn records<'a>(
        &'a mut self,
        table: &'a KeyedTable,
        keys: &'a [IntegrationKey],
    ) -> BoxFuture<'a, Result<Chunk, Fault>>;

    /// About how many rows the table has, if the app can say so at no cost.
    fn estimate<'a>(&'a mut self, table: &'a TableName) -> BoxFuture<'a, Result<Option<u64>, Fault>>;
}
