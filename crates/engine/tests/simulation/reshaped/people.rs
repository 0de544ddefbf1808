//! What people do: users of the left app write, somebody changes a table of either app, and an operator of Tandem mends
//! what follows from it, well or badly.

use super::tables::{CUSTOMER, Column, Declared, LEFT, Meaning, RIGHT, SERIAL, Tables};
use super::{Answer, Reshaped};
use crate::world::{MAPS, table};
use std::collections::BTreeSet;
use tandem_connectors::memory::Alter;
use tandem_core::lifecycle::{Action, Initializing, Phase, QueueFate, ResumeMode};
use tandem_core::two_way::SideName;
use tandem_core::{MapName, Value};
use tandem_engine::{
    ConditionKind, Declared as Config, ErrorPick, ErrorQuery, ErrorRequest, ErrorVerb, MapView, Reload,
    Request, VerifyRequest,
};

/// Records that users write.
const KEYS: u64 = 4;

impl Reshaped {
    /// A value of a column that no other has.
    fn value(&mut self, column: &Column) -> Value {
        self.next_value += 1;
        let number = self.next_value * 100 + column.meaning;
        match column.type_name {
            // Some texts are no numbers.
            "text" if self.random.chance(300) => Value::from(format!("t{number}").as_str()),
            "text" => Value::from(number.to_string().as_str()),
            _ => Value::Int(number),
        }
    }

    /// A new row of a left table.
    pub(super) fn row(&mut self, place: usize, id: i64, customer: i64) -> Vec<Value> {
        let columns = self.tables[place].sides[LEFT].clone();
        let mut row = vec![Value::Int(id)];
        for column in &columns {
            let value = match column.meaning {
                // Where a foreign key holds on to it, a customer of the same key has to be the same one: what is written
                // beside the order of things (a copy, a refresh, an order whose customers are being retried) would refer
                // to the one before, which then cannot go.
                SERIAL if !self.weather.dangles => Value::Int((1_000_000 + id) * 100 + SERIAL),
                _ => self.value(column),
            };
            if let (SERIAL, Value::Int(serial)) = (column.meaning, &value) {
                self.truth.is_called(*serial, id);
            }
            row.push(if column.meaning == CUSTOMER { Value::Int(customer) } else { value });
        }
        row
    }

    fn ids(&self, place: usize) -> BTreeSet<i64> {
        self.tables[place].records(LEFT, &self.apps[LEFT]).into_keys().collect()
    }

    /// A customer to whom an order may refer.
    fn some_customer(&mut self) -> Option<i64> {
        if self.weather.dangles {
            return Some(self.random.below(KEYS) as i64);
        }
        let customers: Vec<i64> = self.ids(0).into_iter().collect();
        let place = self.random.below(customers.len() as u64) as usize;
        customers.get(place).copied()
    }

