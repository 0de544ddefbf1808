//! What becomes of a map when one of its tables is changed: by each kind of change, to each kind of column, on either
//! side, while the map is running, paused and stopped.
//!
//! Each case has a table and a map of its own, and all of them go through the same: records before the change, the
//! change, records behind it; then the map goes on, or is held and says why, until the change is undone. At the end
//! both sides have the same records, and a map beside them that nobody touches has never been held up for long.

use crate::house::{House, PATIENCE, Server, items};
use crate::postgres::{run, trouble, until, world};
use serde_json::Value as Json;
use std::fmt::Write;
use std::time::{Duration, Instant};
use tandem_proof_servers::{PostgresOptions, PostgresServer};

/// What becomes of a map that runs.
enum Then {
    /// Nothing.
    GoesOn,
    /// It is held, and says this.
    Held(&'static str),
}
use Then::{GoesOn, Held};

/// A change of a table, for whose name `@` stands.
struct Case {
    side: &'static str,
    change: &'static str,
    then: Then,
    undo: &'static str,
}

const fn goes_on(side: &'static str, change: &'static str) -> Case {
    Case { side, change, then: GoesOn, undo: "" }
}

const fn held(side: &'static str, change: &'static str, says: &'static str, undo: &'static str) -> Case {
    Case { side, change, then: Held(says), undo }
}

/// The columns are `id` (the key), `name`, `qty` (both mapped) and `note` (not mapped).
const CHANGES: &[Case] = &[
    goes_on("erp", "ALTER TABLE @ ADD COLUMN more text DEFAULT 'x'"),
    goes_on("erp", "ALTER TABLE @ DROP COLUMN note"),
    goes_on("erp", "ALTER TABLE @ RENAME COLUMN note TO remark"),
    goes_on("erp", "ALTER TABLE @ ALTER COLUMN note TYPE integer USING 1"),
    goes_on("erp", "ALTER TABLE @ ALTER COLUMN name TYPE character varying(500)"),
    goes_on("erp", "ALTER TABLE @ ALTER COLUMN qty TYPE bigint"),
    goes_on("erp", "ALTER TABLE @ ALTER COLUMN id TYPE numeric"),
    held(
        "erp",
        "ALTER TABLE @ DROP COLUMN name",
        "the column name is gone",
        "ALTER TABLE @ ADD COLUMN name text",
    ),
    held(
        "erp",
        "ALTER TABLE @ RENAME COLUMN name TO title",
        "the column name is gone; it may be called title now",
        "ALTER TABLE @ RENAME COLUMN title TO name",
    ),
    held(
        "erp",
        "ALTER TABLE @ ALTER COLUMN qty TYPE date USING '2020-01-01'",
        "the column qty was integer and is date",
        "ALTER TABLE @ ALTER COLUMN qty TYPE integer USING 1",
    ),
    held(
        "erp",
        "ALTER TABLE @ RENAME COLUMN id TO no",
        "the column id is gone; it may be called no now",
        "ALTER TABLE @ RENAME COLUMN no TO id",
    ),
    held(
        "erp",
        "ALTER TABLE @ DROP COLUMN id",
        "the column id is gone",
        "ALTER TABLE @ ADD COLUMN id bigserial PRIMARY KEY",
    ),
    held(
        "erp",
        "ALTER TABLE @ REPLICA IDENTITY NOTHING",
        "old rows no longer name the column id",
        "ALTER TABLE @ REPLICA IDENTITY DEFAULT",
    ),
    goes_on("crm", "ALTER TABLE @ ADD COLUMN more text"),
    goes_on("crm", "ALTER TABLE @ ADD COLUMN more text NOT NULL DEFAULT 'x'"),
    goes_on("crm", "ALTER TABLE @ DROP COLUMN note"),
    goes_on("crm", "ALTER TABLE @ RENAME COLUMN note TO remark"),
    goes_on("crm", "ALTER TABLE @ ALTER COLUMN note TYPE integer USING 1"),
    goes_on("crm", "ALTER TABLE @ ALTER COLUMN qty TYPE bigint"),
    held(
        "crm",
        "ALTER TABLE @ ADD COLUMN must text NOT NULL DEFAULT 'x'; ALTER TABLE @ ALTER COLUMN must DROP DEFAULT",
        "column must must not be null",
        "ALTER TABLE @ DROP COLUMN must",
    ),
    held(
        "crm",
        "ALTER TABLE @ DROP COLUMN name",
        "there is no column name",
        "ALTER TABLE @ ADD COLUMN name text",
    ),
    held(
        "crm",
        "ALTER TABLE @ RENAME COLUMN name TO title",
        "there is no column name",
        "ALTER TABLE @ RENAME COLUMN title TO name",
    ),
    held(
        "crm",
        "ALTER TABLE @ ALTER COLUMN qty TYPE date USING '2020-01-01'",
        "qty was integer and is date",
        "ALTER TABLE @ ALTER COLUMN qty TYPE integer USING 1",
    ),
    held(
        "crm",
        "ALTER TABLE @ RENAME COLUMN id TO no",
        "there is no column id",
        "ALTER TABLE @ RENAME COLUMN no TO id",
    ),
    held(
        "crm",
        "ALTER TABLE @ DROP COLUMN id",
        "there is no column id",
        "TRUNCATE @; ALTER TABLE @ ADD COLUMN id bigint PRIMARY KEY",
    ),
    held(
        "crm",
        "ALTER TABLE @ DROP CONSTRAINT @_pkey",
        "no unique key on (id)",
        "ALTER TABLE @ ADD PRIMARY KEY (id)",
    ),
    held("crm", "ALTER TABLE @ RENAME TO @_old", "no table", "ALTER TABLE @_old RENAME TO @"),
];

const COLUMNS: &str = "(id bigint PRIMARY KEY, name text, qty integer, note text)";

/// A case in one of the states.
struct Run {
    table: String,
    case: &'static Case,
}

/// Two databases with a table and a map for each case.
struct World {
    house: House,
    server: PostgresServer,
    runs: Vec<Run>,
}

impl World {
    fn new(prefix: &str) -> Self {
        let named = |(n, case)| Run { table: format!("{prefix}{n}"), case };
        let runs: Vec<Run> = CHANGES.iter().enumerate().map(named).collect();
        let server =
            PostgresServer::start_new(PostgresOptions { fsync: false, ..PostgresOptions::default() });
        let house = House::new();
        let mut tables = format!("CREATE TABLE busy {COLUMNS};");
        runs.iter().for_each(|run| write!(tables, "CREATE TABLE {} {COLUMNS};", run.table).unwrap());
        let mut config = "[server]\nlisten = \"127.0.0.1:0\"\n".to_owned();
        for app in ["erp", "crm"] {
            server.sql_blocking("postgres", &format!("CREATE DATABASE {app}"));
            server.sql_blocking(app, &tables);
            let url = format!("postgres://postgres:${{file:password}}@127.0.0.1:{}/{app}", server.port());
            writeln!(config, "[apps.{app}]\nurl = \"{url}?sslmode=disable\"").unwrap();
        }
        for table in runs.iter().map(|run| &*run.table).chain(["busy"]) {
            config += &declared(table, "");
        }
        house.write("password", PostgresServer::PASSWORD);
        house.write("tandem.toml", &config);
        Self { house, server, runs }
    }

