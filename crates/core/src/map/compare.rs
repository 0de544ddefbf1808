//! Whether a record at the destination is what the map makes of the source's, and which record that is.
//!
//! Two databases order their keys each in its own way, and write one value in many. So nothing here compares orders or
//! texts: a record of the source goes through the flow's own projection, as a change of it would, and what comes out
//! is compared value by value as the types of both columns say ([`Comparison`]). Records are told apart by a hash of
//! their keys in that canonical form.
//!
//! What the filter leaves out is none of the map's, and is not looked for; with `on_leave = "delete"` it must not be at
//! the destination. What is at the destination only is none of the map's either if the filter of that side leaves it
//! out.

use super::project::{Projected, Projection};
use super::resolve::{FlowColumn, FlowSpec};
use super::transform::Origin;
use super::{Expression, OnLeave, Refusal};
use crate::{
    Change, Comparison, IntegrationKey, Kind, Lookup, Op, Relation, Row, RowHash, Seq, Value, WriteOp,
};
use std::collections::HashMap;
use std::sync::Arc;

/// What the destination should have of one record of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// These values, in the order of the flow's columns; the key's come first.
    Values(Vec<Value>),
    /// No record with this key.
    Nothing(IntegrationKey),
    /// The filter leaves it out, and what is at the destination stays.
    Anything,
    /// The map makes nothing of it.
    Refused,
}

/// How one record of both sides compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Same,
    /// None of the map's.
    LeftOut,
    /// It is not at the destination.
    Missing,
    /// It is at the destination with other values.
    Changed,
    /// It is at the destination, and should not be.
    Extra,
    /// The map makes nothing of the source's record, so it cannot be at the destination as it should.
    Refused,
}

/// A column whose values the destination looked up as they were written. To be compared, they are led back to the keys
/// by which they were.
#[derive(Debug, Clone)]
pub struct LookedUpColumn {
    /// Which of the flow's columns.
    nth: usize,
    /// Its place at the destination.
    pub place: usize,
    /// How it was looked up.
    pub lookup: Lookup,
}

/// A flow bound to the relations of both its tables, to compare their rows.
#[derive(Debug, Clone)]
pub struct Comparer {
    source: Arc<Relation>,
    destination: Arc<Relation>,
    forward: Projection,
    /// From a row of the destination to the key that it has in the source, if that can be told.
    back: Option<Projection>,
    /// For each of the flow's columns: its place at the destination, and how it is compared.
    columns: Vec<(usize, Comparison)>,
    /// The columns that the destination looked up.
    lookups: Vec<LookedUpColumn>,
    /// To which records the values in those columns refer.
    referred: HashMap<(usize, String), Value>,
    key_len: usize,
    /// For each column of the source's key: its place and how it is compared.
    source_key: Vec<(usize, Comparison)>,
    /// Values of the source's key as its log brings them, once one was seen.
    sample: Option<IntegrationKey>,
}