    /// A user of the left app does a transaction.
    pub(super) fn user(&mut self) {
        let mut transaction = self.apps[LEFT].begin();
        let mut touched = BTreeSet::new();
        for _ in 0..1 + self.random.below(3) {
            let place = self.random.below(3) as usize;
            let id = self.random.below(KEYS) as i64;
            // What a transaction has done is not seen before it commits.
            if !touched.insert((place, id)) {
                continue;
            }
            let name = table(self.tables[place].name);
            let is_there = self.ids(place).contains(&id);
            if !is_there {
                let customer = match self.some_customer() {
                    Some(customer) => customer,
                    None if place == 1 => continue,
                    None => 0,
                };
                if place == 1 && touched.iter().any(|(place, _)| *place == 0) {
                    continue;
                }
                transaction.insert(&name, self.row(place, id, customer));
                if place == 1 {
                    self.truth.refers(id, Value::Int(customer));
                }
                continue;
            }
            if self.random.chance(250) {
                if place == 0 && !self.weather.dangles {
                    if touched.iter().any(|(place, _)| *place == 1) {
                        continue;
                    }
                    let orders = self.tables[1].records(LEFT, &self.apps[LEFT]);
                    for (order, record) in orders {
                        if record.get(&CUSTOMER) == Some(&Value::Int(id)) {
                            touched.insert((1, order));
                            transaction.delete(&table("orders"), vec![Value::Int(order)]);
                        }
                    }
                }
                transaction.delete(&name, vec![Value::Int(id)]);
                continue;
            }
            let columns = self.tables[place].sides[LEFT].clone();
            let Some(column) = columns.get(self.random.below(columns.len() as u64) as usize) else {
                continue;
            };
            let value = match column.meaning {
                SERIAL => continue,
                CUSTOMER if touched.iter().any(|(place, _)| *place == 0) => continue,
                CUSTOMER => match self.some_customer() {
                    Some(customer) => Value::Int(customer),
                    None => continue,
                },
                _ => self.value(column),
            };
            if column.meaning == CUSTOMER {
                self.truth.refers(id, value.clone());
            }
            transaction.update(&name, vec![Value::Int(id)], vec![(&column.name, value)]);
        }
        self.say(|| format!("user {transaction:?}"));
        let seed = self.seed;
        transaction
            .commit()
            .unwrap_or_else(|fault| panic!("seed {seed}: users do what their app allows: {fault}"));
    }

    /// Where no foreign key says so, orders may refer to nobody. In the end all refer to somebody.
    pub(super) fn make_customers(&mut self) {
        let missing: Vec<i64> = (0..KEYS as i64).filter(|id| !self.ids(0).contains(id)).collect();
        for id in missing {
            let row = self.row(0, id, 0);
            let made = self.apps[LEFT].transaction(|t| t.insert(&table("customers"), row));
            made.unwrap_or_else(|fault| panic!("seed {}: {fault}", self.seed));
        }
    }

    /// An order goes on to refer to what its customer was called when it was written: it says so anew.
    pub(super) fn refer_anew(&mut self) {
        let orders = self.tables[1].records(LEFT, &self.apps[LEFT]);
        let column = self.tables[1].column(LEFT, CUSTOMER).expect("nobody drops it").name.clone();
        for (id, record) in orders {
            let customer = record.get(&CUSTOMER).cloned().unwrap_or(Value::Null);
            let said = self.apps[LEFT]
                .transaction(|t| t.update(&table("orders"), vec![Value::Int(id)], vec![(&column, customer)]));
            said.unwrap_or_else(|fault| panic!("seed {}: {fault}", self.seed));
        }
    }

    /// Somebody changes a table of one of the apps.
    pub(super) fn change_a_table(&mut self) {
        let (place, side) = (self.random.below(3) as usize, self.random.below(2) as usize);
        if self.weather.truncates && place > 0 && self.random.chance(400) {
            let name = self.tables[place].name;
            self.say(|| format!("TRUNCATE left {name}"));
            self.tables[place].records_unlogged = true;
            self.apps[LEFT].transaction(|t| t.truncate(&table(name))).expect("nothing refers to it");
            return;
        }
        let columns = self.tables[place].sides[side].clone();
        let Some(column) = columns.get(self.random.below(columns.len() as u64) as usize).cloned() else {
            let alter = self.new_column(place, side);
            self.alter(place, side, alter);
            return;
        };
        let is_ordinary = !matches!(column.meaning, SERIAL | CUSTOMER);
        let alter = match self.random.below(5) {
            0 | 1 => {
                self.next_value += 1;
                Alter::Rename { to: format!("n{}_{}", column.meaning, self.next_value), from: column.name }
            }
            2 if is_ordinary => Alter::Drop(column.name),
            3 if is_ordinary => {
                let type_name = if column.type_name == "int" { "text" } else { "int" };
                Alter::Retype { column: column.name, type_name: type_name.into() }
            }
            _ => self.new_column(place, side),
        };
        self.alter(place, side, alter);
    }