    fn run(&self) -> Server {
        let tandem = self.house.serve();
        let tables: Vec<&str> = self.runs.iter().map(|run| &*run.table).chain(["busy"]).collect();
        tandem.ok(&[&["map", "run", "--no-initial-sync", "--wait"][..], &tables[..]].concat());
        self.write(1..4);
        for run in &self.runs {
            until(&self.server, "crm", &format!("SELECT count(*) FROM {}", run.table), &["3"]);
        }
        tandem
    }

    fn change(&self, run: &Run) {
        self.server.sql_blocking(run.case.side, &run.case.change.replace('@', &run.table));
    }

    fn undo(&self, run: &Run) {
        self.server.sql_blocking(run.case.side, &run.case.undo.replace('@', &run.table));
    }

    /// Inserts records into every table.
    fn write(&self, ids: std::ops::Range<i64>) {
        for table in self.runs.iter().map(|run| &*run.table).chain(["busy"]) {
            self.write_to(table, ids.clone());
        }
    }

    /// Inserts records into a table, whatever its columns are called.
    fn write_to(&self, table: &str, ids: std::ops::Range<i64>) {
        let columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = '";
        let columns =
            self.server.sql_blocking("erp", &format!("{columns}{table}' ORDER BY ordinal_position"));
        let is_date = columns.iter().any(|row| row[1].as_deref() == Some("date"));
        let mut statements = String::new();
        for id in ids {
            let value = |column: &str| match column {
                "id" | "no" => Some(id.to_string()),
                "name" | "title" => Some(format!("'n{id}'")),
                "qty" if !is_date => Some("5".to_owned()),
                _ => None,
            };
            let names = columns.iter().filter_map(|row| row[0].as_deref());
            let set: Vec<(&str, String)> = names.filter_map(|name| Some((name, value(name)?))).collect();
            let names: Vec<&str> = set.iter().map(|(name, _)| *name).collect();
            let values: Vec<&str> = set.iter().map(|(_, value)| &**value).collect();
            writeln!(
                statements,
                "INSERT INTO {table} ({}) VALUES ({});",
                names.join(", "),
                values.join(", ")
            )
            .unwrap();
        }
        self.server.sql_blocking("erp", &statements);
    }

