use super::*;
use crate::map::{Columns, Deletes, Direction, OnLeave, Side, TableMap, resolve};
use crate::{ColumnSchema, RelationColumn, TableName};

type Column = (&'static str, &'static str);

const BEFORE: &[Column] = &[("id", "integer"), ("name", "character varying(10)"), ("extra", "date")];

fn schema(table: &str, columns: &[Column]) -> TableSchema {
    let column = |(name, type_name): &Column| ColumnSchema {
        name: (*name).into(),
        type_name: (*type_name).into(),
        nullable: *name != "id",
        has_default: false,
        generated: false,
    };
    TableSchema {
        is_table: true,
        table: TableName::parse(table).unwrap(),
        columns: columns.iter().map(column).collect(),
        primary_key: vec!["id".into()],
        unique_keys: Vec::new(),
        deferrable_keys: Vec::new(),
        identity: vec!["id".into()],
        foreign_keys: Vec::new(),
    }
}

/// A relation as a log has it; a name with a star is named in old rows.
fn relation(columns: &[Column]) -> Relation {
    let column = |(name, type_name): &Column| RelationColumn {
        name: name.trim_end_matches('*').into(),
        type_name: (*type_name).into(),
        identity: name.ends_with('*'),
    };
    Relation { table: TableName::parse("s").unwrap(), columns: columns.iter().map(column).collect() }
}

/// Names map by themselves.
fn map() -> TableMap {
    let side = |app: &str, table: &str| Side {
        app: app.into(),
        table: TableName::parse(table).unwrap(),
        key: vec!["id".into()],
        filter: None,
    };
    TableMap {
        name: "m".into(),
        direction: Direction::ToRight,
        left: side("a", "s"),
        right: side("b", "d"),
        columns: Columns::SameNames,
        depends_on: Vec::new(),
        deletes: Deletes::Queue,
        on_leave: OnLeave::Keep,
        conflict: Default::default(),
        side_effects: Default::default(),
        initial_sync: Default::default(),
    }
}

fn flow(source: &TableSchema, destination: &TableSchema) -> FlowSpec {
    let map = map();
    resolve(&map, (&map.left, source), (&map.right, destination), 0, &[]).unwrap().0
}

fn resolved() -> FlowSpec {
    flow(&schema("s", BEFORE), &schema("d", &[("id", "integer"), ("name", "text")]))
}

#[track_caller]
fn check(flow: &FlowSpec, now: &[Column], expected: &str) {
    let said = misfit(flow, &relation(now)).map(|misfit| misfit.to_string());
    assert_eq!(said.unwrap_or_default(), expected);
}

#[test]
fn what_a_flow_does_not_touch_may_change_as_it_likes() {
    let flow = resolved();
    let same = [("id*", "int4"), ("name", "varchar")];
    check(&flow, &[&same[..], &[("extra", "date")]].concat(), "");
    check(&flow, &[&same[..], &[("extra", "date"), ("new", "jsonb")]].concat(), "");
    check(&flow, &same, "");
    check(&flow, &[&same[..], &[("other", "date")]].concat(), "");
    check(&flow, &[&same[..], &[("extra", "bytea")]].concat(), "");
    check(&flow, &[("extra", "date"), ("name", "varchar"), ("id*", "int4")], "");
    check(&flow, &[("id*", "int4"), ("name*", "varchar"), ("extra*", "date")], "");
}

#[test]
fn a_mapped_column_that_is_gone_or_renamed_breaks() {
    let flow = resolved();
    check(&flow, &[("id*", "int4"), ("extra", "date")], "the column name is gone");
    check(
        &flow,
        &[("id*", "int4"), ("title", "varchar"), ("extra", "date")],
        "the column name is gone; it may be called title now",
    );
    check(
        &flow,
        &[("no*", "int4"), ("name", "varchar"), ("extra", "date")],
        "the column id is gone; it may be called no now",
    );
    check(&flow, &[("name", "varchar"), ("extra", "date")], "the column id is gone");
}