    /// A column of a new meaning, or of one that only the other side has.
    fn new_column(&mut self, place: usize, side: usize) -> Alter {
        let tables = &self.tables[place];
        let lacks = |column: &&Column| tables.column(side, column.meaning).is_none();
        let wanted = tables.sides[1 - side].iter().find(lacks).cloned();
        let (meaning, type_name) = match wanted {
            Some(column) => (column.meaning, column.type_name),
            None => (self.tables[place].new_meaning(), "int"),
        };
        let column = Column { meaning, name: format!("a{meaning}_{}", self.next_value), type_name };
        let value = if self.random.chance(500) { Value::Null } else { self.value(&column) };
        Alter::Add { column: column.name, type_name: type_name.into(), value }
    }

    pub(super) fn alter(&mut self, place: usize, side: usize, alter: Alter) -> bool {
        let altered = self.tables[place].alter(side, &self.apps[side], alter.clone());
        let (now, name) = (self.env_wall(), self.tables[place].name);
        self.say(|| format!("ALTER {} {name}: {alter:?}: {altered:?}", ["left", "right"][side]));
        if altered.is_ok() && side == LEFT {
            self.truth.altered(name, now);
        }
        altered.is_ok()
    }

    /// An operator asks for something.
    pub(super) fn operator(&mut self) {
        let place = self.random.below(3) as usize;
        let name: MapName = MAPS[place].into();
        let phase = self.phase(name.as_str());
        match self.random.below(20) {
            0..=4 => self.ask("pause", Action::Pause, vec![name]),
            5..=8 => self.ask("resume", Action::Resume(ResumeMode::CatchUp), vec![name]),
            9..=13 if phase == Some(Phase::Paused) => self.mend(place),
            14..=15 => {
                let refresh = self.random.chance(500);
                self.ask_of_errors(&name, ErrorVerb::Retry, ErrorPick::default(), refresh);
            }
            16 if self.weather.copies => self.stop(place),
            17..=19 if phase == Some(Phase::NotRunning) => self.run(place),
            _ => {}
        }
    }

    /// Somebody stops a map. What its tables are then, nobody tells.
    fn stop(&mut self, place: usize) {
        let others = MAPS.iter().filter(|name| **name != MAPS[place]);
        if others.into_iter().any(|name| self.phase(name) == Some(Phase::NotRunning)) {
            return;
        }
        self.tables[place].records_unlogged = true;
        self.ask("stop", Action::Stop(Some(QueueFate::Discard)), vec![MAPS[place].into()]);
    }

    fn run(&mut self, place: usize) {
        self.tables[place].records_unlogged = true;
        self.ask("run", Action::Run { initial_sync: true }, vec![MAPS[place].into()]);
    }

    /// Somebody brings a map and its tables together again, in one way or the other.
    pub(super) fn mend(&mut self, place: usize) {
        let tables = &self.tables[place];
        let lookup = self.lookup_now(place);
        let may_edit = self.editing.is_none() && tables.declared.pairs.is_some();
        if may_edit && (lookup != tables.declared.lookup || self.random.chance(600)) {
            let declared = Declared { pairs: Some(tables.common()), lookup };
            if declared != tables.declared {
                self.edit(place, declared);
            }
        } else {
            self.take_back(place);
        }
        self.align_types(place);
    }

    /// What the column is called now by which the right app refers to a customer.
    fn lookup_now(&self, place: usize) -> Option<String> {
        self.tables[place].declared.lookup.as_ref()?;
        Some(self.tables[0].column(RIGHT, SERIAL).expect("nobody drops it").name.clone())
    }

