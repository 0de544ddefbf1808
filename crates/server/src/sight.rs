//! What somebody sees of the records of a map.
//!
//! Columns are always named and their values masked: that a record has a value, and where, is no secret; what it is may be.
//! A column's name is looked for on both sides of the map, so one that is sensitive on one side is masked on the other as
//! well. What the destination said of a record may quote it: with anything to hide, it is hidden as a whole.

use crate::gate::Who;
use crate::problem::Refusal;
use crate::wire::{
    ColumnWay, Conflict, ErrorCause, Image, Mapping, MappingStep, Origin, QueuedRecord, QueuedRecordInFull,
    RecordError, RecordErrorInFull, TEXT_MAX, Tried, Unwritable, Verification,
};
use axum::http::StatusCode;
use serde_json::{Map as Object, Value as Json};
use std::collections::BTreeSet;
use std::sync::Arc;
use tandem_core::map::{Columns, TableMap};
use tandem_core::{MapName, Role};
use tandem_engine::Engine;

/// What stands in place of a value.
const MASKED: &str = "(masked)";

/// See the module.
pub(crate) enum Sight {
    /// Everything.
    Whole,
    /// Everything but these columns.
    Without { columns: BTreeSet<Arc<str>>, key: bool },
    /// No value.
    Blind,
}

impl Sight {
    /// What somebody sees of a map that is called so.
    pub(crate) fn of(who: &Who, engine: &Engine, map: &str) -> Self {
        let snapshot = engine.snapshot();
        let view = snapshot.maps.iter().find(|view| view.map.name.as_str() == map);
        match (who.0.role, view) {
            (Role::Admin, _) => Sight::Whole,
            // What is left of a map that nobody declares any more: nobody says either what of it is sensitive.
            (Role::Viewer, _) | (Role::Operator, None) => Sight::Blind,
            (Role::Operator, Some(view)) => Self::without_sensitive(&view.map),
        }
    }

    fn without_sensitive(map: &TableMap) -> Self {
        let Columns::Pairs(pairs) = &map.columns else { return Sight::Whole };
        let sensitive = pairs.iter().filter(|pair| pair.sensitive);
        let columns: BTreeSet<Arc<str>> =
            sensitive.flat_map(|pair| [&pair.left, &pair.right]).flatten().cloned().collect();
        if columns.is_empty() {
            return Sight::Whole;
        }
        let key = map.left.key.iter().chain(&map.right.key).any(|column| columns.contains(column));
        Sight::Without { columns, key }
    }

    fn is_whole(&self) -> bool {
        matches!(self, Sight::Whole)
    }

    fn hides(&self, column: &str) -> bool {
        match self {
            Sight::Whole => false,
            Sight::Without { columns, .. } => columns.contains(column),
            Sight::Blind => true,
        }
    }

    fn hides_keys(&self) -> bool {
        match self {
            Sight::Whole => false,
            Sight::Without { key, .. } => *key,
            Sight::Blind => true,
        }
    }

