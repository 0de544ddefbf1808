//! Two databases with the same tables, a map for each of them, and people who write into the source at once.

use crate::house::{House, PATIENCE, Server, items};
use serde_json::Value as Json;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tandem_proof_servers::{PostgresOptions, PostgresServer};

/// One server with the databases `erp` and `crm`, tables of both, and a config. Every table has the key `id`.
pub(crate) struct Twins {
    pub(crate) house: House,
    pub(crate) server: PostgresServer,
    tables: Vec<&'static str>,
}

impl Twins {
    /// Makes the tables on both sides, and a map of each; what stands beside a table goes into its map.
    pub(crate) fn new(schema: &str, maps: &[(&'static str, &str)]) -> Self {
        let options = PostgresOptions { fsync: false, ..PostgresOptions::default() };
        let server = PostgresServer::start_new(options);
        let (house, tables) = (House::new(), maps.iter().map(|(table, _)| *table).collect());
        let url =
            |app: &str| format!("postgres://postgres:${{file:password}}@127.0.0.1:{}/{app}", server.port());
        for app in ["erp", "crm"] {
            server.sql_blocking("postgres", &format!("CREATE DATABASE {app}"));
            server.sql_blocking(app, schema);
        }
        house.write("password", PostgresServer::PASSWORD);
        house.write("tandem.toml", &config(|app| url(app) + "?sslmode=disable", "public.", maps));
        Self { house, server, tables }
    }

    /// Starts the engine, with every map running.
    pub(crate) fn run(&self) -> Server {
        let tandem = self.house.serve();
        let run = ["map", "run", "--no-initial-sync", "--wait"];
        tandem.ok(&[&run[..], &self.tables[..]].concat());
        tandem
    }

    /// Runs statements in the source.
    pub(crate) fn erp(&self, statements: &str) {
        self.server.sql_blocking("erp", statements);
    }

    /// A query's only number.
    pub(crate) fn number(&self, app: &str, query: &str) -> u64 {
        self.server.sql_blocking(app, query)[0][0].as_ref().unwrap().parse().unwrap()
    }

    /// Waits until every table has the same rows on both sides, for so long.
    #[track_caller]
    pub(crate) fn until_equal(&self, tandem: &Server, patience: Duration) {
        self.until_equal_of(tandem, &self.tables, patience);
    }

    /// As [`Self::until_equal`], of some tables.
    #[track_caller]
    pub(crate) fn until_equal_of(&self, tandem: &Server, tables: &[&str], patience: Duration) {
        let deadline = Instant::now() + patience;
        for table in tables {
            let query =
                format!("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY id)) FROM {table} AS t");
            loop {
                let [left, right] = ["erp", "crm"].map(|app| self.server.sql_blocking(app, &query));
                if left == right {
                    break;
                }
                if Instant::now() >= deadline {
                    let errors = tandem.ok(&["error", "list", table, "--status", "all", "--limit", "5"]);
                    panic!("{table} differs: {left:?} {right:?}; {errors}");
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// No record of any map was ever set aside.
    #[track_caller]
    pub(crate) fn no_error(&self, tandem: &Server) {
        for table in &self.tables {
            no_error(tandem, table);
        }
    }
}

/// No record of a map was ever set aside. One that has waited for another map, and was applied when that had come as far, is
/// no error.
#[track_caller]
pub(crate) fn no_error(tandem: &Server, map: &str) {
    let errors = tandem.ok(&["error", "list", map, "--status", "all", "--limit", "500"]);
    let has_waited = |error: &Json| {
        error["code"] == "waits_for_map"
            && ["completed", "superseded"].iter().any(|ended| error["status"] == *ended)
    };
    let of_others: Vec<&Json> = items(&errors).iter().filter(|error| !has_waited(error)).collect();
    assert!(of_others.is_empty(), "{map}: {of_others:?}");
}

/// A config with the apps `erp` and `crm` and a map of each table between them.
pub(crate) fn config(url: impl Fn(&str) -> String, schema: &str, maps: &[(&'static str, &str)]) -> String {
    let mut text = "[server]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    for app in ["erp", "crm"] {
        let _ = write!(text, "[apps.{app}]\nurl = \"{}\"\n", url(app));
    }
    for (table, more) in maps {
        let side = |app: &str| format!("{{ app = \"{app}\", table = \"{schema}{table}\", key = [\"id\"] }}");
        let (left, right) = (side("erp"), side("crm"));
        let _ = write!(
            text,
            "[[maps]]\nname = \"{table}\"\ndeletes = \"queue\"\n{more}\nleft = {left}\nright = {right}\n"
        );
    }
    text
}

/// Records one after the other, and how long each took until it was to be seen at the destination.
pub(crate) struct Watch<'a> {
    twins: &'a Twins,
    tables: Vec<&'static str>,
    every: Duration,
}

/// A record: its table's place, when its commit was answered, and when it was seen.
pub(crate) struct Arrival {
    pub(crate) table: usize,
    pub(crate) committed: Instant,
    pub(crate) seen: Instant,
}

impl Arrival {
    pub(crate) fn took(&self) -> Duration {
        self.seen - self.committed
    }
}

/// When a watch ends: once this is told, or once who would tell it has failed.
#[derive(Default)]
pub(crate) struct End(AtomicBool);

/// Tells it when dropped.
pub(crate) struct Ending<'a>(&'a End);

impl End {
    pub(crate) fn when_dropped(&self) -> Ending<'_> {
        Ending(self)
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

impl<'a> Watch<'a> {
    /// To write a record into each of some tables in turn, so often. Nobody else may insert into them.
    pub(crate) fn new(twins: &'a Twins, tables: &[&'static str], every: Duration) -> Self {
        Self { twins, tables: tables.to_vec(), every }
    }

    /// Writes until it is told to end, and looks until all was seen.
    pub(crate) fn until(&self, end: &End) -> Vec<Arrival> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (erp, crm) = (self.twins.server.connect("erp").await, self.twins.server.connect("crm").await);
            let newest: Vec<String> =
                self.tables.iter().map(|table| format!("coalesce(max({table}.id), 0)")).collect();
            let of: Vec<String> = self
                .tables
                .iter()
                .map(|table| format!("(SELECT max(id) AS id FROM {table}) AS {table}"))
                .collect();
            let look = format!("SELECT ARRAY[{}]::bigint[] FROM {}", newest.join(", "), of.join(", "));
            let (mut no, mut next) = (vec![0_i64; self.tables.len()], Instant::now());
            let (mut turn, mut away, mut seen) = (0, Vec::new(), Vec::new());
            let mut deadline = None;
            loop {
                if end.0.load(Ordering::Relaxed) {
                    let deadline = *deadline.get_or_insert(Instant::now() + PATIENCE);
                    if away.is_empty() {
                        return seen;
                    }
                    assert!(Instant::now() < deadline, "{} records never came", away.len());
                } else if next <= Instant::now() {
                    let table = turn % self.tables.len();
                    (turn, next) = (turn + 1, next + self.every);
                    no[table] += 1;
                    let insert = format!("INSERT INTO {} (id) VALUES ({})", self.tables[table], no[table]);
                    erp.batch_execute(&insert).await.unwrap();
                    away.push((table, no[table], Instant::now()));
                }
                let newest: Vec<i64> = crm.query_one(&look, &[]).await.unwrap().get(0);
                let now = Instant::now();
                away.retain(|(table, no, committed)| {
                    let here = *no <= newest[*table];
                    if here {
                        seen.push(Arrival { table: *table, committed: *committed, seen: now });
                    }
                    !here
                });
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    }
}

/// What 99 of 100 stay below.
pub(crate) fn p99(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}

/// A number of the environment: how much, where a longer run is wanted than fits into every test run.
pub(crate) fn asked(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}