    /// Takes back what happened to the columns of a map; or, where it goes by their names, does the same in the right app.
    fn take_back(&mut self, place: usize) {
        let Some(pairs) = self.tables[place].declared.pairs.clone() else {
            for pair in self.tables[place].common() {
                if pair.left != pair.right {
                    self.alter(place, RIGHT, Alter::Rename { from: pair.right, to: pair.left });
                }
            }
            return;
        };
        for pair in pairs {
            for (side, name) in [(LEFT, pair.left), (RIGHT, pair.right)] {
                match self.tables[place].column(side, pair.meaning).map(|column| column.name.clone()) {
                    Some(is) if is == name => {}
                    Some(is) => _ = self.alter(place, side, Alter::Rename { from: is, to: name }),
                    None => self.add_again(place, side, pair.meaning, name),
                }
            }
        }
    }

    fn add_again(&mut self, place: usize, side: usize, meaning: Meaning, column: String) {
        let type_name = self.tables[place].column(1 - side, meaning).map_or("int", |column| column.type_name);
        let value = Value::Null;
        self.alter(place, side, Alter::Add { column, type_name: type_name.into(), value });
    }

    /// Gives the right columns the types of the left ones, or the other way where their values do not let that.
    fn align_types(&mut self, place: usize) {
        for pair in self.tables[place].common() {
            let type_of = |tables: &Tables, side| tables.column(side, pair.meaning).map(|it| it.type_name);
            let (Some(left), Some(right)) =
                (type_of(&self.tables[place], LEFT), type_of(&self.tables[place], RIGHT))
            else {
                continue;
            };
            let retype = |column, type_name: &str| Alter::Retype { column, type_name: type_name.into() };
            if left != right && !self.alter(place, RIGHT, retype(pair.right, left)) {
                self.alter(place, LEFT, retype(pair.left, right));
            }
        }
    }

    /// Somebody edits a map.
    pub(super) fn edit(&mut self, place: usize, declared: Declared) {
        let Some(engine) = self.engine.clone() else { return };
        self.say(|| format!("EDIT {}: {declared:?}", self.tables[place].name));
        self.editing = Some((place, declared.clone()));
        let setup = self.setup(self.editing.as_ref());
        let config = Config {
            maps: setup.maps,
            limits: setup.limits,
            hold_source: setup.hold_source,
            rules: setup.rules,
        };
        let reload = Reload {
            declared: config,
            beside: Vec::new(),
            dry_run: false,
            actor: "somebody".into(),
            reason: String::new(),
        };
        let answers = self.answers.clone();
        self.executor.spawn(Box::pin(async move {
            let answer = engine.reload(reload).await.map(drop);
            answers.lock().expect("one thread").push(Answer::Edited(place, declared, answer));
        }));
    }

    pub(crate) fn ask(&mut self, verb: &'static str, action: Action, maps: Vec<MapName>) {
        let Some(engine) = self.engine.clone() else { return };
        let answers = self.answers.clone();
        self.executor.spawn(Box::pin(async move {
            let map = maps[0].clone();
            let answer = engine.act(Request::new(action, maps, "sim")).await.map(drop);
            answers.lock().expect("one thread").push(Answer::Acted(verb, map, answer));
        }));
    }

    fn ask_of_errors(&mut self, map: &MapName, verb: ErrorVerb, pick: ErrorPick, refresh: bool) {
        let Some(engine) = self.engine.clone() else { return };
        let request = ErrorRequest {
            verb,
            map: map.clone(),
            pick: Some(pick),
            kept: Vec::new(),
            refresh,
            rate: None,
            actor: "sim".into(),
            reason: String::new(),
            expected: None,
        };
        let (answers, map) = (self.answers.clone(), map.clone());
        self.executor.spawn(Box::pin(async move {
            let answer = engine.act_on_errors(request).await.map(drop);
            answers.lock().expect("one thread").push(Answer::Acted("errors", map, answer));
        }));
    }

    /// A repair of the right table, until it is over.
    pub(super) fn repair(&mut self, place: usize) {
        self.begin_repair(place);
        self.until("it was compared", |world| {
            let seen = world.engine.as_ref().and_then(|engine| engine.verification(&MAPS[place].into()).ok());
            seen.is_some_and(|seen| seen.stage.is_over())
        });
    }

