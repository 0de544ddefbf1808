//! What the tables are, whatever their columns are called just now.
//!
//! A column is known by its *meaning*, a small number that it keeps through every change of its name and its type, and
//! that each value in it carries. So a value that arrives under another meaning was projected wrongly, and it needs no
//! history to see that. No two meanings ever have the same name: which of two columns of one name was meant nobody could
//! say, a log of names least of all.

use crate::world::{MAPS, table};
use std::collections::{BTreeMap, BTreeSet};
use tandem_connectors::memory::{Alter, MemoryApp, TableSpec};
use tandem_core::map::{
    ColumnPair, Columns, Deletes, Direction, InitialSync, OnLeave, Side, TableMap, Through,
};
use tandem_core::{Fault, MapName, Value};

/// What is in a column.
pub(super) type Meaning = i64;

/// The number by which the right app refers to a customer. Each new customer has a new one.
pub(super) const SERIAL: Meaning = 1;
/// The customer of an order.
pub(super) const CUSTOMER: Meaning = 3;
/// Columns that are made later have meanings from here on.
const LATER: Meaning = 10;

/// A column of a table as it is now.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Column {
    pub(super) meaning: Meaning,
    pub(super) name: String,
    pub(super) type_name: &'static str,
}

/// A left and a right column that a map names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub(super) meaning: Meaning,
    pub(super) left: String,
    pub(super) right: String,
}

/// What a map declares of its columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Declared {
    /// `None`: those of the same name.
    pub(super) pairs: Option<Vec<Pair>>,
    /// The column of the right customers that an order's customer becomes, if it is looked up.
    pub(super) lookup: Option<String>,
}

/// The tables of a map.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    pub(super) name: &'static str,
    /// Left and right, without their key.
    pub(super) sides: [Vec<Column>; 2],
    pub(super) declared: Declared,
    /// Meanings of which the two sides may differ and no log says so: a column that came, went or was mapped later.
    pub(super) unlogged: BTreeSet<Meaning>,
    /// Records may differ of which no log says so: all went at once, or the map was stopped for a while.
    pub(super) records_unlogged: bool,
    next: Meaning,
}

pub(super) const LEFT: usize = 0;
pub(super) const RIGHT: usize = 1;

/// The meaning of the value of a column, which it carries; `None` if it has none.
pub(super) fn meaning_of(value: &Value) -> Option<Meaning> {
    let number = match value {
        Value::Int(number) => Some(*number),
        Value::Text(text) => text.trim_start_matches('t').parse().ok(),
        _ => None,
    };
    number.map(|number: i64| number % 100)
}

/// The value as a person reads it: a number that became a text is the same.
pub(super) fn read(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Text(text) => text.to_string(),
        other => unreachable!("all columns are numbers or texts, and not {other}"),
    }
}

