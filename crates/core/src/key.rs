//! Integration keys: the values that say that a left and a right record are the same one.

use crate::canonical::Comparison;
use crate::{Row, Value};
use serde::{Deserialize, Serialize};

/// The values of a map's key columns in one record, in the order in which the map names them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IntegrationKey(Vec<Value>);

/// A hash of an integration key: the same on every machine and in every version, since it is stored. Two keys
/// may share one; whoever finds a record by hash compares the key itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct KeyHash(pub u64);

impl IntegrationKey {
    /// Takes the key out of a row, given the places of the key columns. `None` if the log did not name one of
    /// them: the row cannot say which record it is.
    pub fn of(row: &Row, columns: &[usize]) -> Option<Self> {
        columns.iter().map(|column| row.cell(*column).value().cloned()).collect::<Option<Vec<_>>>().map(Self)
    }

    /// A key out of its values.
    pub fn from_values(values: Vec<Value>) -> Self {
        Self(values)
    }

    /// The values, in the order of the map's key columns.
    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// Whether a part is null: such a key names no record, since null equals nothing.
    pub fn has_null(&self) -> bool {
        self.0.iter().any(Value::is_null)
    }

    /// The stored hash (XXH3, 64 bits, over the canonical form of the values). The same for a key that two databases
    /// write in two ways.
    pub fn hash(&self) -> KeyHash {
        KeyHash(xxhash_rust::xxh3::xxh3_64(&self.canonical()))
    }

    /// Whether it names the same record as another, which may be written as another database does.
    pub fn is_same(&self, other: &Self) -> bool {
        self == other || self.canonical() == other.canonical()
    }

    fn canonical(&self) -> Vec<u8> {
        let mut canonical = Vec::with_capacity(24 * self.0.len());
        self.0.iter().for_each(|value| Comparison::Own.canonical(value, &mut canonical));
        canonical
    }
}

/// The values joined by `|`: what people type to find a record.
impl std::fmt::Display for IntegrationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, value) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("|")?;
            }
            write!(f, "{value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cell;

    #[test]
    fn a_key_with_an_unnamed_part_is_no_key() {
        let row = Row(vec![Cell::Set(Value::Int(1)), Cell::Unchanged]);
        assert!(IntegrationKey::of(&row, &[0]).is_some());
        assert!(IntegrationKey::of(&row, &[0, 1]).is_none());
    }

    #[test]
    fn the_stored_hash_never_changes() {
        let key = IntegrationKey::from_values(vec![Value::Int(7), Value::from("K-1")]);
        assert_eq!(key.hash(), KeyHash(HASH_OF_7_K1), "this hash is on people's disks");
    }

    const HASH_OF_7_K1: u64 = 981_169_258_252_261_752;
}