impl Comparer {
    /// Binds a flow. `filter` is that of the destination's side; `reverse` the flow of a two-way map that goes the
    /// other way.
    ///
    /// # Errors
    /// A column that the flow reads or writes is not there.
    pub fn bind(
        flow: &FlowSpec,
        filter: Option<&Expression>,
        reverse: Option<&FlowSpec>,
        source: Arc<Relation>,
        destination: Arc<Relation>,
    ) -> Result<Self, Refusal> {
        let forward = Projection::bind(flow, Projection::target(flow), &source)?;
        let back = back(flow, filter, reverse);
        let back =
            back.map(|back| Projection::bind(&back, Projection::target(&back), &destination)).transpose()?;
        let place = |relation: &Relation, name: &Arc<str>| {
            relation.column(name).ok_or_else(|| Refusal::MissingColumn(name.clone()))
        };
        let type_at = |relation: &Relation, place: usize| {
            relation.columns.get(place).map(|column| column.type_name.clone()).unwrap_or_default()
        };
        let mut columns = Vec::with_capacity(flow.columns.len());
        let mut lookups = Vec::new();
        for (nth, column) in flow.columns.iter().enumerate() {
            let at = place(&destination, &column.to)?;
            if let Some(lookup) = &column.lookup {
                lookups.push(LookedUpColumn { nth, place: at, lookup: lookup.clone() });
                columns.push((at, column.compared));
                continue;
            }
            let to = type_at(&destination, at);
            let from = match &column.from {
                Origin::Column(name) => source.column(name).map(|at| type_at(&source, at)),
                Origin::Constant(_) | Origin::Expression(_) => None,
            };
            columns.push((at, Comparison::of(&from.unwrap_or_else(|| to.clone()), &to)));
        }
        let mut source_key = Vec::with_capacity(flow.key_len);
        for name in &flow.source_key {
            let at = place(&source, name)?;
            let own = type_at(&source, at);
            source_key.push((at, Comparison::of(&own, &own)));
        }
        let (key_len, sample) = (flow.key_len, None);
        let referred = HashMap::new();
        Ok(Self {
            source,
            destination,
            forward,
            back,
            columns,
            lookups,
            referred,
            key_len,
            source_key,
            sample,
        })
    }

    /// Whether the source's key of a record that only the destination has can be told.
    pub fn leads_back(&self) -> bool {
        self.back.is_some()
    }

    /// The columns that the destination looked up. Before rows are judged, [`Comparer::refer`] has to say what their
    /// values refer to.
    pub fn lookups(&self) -> &[LookedUpColumn] {
        &self.lookups
    }

    /// Takes in to which records values refer: for each the place of its column, the value, and the key that the record
    /// has at the destination. What was known before is forgotten.
    pub fn refer(&mut self, referred: impl IntoIterator<Item = (usize, Value, Value)>) {
        let known = referred.into_iter().map(|(place, value, key)| ((place, value.to_string()), key));
        self.referred = known.collect();
    }

    /// Notes in which form the source brings the values of its key.
    pub fn learn(&mut self, key: &IntegrationKey) {
        self.sample.get_or_insert_with(|| key.clone());
    }

    /// What the destination should have of a record of the source.
    pub fn wanted(&self, row: &Row) -> Wanted {
        match project(&self.forward, &self.source, row) {
            Ok(Projected::Write(write)) => match write.op {
                WriteOp::Upsert(values) => Wanted::Values(values),
                WriteOp::Delete(key) => Wanted::Nothing(key),
                // A row that was read is whole, and has no row before it.
                WriteOp::Patch { .. } | WriteOp::Rekey { .. } => Wanted::Refused,
            },
            Ok(Projected::Filtered) => Wanted::Anything,
            Err(_) => Wanted::Refused,
        }
    }

    /// The key that is wanted at the destination, if one is.
    pub fn wanted_key(&self, wanted: &Wanted) -> Option<IntegrationKey> {
        match wanted {
            Wanted::Values(values) => {
                let key = values.iter().take(self.key_len).cloned().collect();
                Some(IntegrationKey::from_values(key))
            }
            Wanted::Nothing(key) => Some(key.clone()),
            Wanted::Anything | Wanted::Refused => None,
        }
    }

    /// How a record compares, as both sides have it.
    pub fn judge(&self, source: Option<&Row>, destination: Option<&Row>) -> Verdict {
        let wanted = source.map(|row| self.wanted(row));
        match (wanted, destination) {
            (Some(Wanted::Refused), _) => Verdict::Refused,
            (Some(Wanted::Anything), _) => Verdict::LeftOut,
            (None | Some(Wanted::Nothing(_)), None) => Verdict::Same,
            (Some(Wanted::Values(_)), None) => Verdict::Missing,
            (Some(Wanted::Values(values)), Some(row)) => match self.is_same(&values, row) {
                true => Verdict::Same,
                false => Verdict::Changed,
            },
            // The source has it no more, or it has left the map: then it may be another map's by now.
            (None | Some(Wanted::Nothing(_)), Some(row)) => match self.belongs(row) {
                true => Verdict::Extra,
                false => Verdict::LeftOut,
            },
        }
    }

