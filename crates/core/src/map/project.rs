//! From a change of the source to a write at the destination.
//!
//! The filter of the source's side decides whether there is one. What the log has not named again is as it was, so
//! it is taken from the record before where the log names that; what is named nowhere is left alone at the
//! destination, and where a filter or an expression needs it, the change is refused rather than guessed at.

use super::OnLeave;
use super::expression::Expression;
use super::refusal::Refusal;
use super::resolve::{FlowColumn, FlowSpec};
use super::transform::{Origin, Step};
use crate::{Change, IntegrationKey, Op, Relation, Row, Seq, Target, Value, Write, WriteOp};
use std::sync::Arc;

/// A flow bound to one relation of its source's log.
#[derive(Debug, Clone)]
pub struct Projection {
    target: Arc<Target>,
    /// One for each column of the target; the integration key's come first.
    columns: Vec<BoundColumn>,
    key_len: usize,
    filter: Option<Bound>,
    on_leave: OnLeave,
}

/// What a map makes of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projected {
    /// It is written.
    Write(Write),
    /// The filter leaves it out: nothing is written.
    Filtered,
}

#[derive(Debug, Clone)]
struct BoundColumn {
    to: Arc<str>,
    from: From,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum From {
    /// A place in the relation.
    Place(usize),
    /// A column that the relation does not have, and that has a default.
    Nowhere,
    Constant(Value),
    Expression(Bound),
}

/// An expression, and the places of the columns that it reads.
#[derive(Debug, Clone)]
struct Bound {
    expression: Expression,
    places: Vec<(Arc<str>, usize)>,
}

/// A record as the log has it: what it does not name again is as it was before, as far as it names that.
#[derive(Clone, Copy)]
struct Image<'a> {
    row: &'a Row,
    before: Option<&'a Row>,
}

impl<'a> Image<'a> {
    fn of(row: &'a Row) -> Self {
        Self { row, before: None }
    }

    fn value(self, place: usize) -> Option<&'a Value> {
        self.row.cell(place).value().or_else(|| self.before?.cell(place).value())
    }
}

impl Bound {
    fn new(expression: &Expression, relation: &Relation) -> Result<Self, Refusal> {
        let place = |name: &Arc<str>| {
            let place = relation.column(name).ok_or_else(|| Refusal::MissingColumn(name.clone()))?;
            Ok((name.clone(), place))
        };
        let places = expression.columns().map(place).collect::<Result<_, Refusal>>()?;
        Ok(Self { expression: expression.clone(), places })
    }

    /// The first column that it reads and the log does not name.
    fn unnamed(&self, image: Image<'_>) -> Option<&Arc<str>> {
        self.places.iter().find(|(_, place)| image.value(*place).is_none()).map(|(name, _)| name)
    }

    fn value_in<'a>(&'a self, image: Image<'a>) -> impl Fn(&str) -> Value + 'a {
        move |name| {
            let place = self.places.iter().find(|(known, _)| &**known == name).map(|(_, place)| *place);
            place.and_then(|place| image.value(place)).cloned().unwrap_or(Value::Null)
        }
    }
}

impl BoundColumn {
    fn new(column: &FlowColumn, relation: &Relation) -> Result<Self, Refusal> {
        let has_default = matches!(column.steps.first(), Some(Step::Default(_)));
        let from = match &column.from {
            Origin::Column(name) => match relation.column(name) {
                Some(place) => From::Place(place),
                None if has_default => From::Nowhere,
                None => return Err(Refusal::MissingColumn(name.clone())),
            },
            Origin::Constant(value) => From::Constant(value.clone()),
            Origin::Expression(expression) => From::Expression(Bound::new(expression, relation)?),
        };
        Ok(Self { to: column.to.clone(), from, steps: column.steps.clone() })
    }