impl Tables {
    pub(super) fn new(name: &'static str, by_name: bool, looks_up: bool) -> Self {
        let meanings: &[Meaning] = match name {
            "customers" => &[SERIAL, 2],
            "orders" => &[CUSTOMER, 4, 5],
            _ => &[6, 7],
        };
        let looks_up = looks_up && name == "orders";
        let by_name = by_name && !looks_up;
        let column = |prefix: &'static str| {
            move |meaning: &Meaning| Column {
                meaning: *meaning,
                name: format!("{prefix}{meaning}"),
                type_name: "int",
            }
        };
        let side = |prefix| meanings.iter().map(column(prefix)).collect();
        let sides = [side("c"), side(if by_name { "c" } else { "r" })];
        let declared = Declared { pairs: None, lookup: None };
        let next = LATER + 10 * MAPS.iter().position(|map| *map == name).map_or(0, |at| at as i64);
        let mut tables =
            Self { name, sides, declared, unlogged: BTreeSet::new(), records_unlogged: false, next };
        tables.declared.pairs = (!by_name).then(|| tables.common());
        tables
    }

    /// Makes both tables. `customer`: the columns of the customers of either side to which an order refers.
    pub(super) fn create(&self, apps: [&MemoryApp; 2], customer: Option<[&str; 2]>) {
        for (side, app) in apps.into_iter().enumerate() {
            let columns = &self.sides[side];
            let names: Vec<&str> =
                std::iter::once("id").chain(columns.iter().map(|column| &*column.name)).collect();
            let mut spec = TableSpec::new(table(self.name), &names, &["id"]).typed("id", "int");
            for column in columns {
                spec = spec.typed(&column.name, column.type_name);
            }
            spec = match (self.name, customer) {
                ("customers", _) => spec.unique(&[&columns[0].name]),
                ("orders", Some(customer)) => {
                    spec.references(&[&columns[0].name], &table("customers"), &[customer[side]])
                }
                ("items", _) => spec.large(&columns[1].name),
                _ => spec,
            };
            app.create_table(spec);
        }
    }

    pub(super) fn column(&self, side: usize, meaning: Meaning) -> Option<&Column> {
        self.sides[side].iter().find(|column| column.meaning == meaning)
    }

    /// Every column that both sides have, as a map would name it.
    pub(super) fn common(&self) -> Vec<Pair> {
        let pair = |left: &Column| {
            let right = self.column(RIGHT, left.meaning)?;
            Some(Pair { meaning: left.meaning, left: left.name.clone(), right: right.name.clone() })
        };
        self.sides[LEFT].iter().filter_map(pair).collect()
    }

    /// The columns that the map goes by, if the tables have them.
    pub(super) fn mapped(&self) -> Vec<Pair> {
        match &self.declared.pairs {
            Some(pairs) => pairs.clone(),
            None => self.common().into_iter().filter(|pair| pair.left == pair.right).collect(),
        }
    }

    /// Whether nothing stands between the map and its tables.
    pub(super) fn fit(&self) -> bool {
        let mapped = self.mapped();
        let is_there = |pair: &Pair| {
            let named = |side: usize, name: &str| {
                self.column(side, pair.meaning).filter(|column| column.name == name)
            };
            let columns = named(LEFT, &pair.left).zip(named(RIGHT, &pair.right));
            columns.is_some_and(|(left, right)| left.type_name == right.type_name)
        };
        mapped.iter().all(is_there) && (self.declared.pairs.is_some() || mapped == self.common())
    }

    /// Changes a table as an app's people do, and takes note of what that means.
    pub(super) fn alter(&mut self, side: usize, app: &MemoryApp, alter: Alter) -> Result<(), Fault> {
        app.alter_table(&table(self.name), alter.clone())?;
        let columns = &mut self.sides[side];
        let by_name = self.declared.pairs.is_none();
        let meaning = match alter {
            Alter::Add { column, type_name, .. } => {
                let meaning = meaning_in(&column);
                let type_name = if type_name == "text" { "text" } else { "int" };
                columns.push(Column { meaning, name: column, type_name });
                Some(meaning)
            }
            Alter::Drop(name) => {
                let place = columns.iter().position(|column| column.name == name).expect("it was there");
                Some(columns.remove(place).meaning)
            }
            Alter::Rename { from, to } => {
                let column = columns.iter_mut().find(|column| column.name == from).expect("it was there");
                column.name = to;
                by_name.then_some(column.meaning)
            }
            Alter::Retype { column, type_name } => {
                let column = columns.iter_mut().find(|known| known.name == column).expect("it was there");
                column.type_name = if type_name == "text" { "text" } else { "int" };
                None
            }
        };
        self.unlogged.extend(meaning);
        Ok(())
    }

    /// A meaning that no column had before.
    pub(super) fn new_meaning(&mut self) -> Meaning {
        self.next += 1;
        self.next
    }

    /// A map was declared differently: what is mapped from now on was not before.
    pub(super) fn declare(&mut self, declared: Declared) {
        let meanings = |pairs: &Option<Vec<Pair>>| -> BTreeSet<Meaning> {
            pairs.iter().flatten().map(|pair| pair.meaning).collect()
        };
        let (before, after) = (meanings(&self.declared.pairs), meanings(&declared.pairs));
        self.unlogged.extend(before.symmetric_difference(&after));
        self.declared = declared;
    }

    /// The map as it is declared, or would be.
    pub(super) fn map(&self, declared: &Declared) -> TableMap {
        let side = |app: &str| Side {
            app: app.into(),
            table: table(self.name),
            key: vec!["id".into()],
            filter: None,
        };
        let pair = |pair: &Pair| {
            let lookup = declared.lookup.as_ref().filter(|_| pair.meaning == CUSTOMER);
            let lookup =
                lookup.map(|column| Through { map: "customers".into(), column: column.as_str().into() });
            ColumnPair { lookup, ..ColumnPair::new(pair.left.as_str(), pair.right.as_str()) }
        };
        let columns = match &declared.pairs {
            None => Columns::SameNames,
            Some(pairs) => Columns::Pairs(pairs.iter().map(pair).collect()),
        };
        TableMap {
            name: self.name.into(),
            direction: Direction::ToRight,
            left: side("left"),
            right: side("right"),
            columns,
            depends_on: if self.name == "orders" { vec![MapName::from("customers")] } else { vec![] },
            deletes: Deletes::Queue,
            conflict: Default::default(),
            side_effects: Default::default(),
            on_leave: OnLeave::Keep,
            initial_sync: InitialSync::default(),
        }
    }

    /// The records of a side, by their key, each value by its meaning.
    pub(super) fn records(&self, side: usize, app: &MemoryApp) -> Records {
        let columns = &self.sides[side];
        let record = |row: Vec<Value>| {
            let mut cells = row.into_iter();
            let Some(Value::Int(id)) = cells.next() else { unreachable!("the key is a number") };
            (id, columns.iter().map(|column| column.meaning).zip(cells).collect())
        };
        app.rows(&table(self.name)).into_iter().map(record).collect()
    }
}

/// Records by their keys, their values by what they mean.
pub(super) type Records = BTreeMap<i64, BTreeMap<Meaning, Value>>;

/// What a column of this name means: names say it, too.
fn meaning_in(name: &str) -> Meaning {
    let digits = name.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    digits.split('_').next().and_then(|digits| digits.parse().ok()).expect("a column is named by its meaning")
}