    /// The source's key of a record that the destination has, in the form in which the source brings it. `None` if it
    /// cannot be told, or no record of the source can have it.
    pub fn key_back(&self, row: &Row) -> Option<IntegrationKey> {
        let Ok(Projected::Write(write)) = project(self.back.as_ref()?, &self.destination, row) else {
            return None;
        };
        let WriteOp::Upsert(values) = write.op else { return None };
        let sample = self.sample.as_ref().map(IntegrationKey::values).unwrap_or_default();
        let in_form = values.into_iter().enumerate().map(|(nth, value)| {
            let at = self.source_key.get(nth).and_then(|(place, _)| self.source.columns.get(*place))?;
            let to = self.columns.get(nth).and_then(|(place, _)| self.destination.columns.get(*place))?;
            match sample.get(nth) {
                Some(sample) => like(value, sample),
                None => of_type(value, &at.type_name, &to.type_name),
            }
        });
        Some(IntegrationKey::from_values(in_form.collect::<Option<_>>()?))
    }

    /// The key of a row at the destination.
    pub fn destination_key(&self, row: &Row) -> Option<IntegrationKey> {
        let places: Vec<usize> = self.columns.iter().take(self.key_len).map(|(place, _)| *place).collect();
        IntegrationKey::of(row, &places)
    }

    /// The key of a row of the source.
    pub fn source_key(&self, row: &Row) -> Option<IntegrationKey> {
        let places: Vec<usize> = self.source_key.iter().map(|(place, _)| *place).collect();
        IntegrationKey::of(row, &places)
    }

    /// What tells a key of the destination from others, in whichever form it is.
    pub fn destination_id(&self, key: &IntegrationKey) -> RowHash {
        let columns = self.columns.iter().map(|(_, comparison)| *comparison);
        RowHash::of(key.values().iter().zip(columns))
    }

    /// What tells a key of the source from others, in whichever form it is.
    pub fn source_id(&self, key: &IntegrationKey) -> RowHash {
        let columns = self.source_key.iter().map(|(_, comparison)| *comparison);
        RowHash::of(key.values().iter().zip(columns))
    }

    /// Whether the filter of the destination's side has a row.
    fn belongs(&self, row: &Row) -> bool {
        let Some(back) = &self.back else { return true };
        !matches!(project(back, &self.destination, row), Ok(Projected::Filtered))
    }

    fn is_same(&self, wanted: &[Value], row: &Row) -> bool {
        let pairs = wanted.iter().zip(&self.columns).enumerate();
        pairs.into_iter().all(|(nth, (wanted, (place, comparison)))| {
            let Some(there) = row.cell(*place).value() else { return false };
            if there.is_null() || !self.lookups.iter().any(|column| column.nth == nth) {
                return comparison.is_same(wanted, there);
            }
            let key = self.referred.get(&(*place, there.to_string()));
            key.is_some_and(|key| comparison.is_same(wanted, key))
        })
    }
}

fn project(projection: &Projection, relation: &Arc<Relation>, row: &Row) -> Result<Projected, Refusal> {
    // An insert cannot have left the filter; a record that is read may have.
    let op = Op::Update { old: None, new: row.clone() };
    projection.project(&Change { relation: relation.clone(), op }, Seq::ZERO, Seq::ZERO)
}