    /// Whoever does not see keys must not search by them: the answer would tell them one by one.
    pub(crate) fn may_search_keys(&self) -> Result<(), Refusal> {
        if !self.hides_keys() {
            return Ok(());
        }
        let detail = "the search is by values that the token's role does not show";
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "values_hidden",
            "The role does not show these values",
            detail,
        )
        .fix("use a token with a higher role"))
    }

    /// A row, or what is written of one.
    fn row(&self, row: &mut Object<String, Json>) {
        for (column, value) in row {
            if self.hides(column) {
                *value = MASKED.into();
            }
        }
    }

    fn rows<const N: usize>(&self, rows: [&mut Option<Object<String, Json>>; N]) {
        rows.into_iter().flatten().for_each(|row| self.row(row));
    }

    fn key(&self, key: &mut [Json]) {
        if self.hides_keys() {
            key.fill(MASKED.into());
        }
    }

    fn words(&self, said: &mut String) {
        if !self.is_whole() {
            MASKED.clone_into(said);
        }
    }

    pub(crate) fn record(&self, mut record: QueuedRecord) -> QueuedRecord {
        self.rows([&mut record.old, &mut record.new]);
        self.key(record.key.as_deref_mut().unwrap_or_default());
        record
    }

    pub(crate) fn record_in_full(&self, found: QueuedRecordInFull) -> QueuedRecordInFull {
        let QueuedRecordInFull { record, mut image, mut unwritable } = found;
        self.halves(&mut image, &mut unwritable);
        QueuedRecordInFull { record: self.record(record), image, unwritable }
    }

    pub(crate) fn error(&self, mut error: RecordError) -> RecordError {
        self.rows([&mut error.old, &mut error.new]);
        self.key(error.key.as_deref_mut().unwrap_or_default());
        self.words(&mut error.message);
        error
    }

    pub(crate) fn error_in_full(&self, found: RecordErrorInFull) -> RecordErrorInFull {
        let RecordErrorInFull { error, mut image, mut unwritable } = found;
        self.halves(&mut image, &mut unwritable);
        RecordErrorInFull { error: self.error(error), image, unwritable }
    }

    pub(crate) fn cause(&self, mut cause: ErrorCause) -> ErrorCause {
        self.words(&mut cause.message);
        cause
    }

    pub(crate) fn tried(&self, mut tried: Tried) -> Tried {
        self.halves(&mut tried.image, &mut tried.unwritable);
        tried
    }

    /// What is declared of a sensitive column says what its values are.
    pub(crate) fn mapping(&self, mut mapping: Mapping) -> Mapping {
        let columns = mapping.columns.iter_mut().flatten();
        for column in columns.filter(|column| column.sensitive && !self.is_whole()) {
            column.to_right.iter_mut().chain(&mut column.to_left).for_each(mask_declared);
        }
        mapping
    }

    pub(crate) fn conflict(&self, mut conflict: Conflict) -> Conflict {
        if self.hides_keys() {
            conflict.key.fill(MASKED.to_owned());
        }
        conflict
    }

    pub(crate) fn verification(&self, mut shown: Verification) -> Verification {
        for difference in &mut shown.differences {
            self.rows([&mut difference.left, &mut difference.right]);
            self.key(&mut difference.key);
        }
        if let Some(fault) = &mut shown.fault {
            self.words(fault);
        }
        shown
    }

    fn halves(&self, image: &mut Option<Image>, unwritable: &mut Option<Unwritable>) {
        if let Some(image) = image {
            self.row(&mut image.key);
            self.rows([&mut image.values]);
            for (column, found) in &mut image.looked_up {
                if self.hides(column) && found.value.is_some() {
                    found.value = Some(MASKED.into());
                }
            }
        }
        if let Some(unwritable) = unwritable {
            self.words(&mut unwritable.message);
        }
    }
}

/// Leaves of a way what is done on it, and takes away with which values.
fn mask_declared(way: &mut ColumnWay) {
    match &mut way.from {
        Origin::Column { .. } => {}
        Origin::Constant { value } => *value = MASKED.into(),
        Origin::Expression { text } => MASKED.clone_into(text),
    }
    for step in &mut way.steps {
        match step {
            MappingStep::Default { value } => *value = MASKED.into(),
            MappingStep::Replace { from, to } => {
                [from, to].into_iter().for_each(|text| MASKED.clone_into(text))
            }
            MappingStep::Values { pairs, .. } => {
                for value in pairs.iter_mut().flat_map(|pair| [&mut pair.from, &mut pair.to]) {
                    *value = MASKED.into();
                }
            }
            MappingStep::Trim
            | MappingStep::Truncate { .. }
            | MappingStep::Case { .. }
            | MappingStep::Scale { .. }
            | MappingStep::Timezone { .. } => {}
        }
    }
}

impl Who {
    /// Who does it, for the activity log: the token, and whom it says that it acts for. Refuses words that are too long,
    /// theirs and those of the reason.
    pub(crate) fn signs(&self, reason: &str, said: Option<&str>) -> Result<String, Refusal> {
        let said = said.unwrap_or_default();
        if reason.len() > TEXT_MAX || said.len() > TEXT_MAX {
            return Err(Refusal::bad_request(format!("'reason' and 'actor' have at most {TEXT_MAX} bytes")));
        }
        Ok(match said.is_empty() {
            true => self.0.name.to_string(),
            false => format!("{} (for {said})", self.0.name),
        })
    }

    /// Whether a map is one of theirs.
    pub(crate) fn sees(&self, map: &str) -> bool {
        self.0.maps.has(&map.into())
    }

    /// The map that a list is asked for, if it is one of theirs.
    pub(crate) fn asked_map(&self, map: Option<String>) -> Result<Option<MapName>, Refusal> {
        match map {
            Some(map) if !self.sees(&map) => Err(Refusal::unknown_map(&map)),
            map => Ok(map.map(MapName::from)),
        }
    }
}
