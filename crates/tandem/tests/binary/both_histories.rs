//! Random histories of a map that goes both ways, between real databases: pauses, an engine that is killed, records that are
//! refused and tried again. Whatever happened, both sides end equal, the right one has won, and each conflict was counted
//! once: as many as there are records that both sides changed while neither could see the other.

use crate::house::{House, PATIENCE, Server, items};
use crate::twins::asked;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tandem_proof_servers::{PostgresOptions, PostgresServer};

const POLICIES: [&str; 4] = ["left_wins", "right_wins", "latest_wins", "park"];
const ROUNDS: usize = 3;
/// Records that both sides change, and behind them those that the right side refuses for a while.
const CONTENDED: u64 = 12;
const REFUSED: i64 = 666;

/// What an app has: values by key.
type Table = BTreeMap<i64, i64>;

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn chance(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

/// Two apps, each in a database of its own kind.
struct Pair {
    house: House,
    server: Option<PostgresServer>,
    /// Which of `erp` and `crm` are on the PostgreSQL server.
    on_server: &'static [&'static str],
}

impl Pair {
    fn new(on_server: &'static [&'static str], policy: &str) -> Self {
        let house = House::new();
        let options = || PostgresOptions { fsync: false, ..PostgresOptions::default() };
        let server = (!on_server.is_empty()).then(|| PostgresServer::start_new(options()));
        house.write("password", PostgresServer::PASSWORD);
        let mut text = "[server]\nlisten = \"127.0.0.1:0\"\n".to_owned();
        for app in ["erp", "crm"] {
            let url = match &server {
                Some(server) if on_server.contains(&app) => {
                    server.sql_blocking("postgres", &format!("CREATE DATABASE {app}"));
                    let port = server.port();
                    format!("postgres://postgres:${{file:password}}@127.0.0.1:{port}/{app}?sslmode=disable")
                }
                _ => format!("sqlite:{app}.db"),
            };
            text += &format!("[apps.{app}]\nurl = \"{url}\"\n");
        }
        let side = |app: &str| format!("{{ app = \"{app}\", table = \"things\", key = [\"id\"] }}");
        text += &format!(
            "[[maps]]\nname = \"things\"\ndirection = \"both\"\nconflict = \"{policy}\"\ndeletes = \"queue\"\nleft = {}\nright = {}\n",
            side("erp"),
            side("crm")
        );
        house.write("tandem.toml", &text);
        let pair = Self { house, server, on_server };
        for app in ["erp", "crm"] {
            pair.run(app, "CREATE TABLE things (id bigint PRIMARY KEY, v bigint)");
            if pair.is_postgres(app) {
                pair.run(app, "ALTER TABLE things REPLICA IDENTITY FULL");
            }
        }
        pair
    }

    fn is_postgres(&self, app: &str) -> bool {
        self.on_server.contains(&app)
    }

    fn run(&self, app: &str, statements: &str) {
        match &self.server {
            Some(server) if self.is_postgres(app) => drop(server.sql_blocking(app, statements)),
            _ => self.house.app(app).execute_batch(statements).unwrap(),
        }
    }

    fn table(&self, app: &str) -> Table {
        let query = "SELECT id, v FROM things";
        match &self.server {
            Some(server) if self.is_postgres(app) => {
                let number = |cell: &Option<String>| cell.as_ref().unwrap().parse::<i64>().unwrap();
                let rows = server.sql_blocking(app, query);
                rows.iter().map(|row| (number(&row[0]), number(&row[1]))).collect()
            }
            _ => {
                let database = self.house.app(app);
                let mut query = database.prepare(query).unwrap();
                let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
                rows.map(Result::unwrap).collect()
            }
        }
    }

    /// Lets the right side refuse records of one value, or take them again.
    fn refuse(&self, refuse: bool) {
        let statements = match (self.is_postgres("crm"), refuse) {
            (true, true) => {
                format!("ALTER TABLE things ADD CONSTRAINT never CHECK (v <> {REFUSED}) NOT VALID")
            }
            (true, false) => "ALTER TABLE things DROP CONSTRAINT never".to_owned(),
            (false, true) => ["INSERT", "UPDATE"]
                .map(|op| {
                    format!(
                        "CREATE TRIGGER never_{op} BEFORE {op} ON things WHEN new.v = {REFUSED}
                         BEGIN SELECT RAISE(ABORT, 'never'); END;"
                    )
                })
                .concat(),
            (false, false) => "DROP TRIGGER never_INSERT; DROP TRIGGER never_UPDATE".to_owned(),
        };
        self.run("crm", &statements);
    }

    /// Changes a record, and says what it is then.
    fn change(&self, app: &str, id: i64, value: Option<i64>) {
        let statement = match value {
            None => format!("DELETE FROM things WHERE id = {id}"),
            Some(v) => {
                format!("INSERT INTO things VALUES ({id}, {v}) ON CONFLICT (id) DO UPDATE SET v = excluded.v")
            }
        };
        self.run(app, &statement);
    }
}

/// A pair, its engine, and what both sides have when they are in step.
struct History {
    /// Ends before its folder does.
    tandem: Option<Server>,
    pair: Pair,
    random: Random,
    now: Table,
    value: i64,
    conflicts: u64,
    policy: &'static str,
    name: String,
}

impl History {
    fn tandem(&self) -> &Server {
        self.tandem.as_ref().unwrap()
    }

    /// The engine is killed, or not.
    fn maybe_kill(&mut self) {
        if self.random.chance(2) {
            self.tandem.take().unwrap().kill();
            self.tandem = Some(self.pair.house.serve());
        }
    }

    fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(self) {
            if Instant::now() > deadline {
                let (left, right) = (self.pair.table("erp"), self.pair.table("crm"));
                let errors = self.tandem().ok(&["error", "list", "things"]);
                panic!("{}: {what}: {left:?} {right:?} {errors}", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Some records are changed on one side, each once. Returns what they are then.
    fn changes(&mut self, app: &str, ids: &BTreeSet<i64>) -> BTreeMap<i64, Option<i64>> {
        let mut made = BTreeMap::new();
        for id in ids {
            self.value += 1000;
            let deletes = self.now.contains_key(id) && self.random.chance(4);
            let value = (!deletes).then_some(self.value);
            self.pair.change(app, *id, value);
            made.insert(*id, value);
        }
        made
    }

    fn some(&mut self, from: i64) -> BTreeSet<i64> {
        (0..CONTENDED).filter(|_| self.random.chance(2)).map(|id| id as i64 + from).collect()
    }

    fn round(&mut self) {
        self.tandem().ok(&["map", "pause", "things", "--wait"]);
        self.maybe_kill();
        let (on_left, on_right) = (self.some(0), self.some(0));
        let left = self.changes("erp", &on_left);
        // The later one wins where that is the policy.
        std::thread::sleep(Duration::from_millis(30));
        let right = self.changes("crm", &on_right);
        let both: Vec<i64> = on_left.intersection(&on_right).copied().collect();
        self.conflicts += both.len() as u64;
        // The later one wins, for now.
        for (id, value) in left.iter().chain(&right) {
            self.now.remove(id);
            self.now.extend(value.map(|value| (*id, value)));
        }
        if self.policy == "left_wins" {
            for id in &both {
                self.now.remove(id);
                self.now.extend(left[id].map(|value| (*id, value)));
            }
        }
        let refused = self.random.chance(2).then(|| 100 + self.random.below(5) as i64);
        if let Some(id) = refused {
            self.pair.refuse(true);
            self.pair.change("erp", id, Some(REFUSED));
            self.now.insert(id, REFUSED);
        }
        self.maybe_kill();
        self.tandem().ok(&["map", "resume", "things"]);
        self.maybe_kill();
        self.until("it runs", |history| {
            history.tandem().ok(&["map", "show", "things"])["state"] == "running"
        });
        let expected =
            usize::from(refused.is_some()) + if self.policy == "park" { 2 * both.len() } else { 0 };
        let open = |history: &Self| items(&history.tandem().ok(&["error", "list", "things"])).len();
        self.until("what is refused or parked is listed", |history| open(history) == expected);
        if refused.is_some() {
            self.pair.refuse(false);
        }
        self.decide(&both, &right);
        if refused.is_some() {
            self.maybe_kill();
            self.tandem().ok(&["error", "retry", "things", "--all"]);
        }
        self.until("no error is open", |history| open(history) == 0);
        self.until("both sides are as they are to be", |history| {
            history.pair.table("erp") == history.now && history.pair.table("crm") == history.now
        });
        let counted = self.tandem().ok(&["map", "show", "things"])["conflicts"].clone();
        assert_eq!(counted, self.conflicts, "{}", self.name);
    }

    /// A person decides what was parked: the right side wins.
    fn decide(&mut self, both: &[i64], right: &BTreeMap<i64, Option<i64>>) {
        if self.policy != "park" {
            return;
        }
        let flows = self.tandem().ok(&["map", "show", "things"])["flows"].clone();
        let of_left =
            flows.as_array().unwrap().iter().find(|flow| flow["source"] == "erp").unwrap()["flow"].clone();
        let errors = self.tandem().ok(&["error", "list", "things"]);
        let parked: Vec<&Json> = items(&errors).iter().filter(|error| error["code"] == "conflict").collect();
        assert_eq!(parked.len(), 2 * both.len(), "{}: {errors}", self.name);
        let ids = |left: bool| -> Vec<&str> {
            let side = parked.iter().filter(|error| (error["flow"] == of_left) == left);
            side.map(|error| error["id"].as_str().unwrap()).collect()
        };
        for id in ids(true) {
            self.tandem().ok(&["error", "delete", "things", "--id", id, "--yes"]);
        }
        for id in ids(false) {
            self.tandem().ok(&["error", "retry", "things", "--id", id, "--wait"]);
        }
        for id in both {
            self.now.remove(id);
            self.now.extend(right[id].map(|value| (*id, value)));
        }
    }
}

fn histories(on_server: &'static [&'static str]) {
    for seed in 0..asked("TANDEM_HISTORIES", 1) {
        for policy in POLICIES {
            let pair = Pair::new(on_server, policy);
            let tandem = pair.house.serve();
            tandem.ok(&["map", "run", "things", "--no-initial-sync", "--wait"]);
            let mut history = History {
                pair,
                tandem: Some(tandem),
                random: Random(seed * 97 + policy.len() as u64),
                now: Table::new(),
                value: 0,
                conflicts: 0,
                policy,
                name: format!("{on_server:?} {policy} {seed}"),
            };
            for _ in 0..ROUNDS {
                history.round();
            }
        }
    }
}

#[test]
fn random_histories_between_two_files_converge_and_each_conflict_is_counted_once() {
    histories(&[]);
}

#[test]
fn random_histories_between_two_servers_converge_and_each_conflict_is_counted_once() {
    histories(&["erp", "crm"]);
}

#[test]
fn random_histories_between_a_server_and_a_file_converge_and_each_conflict_is_counted_once() {
    histories(&["erp"]);
}