/// A flow of nothing but the key, from the destination to the source. `None` if the key is not told by the
/// destination's.
fn back(flow: &FlowSpec, filter: Option<&Expression>, reverse: Option<&FlowSpec>) -> Option<FlowSpec> {
    let columns: Vec<FlowColumn> = match reverse {
        Some(reverse) => reverse.columns.iter().take(reverse.key_len).cloned().collect(),
        None => {
            let key = flow.columns.iter().take(flow.key_len);
            let swapped = key.map(|column| match &column.from {
                Origin::Column(from) if column.steps.is_empty() => {
                    Some(FlowColumn::new(column.to.clone(), from.clone()))
                }
                Origin::Column(_) | Origin::Constant(_) | Origin::Expression(_) => None,
            });
            swapped.collect::<Option<_>>()?
        }
    };
    let source_key = flow.columns.iter().take(flow.key_len).map(|column| column.to.clone()).collect();
    Some(FlowSpec {
        map: flow.map.clone(),
        source: flow.destination.clone(),
        source_key,
        destination: flow.source.clone(),
        key_len: columns.len(),
        columns,
        rank: flow.rank,
        filter: filter.cloned(),
        on_leave: OnLeave::Keep,
        shape: Default::default(),
        references: Vec::new(),
    })
}

/// A value in the form of another one of the same column.
fn like(value: Value, sample: &Value) -> Option<Value> {
    let text = || value.to_string();
    match sample {
        Value::Int(_) => text().parse().ok().map(Value::Int),
        Value::Text(_) => Some(Value::from(text().as_str())),
        Value::Typed(Kind::Uuid, _) => Some(Value::Typed(Kind::Uuid, text().to_lowercase().into())),
        Value::Typed(kind, _) => Some(Value::Typed(*kind, text().into())),
        Value::Null | Value::Bool(_) | Value::Float(_) | Value::Bytes(_) => {
            (std::mem::discriminant(&value) == std::mem::discriminant(sample)).then_some(value)
        }
    }
}

