//! Guards: what users of a source may not do while a map is paused or full, and what they are told.
//!
//! The words are here and not in the connectors, so that a refusal reads the same in every app. They hold the
//! map's name and times; a connector adds what the user has in hand: the table, and the record's integration key
//! where the app lets a refusal name it.

use crate::{MapName, TableName, WallTime};
use std::sync::Arc;

/// A guard: one map refuses one kind of writes to one table. Several may stand on a table, of one map or of
/// several; what any of them refuses is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// The table.
    pub table: TableName,
    /// The map that it stands for.
    pub map: MapName,
    /// What it refuses.
    pub refuses: Refusal,
    /// The columns of the map's integration key in this table: a change of them counts as a delete.
    pub key: Vec<Arc<str>>,
    /// Since when the map is paused or full. Shown, never compared.
    pub since: WallTime,
}

/// What a guard refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Whatever takes a record away: DELETE, TRUNCATE, and a change of the integration key.
    Deletes,
    /// Every write.
    Writes,
}

impl Refusal {
    /// Its name in an app.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Deletes => "deletes",
            Refusal::Writes => "writes",
        }
    }

    /// Reads [`Refusal::name`].
    pub fn parse(name: &str) -> Option<Self> {
        [Refusal::Deletes, Refusal::Writes].into_iter().find(|refusal| refusal.name() == name)
    }
}

impl Guard {
    /// Whether both are the same guard: same table, map and refusal. Key and time may differ.
    pub fn is_same(&self, other: &Guard) -> bool {
        self.table == other.table && self.map == other.map && self.refuses == other.refuses
    }

    /// Why it refuses, to stand behind *record … cannot be deleted now:*.
    pub fn reason(&self) -> String {
        let (map, since) = (&self.map, self.since);
        match self.refuses {
            Refusal::Deletes => {
                format!(
                    "table map \"{map}\" has been paused since {since}, and its records are in a queued state"
                )
            }
            Refusal::Writes => format!(
                "the queue of table map \"{map}\" has been full since {since}, and its records are in a queued state"
            ),
        }
    }

    /// What the user can do.
    pub fn way_out(&self) -> String {
        let map = &self.map;
        let way = match self.refuses {
            Refusal::Deletes => format!(
                "Resume the map (tandem map resume {map}) and try again, or set deletes = \"queue\" for it to \
                 have deletes queued like other changes."
            ),
            Refusal::Writes => {
                format!("Resume the map (tandem map resume {map}) and let it catch up, or raise its limits.")
            }
        };
        format!("{way} If Tandem is gone for good: tandem guard release --sql")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(refuses: Refusal) -> Guard {
        Guard {
            table: TableName::parse("public.customers").unwrap(),
            map: "customers".into(),
            refuses,
            key: vec!["customer_no".into()],
            since: WallTime(0),
        }
    }

    #[test]
    fn a_refusal_names_the_map_the_queued_state_since_when_and_the_way_out() {
        for refuses in [Refusal::Deletes, Refusal::Writes] {
            let guard = guard(refuses);
            let reason = guard.reason();
            assert!(reason.contains("table map \"customers\""), "{reason}");
            assert!(reason.contains("since 1970-01-01 00:00:00 UTC"), "{reason}");
            assert!(reason.contains("queued state"), "{reason}");
            assert!(guard.way_out().contains("tandem map resume customers"), "{}", guard.way_out());
            assert!(guard.way_out().contains("guard release --sql"), "{}", guard.way_out());
            assert_eq!(Refusal::parse(refuses.name()), Some(refuses));
        }
        assert!(guard(Refusal::Deletes).way_out().contains("deletes = \"queue\""));
    }

    #[test]
    fn guards_are_told_apart_by_table_map_and_refusal() {
        let deletes = guard(Refusal::Deletes);
        assert!(deletes.is_same(&Guard { since: WallTime(5), key: vec![], ..deletes.clone() }));
        assert!(!deletes.is_same(&guard(Refusal::Writes)));
        assert!(!deletes.is_same(&Guard { map: "contacts".into(), ..deletes.clone() }));
    }
}