    /// Its value; `None` if the log does not name what it is made of, since that has not changed.
    fn value(&self, image: Image<'_>) -> Result<Option<Value>, Refusal> {
        let value = match &self.from {
            From::Place(place) => match image.value(*place) {
                Some(value) => value.clone(),
                None => return Ok(None),
            },
            From::Nowhere => Value::Null,
            From::Constant(value) => value.clone(),
            From::Expression(bound) => match bound.unnamed(image) {
                None => bound
                    .expression
                    .evaluate(bound.value_in(image))
                    .map_err(|why| Refusal::Expression { column: self.to.clone(), why })?,
                Some(_) if bound.places.iter().all(|(_, place)| image.value(*place).is_none()) => {
                    return Ok(None);
                }
                Some(unnamed) => return Err(Refusal::UnnamedColumn(unnamed.clone())),
            },
        };
        let step = |value: Value, step: &Step| {
            let refused = |why| Refusal::Value { column: self.to.clone(), step: step.name(), why };
            step.apply(value).map_err(refused)
        };
        self.steps.iter().try_fold(value, step).map(Some)
    }
}

impl Projection {
    /// The target of a flow; one for all of the flow's projections, so that writes can be told apart by pointer.
    pub fn target(flow: &FlowSpec) -> Arc<Target> {
        Arc::new(Target {
            map: flow.map.clone(),
            table: flow.destination.clone(),
            columns: flow.columns.iter().map(|column| column.to.clone()).collect(),
            key: (0..flow.key_len).collect(),
            rank: flow.rank,
            lookups: flow
                .columns
                .iter()
                .enumerate()
                .filter_map(|(place, column)| Some((place, column.lookup.clone()?)))
                .collect(),
        })
    }

    /// Binds a flow to a relation.
    pub fn bind(flow: &FlowSpec, target: Arc<Target>, relation: &Relation) -> Result<Self, Refusal> {
        let columns = flow.columns.iter().map(|column| BoundColumn::new(column, relation));
        Ok(Self {
            target,
            columns: columns.collect::<Result<_, _>>()?,
            key_len: flow.key_len,
            filter: flow.filter.as_ref().map(|filter| Bound::new(filter, relation)).transpose()?,
            on_leave: flow.on_leave,
        })
    }

    /// What one change asks for, as a flow stands now: for who looks at a change, not for a lane.
    pub fn once(flow: &FlowSpec, change: &Change, seq: Seq, transaction: Seq) -> Result<Projected, Refusal> {
        Self::bind(flow, Self::target(flow), &change.relation)?.project(change, seq, transaction)
    }

    /// What a change asks for.
    pub fn project(&self, change: &Change, seq: Seq, transaction: Seq) -> Result<Projected, Refusal> {
        let op = match &change.op {
            Op::Insert { new } => match self.belongs(Image::of(new))? {
                true => {
                    self.key_of(Image::of(new))?;
                    Some(WriteOp::Upsert(self.whole(Image::of(new))?.ok_or(Refusal::Incomplete)?))
                }
                false => None,
            },
            Op::Update { old, new } => match self.belongs(Image { row: new, before: old.as_ref() })? {
                true => Some(self.update(old.as_ref(), new)?),
                false => match self.on_leave {
                    OnLeave::Keep => None,
                    // Whether it was there before does not matter: what is not there need not be deleted.
                    OnLeave::Delete => Some(WriteOp::Delete(match old {
                        Some(old) => self.key_of(Image::of(old))?,
                        None => self.key_of(Image::of(new))?,
                    })),
                },
            },
            Op::Delete { old } => match self.is_known_not_to_belong(old)? {
                true => None,
                false => Some(WriteOp::Delete(self.key_of(Image::of(old))?)),
            },
            Op::Truncate => return Err(Refusal::Truncated),
        };
        Ok(match op {
            Some(op) => Projected::Write(Write { seq, transaction, target: self.target.clone(), op }),
            None => Projected::Filtered,
        })
    }

    /// Whether the filter holds for a record.
    fn belongs(&self, image: Image<'_>) -> Result<bool, Refusal> {
        let Some(filter) = &self.filter else { return Ok(true) };
        if let Some(unnamed) = filter.unnamed(image) {
            return Err(Refusal::UnnamedColumn(unnamed.clone()));
        }
        filter.expression.holds(filter.value_in(image)).map_err(Refusal::Filter)
    }

    /// Whether a record that is gone was none of the map's. Where the log does not say it, it may have been.
    fn is_known_not_to_belong(&self, old: &Row) -> Result<bool, Refusal> {
        match &self.filter {
            Some(filter) if filter.unnamed(Image::of(old)).is_none() => {
                self.belongs(Image::of(old)).map(|it| !it)
            }
            _ => Ok(false),
        }
    }