/// A value in the form that a type of the source has, where none was seen yet.
fn of_type(value: Value, source: &str, destination: &str) -> Option<Value> {
    if source.eq_ignore_ascii_case(destination) {
        return Some(value);
    }
    match Comparison::of(source, source) {
        Comparison::Number if source.to_lowercase().contains("int") => like(value, &Value::Int(0)),
        Comparison::Caseless => like(value, &Value::Typed(Kind::Uuid, "".into())),
        Comparison::Own if matches!(value, Value::Text(_)) => Some(value),
        Comparison::Own
        | Comparison::Truth
        | Comparison::Number
        | Comparison::Moment
        | Comparison::Wall
        | Comparison::Json
        | Comparison::Padded => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::Step;
    use crate::{RelationColumn, TableName};

    fn relation(table: &str, columns: &[(&str, &str)]) -> Arc<Relation> {
        let column = |(name, type_name): &(&str, &str)| RelationColumn {
            name: (*name).into(),
            type_name: (*type_name).into(),
            identity: true,
        };
        let columns = columns.iter().map(column).collect();
        Arc::new(Relation { table: TableName::parse(table).unwrap(), columns })
    }

    fn flow() -> FlowSpec {
        FlowSpec {
            map: "m".into(),
            source: TableName::parse("s").unwrap(),
            source_key: vec!["no".into()],
            destination: TableName::parse("d").unwrap(),
            columns: vec![FlowColumn::new("no", "ext"), FlowColumn::new("price", "amount")],
            key_len: 1,
            rank: 0,
            filter: None,
            on_leave: OnLeave::Keep,
            shape: Default::default(),
            references: Vec::new(),
        }
    }

    fn comparer(flow: &FlowSpec, filter: Option<&str>) -> Comparer {
        let filter = filter.map(|filter| Expression::parse(filter).unwrap());
        let source = relation("s", &[("no", "int8"), ("price", "numeric"), ("state", "text")]);
        let destination = relation("d", &[("more", "TEXT"), ("amount", "TEXT"), ("ext", "TEXT")]);
        Comparer::bind(flow, filter.as_ref(), None, source, destination).unwrap()
    }

    fn source(no: i64, price: &'static str, state: &str) -> Row {
        Row::of([Value::Int(no), Value::Typed(Kind::Decimal, price.into()), state.into()])
    }

    fn destination(ext: &str, amount: &str) -> Row {
        Row::of(["x".into(), amount.into(), ext.into()])
    }

    #[test]
    fn a_record_is_judged_by_what_the_map_makes_of_it() {
        let only_open = || FlowSpec { filter: Some(Expression::parse("state == 'open'").unwrap()), ..flow() };
        let deleting = || FlowSpec { on_leave: OnLeave::Delete, ..only_open() };
        let mut blank = flow();
        blank.columns[1].steps = vec![Step::Trim];
        let check = |flow: &FlowSpec, s: Option<Row>, d: Option<Row>, expected| {
            assert_eq!(comparer(flow, None).judge(s.as_ref(), d.as_ref()), expected, "{s:?} {d:?}");
        };
        let (s, d) = (|| Some(source(7, "1.50", "open")), |amount| Some(destination("7", amount)));
        check(&flow(), s(), d("1.5"), Verdict::Same);
        check(&flow(), s(), d("1.51"), Verdict::Changed);
        check(&flow(), s(), None, Verdict::Missing);
        check(&flow(), None, d("1.5"), Verdict::Extra);
        check(&flow(), None, None, Verdict::Same);
        let closed = || Some(source(7, "1.50", "closed"));
        check(&only_open(), closed(), d("9"), Verdict::LeftOut);
        check(&only_open(), closed(), None, Verdict::LeftOut);
        check(&deleting(), closed(), d("9"), Verdict::Extra);
        check(&deleting(), closed(), None, Verdict::Same);
        let no_key = Some(Row::of([Value::Null, Value::Null, Value::Null]));
        check(&flow(), no_key, None, Verdict::Refused);
    }

    #[test]
    fn what_the_destinations_own_filter_leaves_out_is_none_of_the_maps() {
        let comparer = comparer(&flow(), Some("more == 'ours'"));
        assert_eq!(comparer.judge(None, Some(&destination("7", "1"))), Verdict::LeftOut);
        assert_eq!(comparer.key_back(&destination("7", "1")), None);
    }

    #[test]
    fn a_record_that_has_left_the_map_and_is_another_ones_by_now_is_left_alone() {
        let only_open = Expression::parse("state == 'open'").unwrap();
        let leaving = FlowSpec { filter: Some(only_open), on_leave: OnLeave::Delete, ..flow() };
        let gone = source(7, "1", "shut");
        let judge = |filter| comparer(&leaving, filter).judge(Some(&gone), Some(&destination("7", "1")));
        assert_eq!(judge(None), Verdict::Extra);
        assert_eq!(judge(Some("more == 'ours'")), Verdict::LeftOut);
    }

    #[test]
    fn a_key_leads_back_in_the_form_that_the_source_has() {
        let key = |value: Value| IntegrationKey::from_values(vec![value]);
        let mut comparer = comparer(&flow(), None);
        assert_eq!(comparer.key_back(&destination("7", "1")), Some(key(7.into())));
        assert_eq!(comparer.key_back(&destination("x", "1")), None, "no integer of the source is x");
        comparer.learn(&key("1".into()));
        assert_eq!(comparer.key_back(&destination("x", "1")), Some(key("x".into())));
        let (text, number) = (key("7".into()), key(7.into()));
        assert_eq!(comparer.destination_id(&text), comparer.destination_id(&number));
        assert_eq!(comparer.source_id(&text), comparer.source_id(&number));
        let wanted = comparer.wanted(&source(7, "1", "open"));
        assert_eq!(comparer.wanted_key(&wanted), Some(number));
    }

    #[test]
    fn a_key_that_the_map_changes_on_its_way_does_not_lead_back() {
        let mut flow = flow();
        flow.columns[0].steps = vec![Step::Trim];
        assert!(!comparer(&flow, None).leads_back());
        assert!(comparer(&self::flow(), None).leads_back());
    }
}