#[test]
fn a_type_breaks_if_the_destination_does_not_take_its_values() {
    let text = resolved();
    // Whatever it is, a text column takes it.
    for type_name in ["text", "int8", "jsonb", "bytea", "mood"] {
        check(&text, &[("id*", "int4"), ("name", type_name)], "");
    }
    check(&text, &[("id*", "int8"), ("name", "varchar")], "");
    check(&text, &[("id*", "numeric"), ("name", "varchar")], "");
    check(
        &text,
        &[("id*", "uuid"), ("name", "varchar")],
        "the column id was integer and is uuid; it goes to id, which is integer",
    );
    let tables = |type_name: &'static str| {
        let columns: [Column; 2] = [("id", "integer"), ("at", type_name)];
        flow(&schema("s", &columns), &schema("d", &columns))
    };
    check(&tables("timestamp(3) without time zone"), &[("id*", "int4"), ("at", "timestamp")], "");
    check(&tables("timestamp with time zone"), &[("id*", "int4"), ("at", "timestamptz")], "");
    check(&tables("timestamp with time zone"), &[("id*", "int4"), ("at", "timestamp")], "");
    check(&tables("integer[]"), &[("id*", "int4"), ("at", "_int4")], "");
    check(&tables("public.mood"), &[("id*", "int4"), ("at", "mood")], "");
    let broken = "the column at was date and is text; it goes to at, which is date";
    check(&tables("date"), &[("id*", "int4"), ("at", "text")], broken);
}

#[test]
fn a_value_that_is_remade_on_its_way_may_come_from_another_type() {
    let columns: [Column; 2] = [("id", "integer"), ("at", "date")];
    let mut flow = flow(&schema("s", &columns), &schema("d", &columns));
    let text = [("id*", "int4"), ("at", "text")];
    assert!(misfit(&flow, &relation(&text)).is_some());
    flow.columns[1].steps.push(Step::Replace { from: ".".into(), to: "-".into() });
    assert_eq!(misfit(&flow, &relation(&text)), None);
}

#[test]
fn old_rows_must_name_what_they_named_when_the_map_was_run_and_no_more() {
    let flow = resolved();
    check(&flow, &[("id", "int4"), ("name*", "varchar")], "old rows no longer name the column id");
    let mut named_nothing = flow;
    named_nothing.shape.identity.clear();
    check(&named_nothing, &[("id", "int4"), ("name", "varchar")], "");
}

#[test]
fn a_flow_of_an_engine_that_kept_no_shape_misses_only_columns_that_are_gone() {
    let flow = FlowSpec { shape: Shape::default(), ..resolved() };
    check(&flow, &[("id", "uuid"), ("name", "varchar")], "");
    check(&flow, &[("id", "int4")], "the column name is gone");
}

#[track_caller]
fn check_drift(source: &[Column], destination: &[Column], expected: &[&str]) {
    let was = flow(&schema("s", BEFORE), &schema("d", BEFORE));
    let (source, destination) = (schema("s", source), schema("d", destination));
    let now = flow(&source, &destination);
    let found = drift(&was, &now, (&source, &destination));
    let said: Vec<&str> = found.iter().map(|finding| &*finding.message).collect();
    assert_eq!(said, expected);
}

#[test]
fn a_column_that_maps_by_itself_is_missed_unless_both_sides_have_let_go_of_it() {
    let without = &BEFORE[..2];
    check_drift(BEFORE, BEFORE, &[]);
    check_drift(without, without, &[]);
    check_drift(without, BEFORE, &["the column extra is gone from s"]);
    check_drift(BEFORE, without, &["the column extra is gone from d"]);
    let more = [BEFORE, &[("new", "text")]].concat();
    check_drift(&more, &more, &[]);
}

#[test]
fn a_type_that_has_changed_since_is_told_where_values_may_no_longer_fit() {
    let with = |name: &'static str, extra: &'static str| -> Vec<Column> {
        vec![("id", "integer"), ("name", name), ("extra", extra)]
    };
    let before = with("character varying(10)", "date");
    check_drift(&before, &with("character varying(5)", "date"), &[]);
    check_drift(&before, &with("text", "timestamp without time zone"), &[]);
    check_drift(&with("text", "date"), &before, &[]);
    check_drift(&with("jsonb", "date"), &before, &[]);
    let found = "name was character varying(10) and is character varying(10); name was character varying(10) and \
                 is integer: values may no longer fit";
    check_drift(&before, &with("integer", "date"), &[found]);
    let both = with("integer", "date");
    check_drift(&both, &both, &[]);
}