    fn update(&self, old: Option<&Row>, new: &Row) -> Result<WriteOp, Refusal> {
        let old_key = old.map(|old| self.key_of(Image::of(old))).transpose()?;
        let mut values = self.partial(Image { row: new, before: old })?;
        let Some(old_key) = old_key else {
            let key = self.key_of(Image::of(new))?;
            return Ok(match values.iter().all(Option::is_some) {
                true => WriteOp::Upsert(values.into_iter().flatten().collect()),
                false => WriteOp::Patch { key, values },
            });
        };
        // A key column that was not sent again is as it was.
        for (value, old) in values.iter_mut().zip(old_key.values()) {
            value.get_or_insert_with(|| old.clone());
        }
        let new_key: Vec<Value> = values.iter().take(self.key_len).flatten().cloned().collect();
        if new_key.iter().any(Value::is_null) {
            return Err(Refusal::NullKey);
        }
        if new_key != old_key.values() {
            return Ok(WriteOp::Rekey { old: old_key, values });
        }
        if values.iter().all(Option::is_some) {
            return Ok(WriteOp::Upsert(values.into_iter().flatten().collect()));
        }
        Ok(WriteOp::Patch { key: old_key, values })
    }

    /// The integration key that the record has at the destination.
    fn key_of(&self, image: Image<'_>) -> Result<IntegrationKey, Refusal> {
        let key = self.columns.iter().take(self.key_len).map(|column| column.value(image));
        let key: Option<Vec<Value>> = key.collect::<Result<_, _>>()?;
        let key = IntegrationKey::from_values(key.ok_or(Refusal::MissingKey)?);
        if key.has_null() { Err(Refusal::NullKey) } else { Ok(key) }
    }

    fn whole(&self, image: Image<'_>) -> Result<Option<Vec<Value>>, Refusal> {
        self.columns.iter().map(|column| column.value(image)).collect()
    }

