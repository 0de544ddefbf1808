//! The same on SQLite: what its people may change about a table while a map runs, and what its own rules make of that.

use crate::house::{House, PATIENCE, Server, items};
use crate::postgres::trouble;
use crate::schema::mismatch;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Name of the table, side, change, what is said if it holds the map, undo.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

const CHANGES: &[Case] = &[
    ("a0", "erp", "ALTER TABLE a0 ADD COLUMN more TEXT", "", ""),
    ("a1", "erp", "ALTER TABLE a1 RENAME COLUMN note TO remark", "", ""),
    (
        "a2",
        "erp",
        "ALTER TABLE a2 RENAME COLUMN name TO title",
        "the column name is gone",
        "ALTER TABLE a2 RENAME COLUMN title TO name",
    ),
    (
        "a3",
        "erp",
        "ALTER TABLE a3 RENAME COLUMN id TO no",
        "the column id is gone",
        "ALTER TABLE a3 RENAME COLUMN no TO id",
    ),
    ("b0", "crm", "ALTER TABLE b0 ADD COLUMN more TEXT", "", ""),
    ("b1", "crm", "ALTER TABLE b1 ADD COLUMN more TEXT NOT NULL DEFAULT 'x'", "", ""),
    ("b2", "crm", "ALTER TABLE b2 RENAME COLUMN note TO remark", "", ""),
    ("b3", "crm", "ALTER TABLE b3 DROP COLUMN note", "", ""),
    (
        "b4",
        "crm",
        "ALTER TABLE b4 DROP COLUMN name",
        "there is no column name",
        "ALTER TABLE b4 ADD COLUMN name TEXT",
    ),
    (
        "b5",
        "crm",
        "ALTER TABLE b5 RENAME COLUMN name TO title",
        "there is no column name",
        "ALTER TABLE b5 RENAME COLUMN title TO name",
    ),
    (
        "b6",
        "crm",
        "ALTER TABLE b6 RENAME COLUMN id TO no",
        "there is no column id",
        "ALTER TABLE b6 RENAME COLUMN no TO id",
    ),
    ("b7", "crm", "ALTER TABLE b7 RENAME TO b7_old", "no table b7", "ALTER TABLE b7_old RENAME TO b7"),
    // A table is made anew with a column that nobody fills.
    (
        "b8",
        "crm",
        "BEGIN; CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT, must TEXT NOT NULL);
         INSERT INTO n SELECT id, name, 'x' FROM b8; DROP TABLE b8; ALTER TABLE n RENAME TO b8; COMMIT",
        "column must must not be null",
        "ALTER TABLE b8 DROP COLUMN must",
    ),
];

fn begun() -> (House, Server) {
    let house = House::new();
    let mut config = "[server]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    for app in ["erp", "crm"] {
        writeln!(config, "[apps.{app}]\nurl = \"sqlite:{app}.db\"").unwrap();
        for (table, ..) in CHANGES {
            let sql = format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, name TEXT, note TEXT)");
            house.app(app).execute_batch(&sql).unwrap();
        }
    }
    for (table, ..) in CHANGES {
        let side = |app: &str| format!("{{ app = \"{app}\", table = \"{table}\", key = [\"id\"] }}");
        let columns = "[{ left = \"id\", right = \"id\" }, { left = \"name\", right = \"name\" }]";
        let (left, right) = (side("erp"), side("crm"));
        writeln!(
            config,
            "[[maps]]\nname = \"{table}\"\ndeletes = \"queue\"\nleft = {left}\nright = {right}\ncolumns = {columns}"
        )
        .unwrap();
    }
    house.write("tandem.toml", &config);
    let tandem = house.serve();
    let tables: Vec<&str> = CHANGES.iter().map(|(table, ..)| *table).collect();
    tandem.ok(&[&["map", "run", "--no-initial-sync", "--wait"][..], &tables[..]].concat());
    for (table, ..) in CHANGES {
        write(&house, table, 1);
    }
    for (table, ..) in CHANGES {
        until_equal(&house, &tandem, table);
    }
    (house, tandem)
}

fn write(house: &House, table: &str, id: i64) {
    house.app("erp").execute(&format!("INSERT INTO {table} VALUES (?1, 'n', 'x')"), [id]).unwrap();
}

