//! What a person declares: a left and a right table, and what belongs together in them.

use super::column::ColumnPair;
use super::expression::Expression;
use crate::two_way::{ConflictPolicy, SideEffects, SideName};
use crate::{AppName, MapName, StreamName, TableName};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A pairing of a left and a right table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableMap {
    /// Its name.
    pub name: MapName,
    /// Which way records go.
    pub direction: Direction,
    /// One side.
    pub left: Side,
    /// The other.
    pub right: Side,
    /// Which columns belong together.
    pub columns: Columns,
    /// Maps that must be live for this one to be: its parents.
    pub depends_on: Vec<MapName>,
    /// What becomes of deletes while the map is paused.
    pub deletes: Deletes,
    /// Of a map that goes both ways: who wins where both sides have changed a record.
    #[serde(default)]
    pub conflict: ConflictPolicy,
    /// Of a map that goes both ways: what becomes of what an app's triggers make of our writes.
    #[serde(default)]
    pub side_effects: SideEffects,
    /// What becomes of a record at the destination when it leaves the filter.
    #[serde(default)]
    pub on_leave: OnLeave,
    /// How the records that are there already are brought over.
    #[serde(default)]
    pub initial_sync: InitialSync,
}

/// How the records that are there before a map is run are brought over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitialSync {
    /// Whether they are, unless a run says otherwise.
    pub wanted: bool,
    /// Of a map that goes both ways: whose values stay where both sides have a record.
    pub master: SideName,
}

impl Default for InitialSync {
    fn default() -> Self {
        Self { wanted: true, master: SideName::Left }
    }
}

/// One side of a map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// The app.
    pub app: AppName,
    /// The table in it.
    pub table: TableName,
    /// The integration key: the columns that say which record it is, in the same order on both sides.
    pub key: Vec<Arc<str>>,
    /// Which records go from this side to the other; all of them without one.
    #[serde(default)]
    pub filter: Option<Expression>,
}

/// Which way records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From left to right.
    ToRight,
    /// From right to left.
    ToLeft,
    /// Both ways.
    Both,
}

/// Which columns belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Columns {
    /// Those that have the same name on both sides.
    SameNames,
    /// These.
    Pairs(Vec<ColumnPair>),
}

/// What becomes of deletes in the source while the map is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deletes {
    /// Refused in the source, with an error that names the map.
    #[default]
    Reject,
    /// Queued and replayed.
    Queue,
}

/// What becomes of a record at the destination when it changes so that its source's filter no longer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLeave {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
}

impl Direction {
    /// Whether records go that way: to the right, or to the left.
    pub fn goes(self, to_right: bool) -> bool {
        match self {
            Direction::ToRight => to_right,
            Direction::ToLeft => !to_right,
            Direction::Both => true,
        }
    }
}

impl TableMap {
    /// Source and destination of each of the map's flows.
    pub fn flows(&self) -> Vec<(&Side, &Side)> {
        match self.direction {
            Direction::ToRight => vec![(&self.left, &self.right)],
            Direction::ToLeft => vec![(&self.right, &self.left)],
            Direction::Both => vec![(&self.left, &self.right), (&self.right, &self.left)],
        }
    }

    /// The streams that the map's flows belong to.
    pub fn streams(&self) -> Vec<StreamName> {
        let stream =
            |(from, to): (&Side, &Side)| StreamName { source: from.app.clone(), destination: to.app.clone() };
        self.flows().into_iter().map(stream).collect()
    }
}