    fn partial(&self, image: Image<'_>) -> Result<Vec<Option<Value>>, Refusal> {
        self.columns.iter().map(|column| column.value(image)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cell, RelationColumn, TableName};

    fn relation() -> Relation {
        Relation {
            table: TableName::parse("s").unwrap(),
            columns: ["note", "no", "name"]
                .map(|name| RelationColumn {
                    name: name.into(),
                    type_name: "".into(),
                    identity: name == "no",
                })
                .to_vec(),
        }
    }

    fn flow() -> FlowSpec {
        FlowSpec {
            map: "m".into(),
            source: relation().table,
            source_key: vec!["no".into()],
            destination: TableName::parse("d").unwrap(),
            columns: vec![FlowColumn::new("no", "ext_no"), FlowColumn::new("name", "title")],
            key_len: 1,
            rank: 0,
            filter: None,
            on_leave: OnLeave::Keep,
            shape: Default::default(),
            references: Vec::new(),
        }
    }

    /// What comes of it; `None` if the filter leaves it out.
    fn project(flow: &FlowSpec, op: Op) -> Result<Option<WriteOp>, Refusal> {
        let change = Change { relation: Arc::new(relation()), op };
        Projection::once(flow, &change, Seq(1), Seq(1)).map(|projected| match projected {
            Projected::Write(write) => Some(write.op),
            Projected::Filtered => None,
        })
    }

    fn cells(cells: [Option<&str>; 3]) -> Row {
        Row(cells
            .map(|cell| {
                cell.map_or(Cell::Unchanged, |text| {
                    Cell::Set(if text == "∅" { Value::Null } else { text.into() })
                })
            })
            .to_vec())
    }

    #[track_caller]
    fn check(op: Op, expected: Result<WriteOp, Refusal>) {
        assert_eq!(project(&flow(), op), expected.map(Some));
    }

    fn key(text: &str) -> IntegrationKey {
        IntegrationKey::from_values(vec![text.into()])
    }

    #[test]
    fn a_whole_row_becomes_an_upsert_of_the_mapped_columns() {
        let row = cells([Some("x"), Some("K1"), Some("Ann")]);
        check(Op::Insert { new: row.clone() }, Ok(WriteOp::Upsert(vec!["K1".into(), "Ann".into()])));
        check(Op::Update { old: None, new: row }, Ok(WriteOp::Upsert(vec!["K1".into(), "Ann".into()])));
    }

    #[test]
    fn an_unchanged_value_that_is_not_mapped_does_not_make_a_row_partial() {
        check(
            Op::Update { old: None, new: cells([None, Some("K1"), Some("Ann")]) },
            Ok(WriteOp::Upsert(vec!["K1".into(), "Ann".into()])),
        );
    }

    #[test]
    fn null_clears_but_unchanged_keeps() {
        check(
            Op::Update { old: None, new: cells([None, Some("K1"), Some("∅")]) },
            Ok(WriteOp::Upsert(vec!["K1".into(), Value::Null])),
        );
        check(
            Op::Update { old: None, new: cells([None, Some("K1"), None]) },
            Ok(WriteOp::Patch { key: key("K1"), values: vec![Some("K1".into()), None] }),
        );
    }

    #[test]
    fn a_changed_key_moves_the_record_and_keeps_what_the_log_does_not_name() {
        check(
            Op::Update { old: Some(cells([None, Some("K1"), None])), new: cells([None, Some("K2"), None]) },
            Ok(WriteOp::Rekey { old: key("K1"), values: vec![Some("K2".into()), None] }),
        );
        check(
            Op::Update { old: Some(cells([None, Some("K1"), None])), new: cells([None, None, Some("Ann")]) },
            Ok(WriteOp::Upsert(vec!["K1".into(), "Ann".into()])),
        );
    }

    #[test]
    fn a_record_that_cannot_be_named_is_refused() {
        check(Op::Delete { old: cells([None, None, None]) }, Err(Refusal::MissingKey));
        check(Op::Delete { old: cells([None, Some("∅"), None]) }, Err(Refusal::NullKey));
        check(Op::Insert { new: cells([Some("x"), Some("K1"), None]) }, Err(Refusal::Incomplete));
        check(Op::Truncate, Err(Refusal::Truncated));
    }

    #[test]
    fn a_relation_without_a_mapped_column_cannot_be_bound() {
        let columns = vec![FlowColumn::new("no", "no"), FlowColumn::new("phone", "phone")];
        let op = || Op::Insert { new: cells([None, Some("K1"), None]) };
        let refused = project(&FlowSpec { columns, ..flow() }, op()).unwrap_err();
        assert_eq!(refused, Refusal::MissingColumn("phone".into()));
        let mut column = FlowColumn::new("phone", "phone");
        column.steps = vec![Step::Default("none".into())];
        let columns = vec![FlowColumn::new("no", "no"), column];
        let written = project(&FlowSpec { columns, ..flow() }, op());
        assert_eq!(written, Ok(Some(WriteOp::Upsert(vec!["K1".into(), "none".into()]))));
    }

    #[test]
    fn what_was_not_sent_again_is_taken_from_the_record_before_where_the_log_has_it() {
        check(
            Op::Update {
                old: Some(cells([None, Some("K1"), Some("Ann")])),
                new: cells([None, Some("K1"), None]),
            },
            Ok(WriteOp::Upsert(vec!["K1".into(), "Ann".into()])),
        );
    }

    fn made(expression: &str) -> FlowSpec {
        let from = Origin::Expression(Expression::parse(expression).unwrap());
        let made = FlowColumn { from, steps: vec![Step::Trim], ..FlowColumn::new("name", "title") };
        let mut key = FlowColumn::new("no", "ext_no");
        key.steps = vec![Step::Case(crate::map::Case::Lower)];
        FlowSpec { columns: vec![key, made], ..flow() }
    }

    #[test]
    fn columns_are_made_by_expressions_and_steps_and_keys_too() {
        let flow = made("note == null ? name : note + ' ' + name");
        let row = |note: &str| cells([Some(note), Some("K1"), Some("Ann ")]);
        let upsert = |title: &str| Ok(Some(WriteOp::Upsert(vec!["k1".into(), title.into()])));
        assert_eq!(project(&flow, Op::Insert { new: row("Dr.") }), upsert("Dr. Ann"));
        assert_eq!(project(&flow, Op::Insert { new: row("∅") }), upsert("Ann"));
        assert_eq!(project(&flow, Op::Delete { old: row("∅") }), Ok(Some(WriteOp::Delete(key("k1")))));
        // Two spellings of a key are one record.
        let renamed = Op::Update { old: Some(row("∅")), new: cells([Some("∅"), Some("k1"), Some("Bo")]) };
        assert_eq!(project(&flow, renamed), upsert("Bo"));
    }

    #[test]
    fn an_expression_whose_columns_did_not_change_leaves_its_column_and_one_that_knows_half_is_refused() {
        let flow = made("note + name");
        let update = |new| project(&flow, Op::Update { old: None, new });
        assert_eq!(
            update(cells([None, Some("K1"), None])),
            Ok(Some(WriteOp::Patch { key: key("k1"), values: vec![Some("k1".into()), None] }))
        );
        assert_eq!(update(cells([Some("x"), Some("K1"), None])), Err(Refusal::UnnamedColumn("name".into())));
        let failed = update(cells([Some("∅"), Some("K1"), Some("secret")])).unwrap_err();
        assert_eq!(failed.code(), "expression_failed");
        assert!(!failed.to_string().contains("secret"), "{failed}");
    }

    fn filtered(on_leave: OnLeave) -> FlowSpec {
        FlowSpec { filter: Some(Expression::parse("note != 'draft'").unwrap()), on_leave, ..flow() }
    }

    #[test]
    fn a_filter_decides_by_the_record_as_it_is_now() {
        let row = |note: &str| cells([Some(note), Some("K1"), Some("Ann")]);
        let upsert = || Ok(Some(WriteOp::Upsert(vec!["K1".into(), "Ann".into()])));
        let update = |old: &str, new: &str| Op::Update { old: Some(row(old)), new: row(new) };
        let delete = || Ok(Some(WriteOp::Delete(key("K1"))));
        for on_leave in [OnLeave::Keep, OnLeave::Delete] {
            let flow = filtered(on_leave);
            assert_eq!(project(&flow, Op::Insert { new: row("open") }), upsert());
            assert_eq!(project(&flow, Op::Insert { new: row("draft") }), Ok(None));
            assert_eq!(project(&flow, Op::Insert { new: row("∅") }), upsert(), "null is not 'draft'");
            assert_eq!(project(&flow, update("draft", "open")), upsert(), "it enters");
            assert_eq!(project(&flow, Op::Delete { old: row("open") }), delete());
            assert_eq!(project(&flow, Op::Delete { old: row("draft") }), Ok(None), "it never was there");
            let unnamed = Op::Delete { old: cells([None, Some("K1"), None]) };
            assert_eq!(project(&flow, unnamed), delete(), "it may have been there");
        }
        assert_eq!(project(&filtered(OnLeave::Keep), update("open", "draft")), Ok(None));
        assert_eq!(project(&filtered(OnLeave::Delete), update("open", "draft")), delete());
        let new = cells([Some("draft"), Some("K2"), Some("Ann")]);
        let renamed = Op::Update { old: Some(row("open")), new };
        assert_eq!(project(&filtered(OnLeave::Delete), renamed), delete(), "by the key that it had");
        let partial = Op::Update { old: None, new: cells([Some("draft"), Some("K1"), None]) };
        assert_eq!(project(&filtered(OnLeave::Delete), partial), delete());
    }

    #[test]
    fn a_filter_that_cannot_say_refuses_and_never_passes() {
        let flow = filtered(OnLeave::Keep);
        let update = |old| Op::Update { old, new: cells([None, Some("K1"), Some("Ann")]) };
        assert_eq!(project(&flow, update(None)), Err(Refusal::UnnamedColumn("note".into())));
        let before = cells([Some("draft"), Some("K1"), None]);
        assert_eq!(project(&flow, update(Some(before))), Ok(None), "as it was before");
        let wrong = FlowSpec { filter: Some(Expression::parse("note > 5").unwrap()), ..flow };
        let row = cells([Some("x"), Some("K1"), Some("Ann")]);
        assert_eq!(project(&wrong, Op::Insert { new: row.clone() }).unwrap_err().code(), "filter_failed");
        assert_eq!(project(&wrong, Op::Delete { old: row }).unwrap_err().code(), "filter_failed");
    }
}