#[track_caller]
fn until_equal(house: &House, tandem: &Server, table: &str) {
    let rows = |app: &str| -> Vec<(i64, Option<String>)> {
        let app = house.app(app);
        let mut query = app.prepare(&format!("SELECT id, name FROM {table} ORDER BY id")).unwrap();
        query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (left, right) = (rows("erp"), rows("crm"));
        if left == right {
            return;
        }
        let shown = || tandem.ok(&["map", "show", table]);
        assert!(Instant::now() < deadline, "{table}: {left:?} {right:?} {}", shown());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_map_between_files_goes_on_or_is_held_by_what_is_changed() {
    let (house, tandem) = begun();
    for (table, side, change, ..) in CHANGES {
        house.app(side).execute_batch(change).unwrap();
        if *table == "a0" {
            house.app("erp").execute("INSERT INTO a0 VALUES (2, 'n', 'x', 'y')", []).unwrap();
        } else {
            write(&house, table, 2);
        }
    }
    // SQLite runs a trigger's statement with each write, and drops no column that one names.
    let refused = house.app("erp").execute_batch("ALTER TABLE b0 DROP COLUMN note").unwrap_err();
    assert!(refused.to_string().contains("_tandem_"), "{refused}");

    for (table, _, change, says, undo) in CHANGES {
        if says.is_empty() {
            continue;
        }
        // A record may have been written before our triggers knew: it has the old name, and is right.
        let deadline = Instant::now() + PATIENCE;
        let mut id = 3;
        let said = loop {
            let shown = tandem.ok(&["map", "show", table]);
            if let Some(said) = mismatch(&shown).filter(|_| shown["state"] == "paused") {
                break said;
            }
            assert!(Instant::now() < deadline, "{change}: {shown}");
            write(&house, table, id);
            id += 1;
            std::thread::sleep(Duration::from_millis(100));
        };
        assert!(said.contains(says), "{change}: {said}");
        let app = if table.starts_with('a') { "erp" } else { "crm" };
        house.app(app).execute_batch(undo).unwrap();
        tandem.ok(&["map", "resume", table, "--wait"]);
    }
    for (table, _, change, ..) in CHANGES {
        house.app("erp").execute(&format!("UPDATE {table} SET name = 'last'"), []).unwrap();
        until_equal(&house, &tandem, table);
        let shown = tandem.ok(&["map", "show", table]);
        assert_eq!((&shown["state"], mismatch(&shown)), (&"running".into(), None), "{change}");
        let errors = tandem.ok(&["error", "list", table]);
        // Records that were written under the other name of a column are set aside by name.
        assert!(items(&errors).is_empty() || ["a2", "a3"].contains(table), "{change}: {errors}");
    }
}

#[test]
fn a_source_table_that_is_made_anew_is_never_passed_over() {
    let (house, tandem) = begun();
    let rebuild = "BEGIN; CREATE TABLE n (id INTEGER PRIMARY KEY, name TEXT, note INTEGER);
         INSERT INTO n SELECT id, name, 1 FROM a1; DROP TABLE a1; ALTER TABLE n RENAME TO a1; COMMIT;
         INSERT INTO a1 VALUES (2, 'unseen', 1)";
    house.app("erp").execute_batch(rebuild).unwrap();
    let shown = tandem.until(&["map", "show", "a1"], |map| map["state"] == "paused");
    assert!(trouble(&shown, "GapDetected").is_some_and(|(said, _)| said.contains("trigger")), "{shown}");

    // Until a person says that it is well.
    tandem.until(&["map", "show", "a2"], |map| map["state"] == "paused");
    tandem.ok(&["app", "accept-gap", "erp", "--yes", "--wait"]);
    house.app("erp").execute_batch("INSERT INTO a1 VALUES (3, 'seen', 1)").unwrap();
    tandem.ok(&["map", "resume", "a1", "a2", "--wait"]);
    let count = |what: &str| -> i64 {
        let query = format!("SELECT count(*) FROM a1 WHERE name = '{what}'");
        house.app("crm").query_row(&query, [], |row| row.get(0)).unwrap()
    };
    let deadline = Instant::now() + PATIENCE;
    while count("seen") == 0 {
        assert!(Instant::now() < deadline, "{}", tandem.ok(&["map", "show", "a1"]));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(count("unseen"), 0);
    tandem.ok(&["map", "verify", "a1", "--repair", "left", "--yes"]);
    until_equal(&house, &tandem, "a1");
    assert_eq!(count("unseen"), 1);
}