    fn begin_repair(&mut self, place: usize) {
        let Some(engine) = self.engine.clone() else { return };
        let request = VerifyRequest {
            map: MAPS[place].into(),
            seen: None,
            repair: Some(SideName::Left),
            limit: 100,
            actor: "sim".into(),
            reason: String::new(),
        };
        let (answers, map) = (self.answers.clone(), MapName::from(MAPS[place]));
        self.executor.spawn(Box::pin(async move {
            let answer = engine.verify(request).await.map(drop);
            answers.lock().expect("one thread").push(Answer::Acted("verify", map, answer));
        }));
    }

    /// A person looks at every map, and does what it takes.
    pub(super) fn attend(&mut self, times: u32) {
        let snapshot = self.snapshot();
        // What one side lacks may be what a record of another map waits for.
        if times % 4 == 3 && snapshot.maps.iter().any(|view| view.errors.trouble() > 0) {
            let differs = |tables: &Tables| tables.records_unlogged || !tables.unlogged.is_empty();
            let differing: Vec<usize> = (0..3).filter(|place| differs(&self.tables[*place])).collect();
            differing.into_iter().for_each(|place| self.begin_repair(place));
        }
        for view in &snapshot.maps {
            let name = view.map.name.clone();
            let place = MAPS.iter().position(|map| *map == name.as_str()).expect("there are three");
            if view.errors.trouble() > 0 && view.retries.is_empty() {
                self.attend_errors(&name, times);
            }
            match view.state.phase {
                Phase::NotRunning if self.fits(place) => self.run(place),
                Phase::Paused if !self.fits(place) => self.mend(place),
                Phase::Paused => {
                    self.ask("resume", Action::Resume(ResumeMode::CatchUp), vec![name]);
                }
                Phase::NotRunning => self.mend(place),
                Phase::Initializing(Initializing::Failed) if self.fits(place) => self.run(place),
                // It cannot be edited: what happened is taken back, or it is stopped.
                Phase::Initializing(stage) if says_why(view) || stage == Initializing::Failed => {
                    self.take_back(place);
                    self.align_types(place);
                    // One at a time: a stream without any map ends, and its numbers begin anew.
                    if times % 12 == 3 + 4 * place as u32 {
                        self.stop(place);
                    }
                }
                // It goes on as it is, and not all of it can: people see why, and take their time.
                Phase::Running if !self.fits(place) && times % 4 == 2 => {
                    self.ask("pause", Action::Pause, vec![name]);
                }
                Phase::Initializing(_) | Phase::Running | Phase::Resuming => {}
            }
        }
    }

    fn fits(&self, place: usize) -> bool {
        self.tables[place].fit() && self.lookup_now(place) == self.tables[place].declared.lookup
    }

    /// What cannot be tried again as it was recorded is written as it is now; what went as a whole is left to a repair.
    fn attend_errors(&mut self, map: &MapName, times: u32) {
        let query = ErrorQuery { map: Some(map.clone()), limit: 1_000, ..ErrorQuery::default() };
        let errors = tandem_engine::store::Store::errors(&self.store, &query).expect("a store in memory");
        let truncated = errors.items.iter().filter(|error| error.fault.code.as_deref() == Some("truncated"));
        let ids: Vec<u64> = truncated.map(|error| error.id).collect();
        if !ids.is_empty() {
            let pick = ErrorPick { ids, ..ErrorPick::default() };
            return self.ask_of_errors(map, ErrorVerb::Delete, pick, false);
        }
        self.ask_of_errors(map, ErrorVerb::Retry, ErrorPick::default(), !times.is_multiple_of(3));
    }
}

/// Whether a condition says why a map is held.
pub(super) fn says_why(view: &MapView) -> bool {
    view.conditions.iter().any(|condition| match condition.kind {
        ConditionKind::SchemaMatches => !condition.status,
        ConditionKind::SourceTruncated => condition.status,
        _ => false,
    })
}