    /// Makes every record anew, and waits until both sides have the same.
    #[track_caller]
    fn until_equal(&self, tandem: &Server, run: &Run) {
        let table = &run.table;
        self.server.sql_blocking("erp", &format!("UPDATE {table} SET name = 'last', qty = 7"));
        let query = format!("SELECT id, name, qty FROM {table} ORDER BY id");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let [left, right] = ["erp", "crm"].map(|app| self.server.sql_blocking(app, &query));
            if left == right && !left.is_empty() {
                return;
            }
            let shown = || (tandem.ok(&["map", "show", table]), tandem.ok(&["error", "list", table]));
            assert!(Instant::now() < deadline, "{}: {left:?} {right:?} {:?}", run.case.change, shown());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What was set aside is named by its column, and is tried again as it is in the source now.
    #[track_caller]
    fn settle_errors(&self, tandem: &Server, run: &Run) {
        let errors = tandem.ok(&["error", "list", &run.table]);
        if items(&errors).is_empty() {
            return;
        }
        let may_have = run.case.side == "erp" || run.case.change.contains("TYPE date");
        assert!(may_have, "{}: {errors}", run.case.change);
        // Without its key no record of the source can be found again.
        match run.case.change.contains("COLUMN id") {
            true => drop(tandem.ok(&["error", "delete", &run.table, "--all", "--yes"])),
            false => drop(tandem.ok(&["error", "retry", &run.table, "--all", "--refresh", "--wait"])),
        }
    }
}

fn declared(table: &str, more: &str) -> String {
    let side = |app: &str| format!("{{ app = \"{app}\", table = \"public.{table}\", key = [\"id\"] }}");
    let column = |name: &str| format!("{{ left = \"{name}\", right = \"{name}\" }}");
    let columns = ["id", "name", "qty"].map(column).join(", ");
    format!(
        "[[maps]]\nname = \"{table}\"\ndeletes = \"queue\"\nleft = {}\nright = {}\ncolumns = [{columns}]\n{more}\n",
        side("erp"),
        side("crm")
    )
}

/// What a map says of its tables, if they do not fit it.
pub(crate) fn mismatch(map: &Json) -> Option<String> {
    let conditions = map["conditions"].as_array()?;
    let found = conditions.iter().find(|found| found["type"] == "SchemaMatches" && found["well"] == false)?;
    assert!(found["fix"].is_string(), "{map}");
    Some(found["reason"].as_str()?.to_owned())
}

#[test]
fn a_running_map_goes_on_where_it_does_not_matter_and_is_held_before_damage_where_it_does() {
    let world = World::new("r");
    let tandem = world.run();
    for run in &world.runs {
        world.change(run);
        world.write_to(&run.table, 4..8);
        world.write_to("busy", 4 + run_number(run)..5 + run_number(run));
    }
    for run in &world.runs {
        let Held(says) = run.case.then else { continue };
        let shown = tandem.until(&["map", "show", &run.table], |map| map["state"] == "paused");
        let said = mismatch(&shown).unwrap_or_else(|| panic!("{}: {shown}", run.case.change));
        assert!(said.contains(says), "{}: {said}", run.case.change);
        // Nothing of it was written, and nothing of it is an error; but a destination that takes another type says so
        // with the record, if the statement is new to it.
        let errors = tandem.ok(&["error", "list", &run.table, "--status", "all"]);
        let may_have = run.case.side == "crm" && run.case.change.contains("TYPE date");
        assert!(items(&errors).is_empty() || may_have, "{}: {errors}", run.case.change);
    }
    for run in &world.runs {
        if let Held(_) = run.case.then {
            world.undo(run);
            tandem.ok(&["map", "resume", &run.table, "--wait"]);
            world.settle_errors(&tandem, run);
        }
        let shown = tandem.ok(&["map", "show", &run.table]);
        assert_eq!((&shown["state"], mismatch(&shown)), (&"running".into(), None), "{}", run.case.change);
        world.until_equal(&tandem, run);
        if let GoesOn = run.case.then {
            let errors = tandem.ok(&["error", "list", &run.table, "--status", "all"]);
            assert!(items(&errors).is_empty(), "{}: {errors}", run.case.change);
        }
    }
    const UNTOUCHED: &Case = &goes_on("erp", "");
    let busy = Run { table: "busy".to_owned(), case: UNTOUCHED };
    world.until_equal(&tandem, &busy);
}

fn run_number(run: &Run) -> i64 {
    run.table[1..].parse().unwrap()
}

#[test]
fn a_paused_map_says_what_has_changed_when_it_is_resumed_and_goes_on_when_it_is_undone() {
    let world = World::new("p");
    let tandem = world.run();
    let tables: Vec<&str> = world.runs.iter().map(|run| &*run.table).collect();
    tandem.ok(&[&["map", "pause", "--wait"][..], &tables[..]].concat());
    world.write(4..6);
    for run in &world.runs {
        world.change(run);
        world.write_to(&run.table, 6..8);
    }
    for run in &world.runs {
        if let Held(_) = run.case.then {
            // A type that the destination may take after all is a warning to a person who resumes.
            let asked = tandem.tandem(&["map", "resume", &run.table, "--wait"]);
            if run.case.change.contains("TYPE date") {
                asked.ended(0, "");
                tandem.ok(&["map", "pause", &run.table, "--wait"]);
            } else {
                asked.ended(3, "nothing was changed");
                let shown = tandem.ok(&["map", "show", &run.table]);
                assert!(mismatch(&shown).is_some() && shown["state"] == "paused", "{shown}");
            }
            world.undo(run);
        }
        tandem.ok(&["map", "resume", &run.table, "--wait"]);
        if !run.case.change.contains("TYPE date") {
            world.settle_errors(&tandem, run);
        }
        world.until_equal(&tandem, run);
        assert_eq!(mismatch(&tandem.ok(&["map", "show", &run.table])), None, "{}", run.case.change);
    }
}

#[test]
fn a_stopped_map_is_refused_until_its_tables_fit_and_stays_as_it_was() {
    let world = World::new("s");
    let tandem = world.run();
    let tables: Vec<&str> = world.runs.iter().map(|run| &*run.table).collect();
    tandem.ok(&[&["map", "stop"][..], &tables[..]].concat());
    for run in &world.runs {
        tandem.ok(&["map", "wait", &run.table, "--for", "not_running"]);
        world.change(run);
        world.write_to(&run.table, 4..6);
        let ask = ["map", "run", &run.table, "--no-initial-sync", "--wait"];
        if let Held(_) = run.case.then
            && !run.case.change.contains("TYPE date")
        {
            tandem.tandem(&ask).ended(3, "nothing was changed");
            assert_eq!(tandem.ok(&["map", "show", &run.table])["state"], "not_running");
        }
        if let Held(_) = run.case.then {
            world.undo(run);
        }
        tandem.ok(&ask);
        world.until_equal(&tandem, run);
    }
}

/// A person renames a column, edits the map, and resumes it; what depends on the map is held and goes on with it.
#[test]
fn a_renamed_column_is_followed_by_an_edit() {
    let (house, server) = world(PostgresOptions::default());
    let tandem = run(&house);
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', 'Graz')");
    until(&server, "crm", "SELECT ext_no FROM accounts", &["K1"]);
    for statement in [
        "INSERT INTO customers VALUES ('K2', 'Bob', 'Brno')",
        "ALTER TABLE customers RENAME COLUMN name TO full_name",
        "INSERT INTO customers VALUES ('K3', 'Cyd', 'Lyon')",
        "INSERT INTO orders VALUES (1, 'K3', 5)",
    ] {
        server.sql_blocking("erp", statement);
    }
    let shown = tandem.until(&["map", "show", "customers"], |map| map["state"] == "paused");
    assert!(mismatch(&shown).unwrap().contains("it may be called full_name now"), "{shown}");
    tandem.until(&["map", "show", "orders"], |map| map["state"] == "paused");
    // Exactly in front of the first record of the new shape.
    until(&server, "crm", "SELECT ext_no FROM accounts ORDER BY 1", &["K1", "K2"]);
    until(&server, "crm", "SELECT count(*) FROM orders", &["0"]);
    let told = tandem.ok(&["activity", "--map", "customers"]);
    assert!(items(&told).iter().any(|entry| entry["event"] == "schema.changed"), "{told}");
    tandem.tandem(&["map", "resume", "customers"]).ended(3, "there is no column name");

    // It is known after a crash, too.
    tandem.kill();
    house.edit("left = \"name\"", "left = \"full_name\"");
    let tandem = house.serve();
    tandem.ok(&["map", "resume", "customers", "--wait"]);
    tandem.ok(&["map", "wait", "orders", "--for", "running"]);
    server.sql_blocking("erp", "UPDATE customers SET full_name = 'Ada' WHERE customer_no = 'K1'");
    let rows = ["K1|Ada", "K2|Bob", "K3|Cyd"];
    until(&server, "crm", "SELECT ext_no, display_name FROM accounts ORDER BY 1", &rows);
    until(&server, "crm", "SELECT count(*) FROM orders", &["1"]);
    assert_eq!(mismatch(&tandem.ok(&["map", "show", "customers"])), None);
    assert!(items(&tandem.ok(&["error", "list", "customers"])).is_empty());
}

/// Nobody but a person knows whether what is gone at once at the source is to go at the destination.
#[test]
fn a_map_whose_source_is_truncated_is_held_in_front_of_it_and_a_repair_brings_both_sides_in_step() {
    let (house, server) = world(PostgresOptions::default());
    let tandem = run(&house);
    let orders = |rows: &[&str]| until(&server, "crm", "SELECT order_no FROM orders ORDER BY 1", rows);
    server.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', 'Graz')");
    server.sql_blocking("erp", "INSERT INTO orders VALUES (1, 'K1', 5), (2, 'K1', 6)");
    orders(&["1", "2"]);
    server.sql_blocking("erp", "INSERT INTO orders VALUES (3, 'K1', 7)");
    server.sql_blocking("erp", "TRUNCATE orders");
    server.sql_blocking("erp", "INSERT INTO orders VALUES (2, 'K1', 8), (4, 'K1', 9)");
    let held = |tandem: &Server| {
        let shown = tandem.until(&["map", "show", "orders"], |map| map["state"] == "paused");
        let (reason, fix) = trouble(&shown, "SourceTruncated").unwrap_or_else(|| panic!("{shown}"));
        assert!(reason.contains("public.orders: the source's table was truncated"), "{reason}");
        assert!(fix.contains("tandem map verify orders --repair"), "{fix}");
    };
    held(&tandem);
    orders(&["1", "2", "3"]);
    assert_eq!(tandem.ok(&["map", "show", "customers"])["state"], "running");
    // It is known after a crash, too.
    tandem.kill();
    let tandem = house.serve();
    held(&tandem);

    tandem.ok(&["map", "resume", "orders", "--wait"]);
    orders(&["1", "2", "3", "4"]);
    let errors = tandem.ok(&["error", "list", "orders"]);
    assert_eq!(items(&errors).len(), 1, "{errors}");
    assert_eq!(items(&errors)[0]["code"], "truncated", "{errors}");
    tandem.ok(&["map", "verify", "orders", "--repair", "left", "--yes"]);
    orders(&["2", "4"]);
    tandem.ok(&["error", "delete", "orders", "--all", "--yes"]);
    tandem.ok(&["map", "verify", "orders"]);
    assert_eq!(trouble(&tandem.ok(&["map", "show", "orders"]), "SourceTruncated"), None);
}

/// Another table under the same name, or the same under another: the log says nothing of either.
#[test]
fn a_table_that_leaves_capture_by_itself_is_a_gap_and_never_passed_over() {
    const ANEW: [&str; 2] = [
        "SET ROLE tandem; DROP TABLE orders;
         CREATE TABLE public.orders (order_no bigint PRIMARY KEY, customer_no text, total numeric)",
        "INSERT INTO orders VALUES (2, NULL, 6)",
    ];
    const AWAY: [&str; 2] =
        ["ALTER TABLE orders RENAME TO orders_old", "INSERT INTO orders_old VALUES (2, NULL, 6)"];
    const AND_BACK: [&str; 4] = [
        AWAY[0],
        AWAY[1],
        "ALTER TABLE orders_old RENAME TO orders",
        "INSERT INTO orders VALUES (3, NULL, 7)",
    ];
    for (change, why) in [(&ANEW[..], "has a gap"), (&AWAY, "has no table"), (&AND_BACK, "has a gap")] {
        let (house, server) = world(PostgresOptions::default());
        let tandem = run(&house);
        server.sql_blocking("erp", "INSERT INTO orders VALUES (1, NULL, 5)");
        until(&server, "crm", "SELECT count(*) FROM orders", &["1"]);
        change.iter().for_each(|statement| drop(server.sql_blocking("erp", statement)));
        let shown = tandem.until(&["map", "show", "orders"], |map| map["state"] == "paused");
        let (said, fix) = trouble(&shown, "GapDetected").unwrap_or_else(|| panic!("{change:?}: {shown}"));
        assert!(said.contains("public.orders") && fix.contains("tandem app accept-gap erp"), "{said} {fix}");
        tandem.tandem(&["map", "resume", "orders"]).ended(3, why);
        // Others feel nothing of it.
        server.sql_blocking("erp", "INSERT INTO customers VALUES ('K1', 'Ann', 'Graz')");
        until(&server, "crm", "SELECT ext_no FROM accounts", &["K1"]);
        if why == "has no table" {
            // Nothing that a word could mend.
            tandem.tandem(&["app", "accept-gap", "erp", "--yes"]).ended(3, "has no table public.orders");
            continue;
        }
        // A person may say that it goes on; what was written meanwhile is found by looking.
        tandem.ok(&["app", "accept-gap", "erp", "--yes", "--wait"]);
        assert_eq!(trouble(&tandem.ok(&["map", "show", "orders"]), "GapDetected"), None);
        assert_eq!(tandem.ok(&["map", "show", "customers"])["state"], "running");
        server.sql_blocking("erp", "INSERT INTO orders VALUES (4, 'K1', 8)");
        tandem.ok(&["map", "resume", "orders", "--wait"]);
        until(&server, "crm", "SELECT order_no FROM orders WHERE order_no IN (2, 4)", &["4"]);
        tandem.tandem(&["map", "verify", "orders"]).ended(7, "");
        tandem.ok(&["map", "verify", "orders", "--repair", "left", "--yes"]);
        tandem.ok(&["map", "verify", "orders"]);
    }
}

#[test]
fn columns_that_map_by_themselves_may_leave_both_sides_but_not_one() {
    let server = PostgresServer::start_new(PostgresOptions::default());
    let house = House::new();
    let url = |app: &str| {
        server.sql_blocking("postgres", &format!("CREATE DATABASE {app}"));
        server.sql_blocking(app, "CREATE TABLE t (id bigint PRIMARY KEY, a text, b text)");
        format!("postgres://postgres:${{file:password}}@127.0.0.1:{}/{app}?sslmode=disable", server.port())
    };
    house.write("password", PostgresServer::PASSWORD);
    house.write("tandem.toml", &crate::twins::config(url, "public.", &[("t", "direction = \"both\"")]));
    for app in ["erp", "crm"] {
        server.sql_blocking(app, "ALTER TABLE t REPLICA IDENTITY FULL");
    }
    let tandem = house.serve();
    tandem.ok(&["map", "run", "t", "--no-initial-sync", "--wait"]);
    let everywhere = |query: &str, rows: &[&str]| {
        ["erp", "crm"].iter().for_each(|app| until(&server, app, query, rows));
    };
    server.sql_blocking("erp", "INSERT INTO t VALUES (1, 'a', 'b')");
    server.sql_blocking("crm", "INSERT INTO t VALUES (2, 'a', 'b')");
    everywhere("SELECT id, a, b FROM t ORDER BY 1", &["1|a|b", "2|a|b"]);

    // Gone on both sides: nobody misses it.
    for app in ["crm", "erp"] {
        server.sql_blocking(app, "ALTER TABLE t DROP COLUMN b");
    }
    server.sql_blocking("erp", "INSERT INTO t VALUES (3, 'a')");
    server.sql_blocking("crm", "INSERT INTO t VALUES (4, 'a')");
    everywhere("SELECT id, a FROM t ORDER BY 1", &["1|a", "2|a", "3|a", "4|a"]);
    assert_eq!(tandem.ok(&["map", "show", "t"])["state"], "running");

    // Gone on one: a person is asked, and may say that it goes on without.
    server.sql_blocking("erp", "ALTER TABLE t DROP COLUMN a; INSERT INTO t VALUES (5)");
    let shown = tandem.until(&["map", "show", "t"], |map| map["state"] == "paused");
    assert!(mismatch(&shown).unwrap().contains("the column a is gone"), "{shown}");
    until(&server, "crm", "SELECT count(*) FROM t", &["4"]);
    tandem.ok(&["map", "resume", "t", "--wait"]);
    server.sql_blocking("crm", "INSERT INTO t VALUES (6, 'x')");
    everywhere("SELECT id FROM t ORDER BY 1", &["1", "2", "3", "4", "5", "6"]);
    let errors = tandem.ok(&["error", "list", "t"]);
    assert!(items(&errors).is_empty(), "{errors}");
}
