//! A schema that nobody here has designed, whole: that of the monitoring server Zabbix as Debian packages it, with its own
//! records. More than a hundred tables, of which most refer to others, several to themselves.

use crate::house::{House, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tandem_proof_servers::{PostgresOptions, PostgresServer};

/// A hundred tables and a hundred thousand records take longer than everything else in here.
const LONG: Duration = Duration::from_secs(300);

/// Where `make sample` has unpacked it.
fn sample(file: &str) -> PathBuf {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/sample/zabbix")).join(file);
    assert!(path.exists(), "{} is not there: run 'make sample' first", path.display());
    path
}

/// Runs a packed file of statements.
fn load(server: &PostgresServer, database: &str, file: &str) {
    let mut unpack =
        Command::new("gzip").arg("-dc").arg(sample(file)).stdout(Stdio::piped()).spawn().unwrap();
    let mut psql = server.program("psql");
    psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &server.url(database)]);
    let done = psql.stdin(unpack.stdout.take().unwrap()).stdout(Stdio::null()).status().unwrap();
    // Whoever unpacks is told that nobody reads any more.
    drop(psql);
    assert!(unpack.wait().unwrap().success() && done.success(), "{file}");
}

/// The tables that have a key, with its columns, and the tables that they refer to.
struct Tables {
    keys: BTreeMap<String, String>,
    parents: BTreeMap<String, BTreeSet<String>>,
}

impl Tables {
    fn of(server: &PostgresServer) -> Self {
        let keys = "SELECT t.relname, string_agg(quote_ident(a.attname), ',' ORDER BY array_position(i.indkey, a.attnum))
            FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid AND t.relnamespace = 'public'::regnamespace
            JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (i.indkey)
            WHERE i.indisprimary GROUP BY 1";
        let parents =
            "SELECT DISTINCT c.relname, p.relname FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid
            JOIN pg_class p ON p.oid = f.confrelid WHERE f.contype = 'f' AND c.oid <> p.oid";
        let rows = |query: &str| -> Vec<(String, String)> {
            let rows = server.sql_blocking("erp", query);
            rows.into_iter().map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap())).collect()
        };
        let keys: BTreeMap<String, String> = rows(keys).into_iter().collect();
        let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (child, parent) in rows(parents) {
            if keys.contains_key(&child) && keys.contains_key(&parent) {
                of.entry(child).or_default().insert(parent);
            }
        }
        Self { keys, parents: of }
    }

    fn names(&self) -> Vec<&str> {
        self.keys.keys().map(String::as_str).collect()
    }

    fn config(&self, server: &PostgresServer) -> String {
        let mut text = "[server]\nlisten = \"127.0.0.1:0\"\n".to_owned();
        for app in ["erp", "crm"] {
            let _ = write!(
                text,
                "[apps.{app}]\nurl = \"postgres://postgres:${{file:password}}@127.0.0.1:{}/{app}?sslmode=disable\"\n",
                server.port()
            );
        }
        for (table, key) in &self.keys {
            let key = format!("{:?}", key.split(',').collect::<Vec<_>>());
            let side = |app: &str| format!("{{ app = {app:?}, table = \"public.{table}\", key = {key} }}");
            let _ = write!(
                text,
                "[[maps]]\nname = {table:?}\ndepends_on = {:?}\ndeletes = \"queue\"\nleft = {}\nright = {}\n",
                self.parents.get(table).into_iter().flatten().collect::<Vec<_>>(),
                side("erp"),
                side("crm"),
            );
        }
        text
    }

    /// Waits until every table has the same records on both sides. Returns how many there are in all.
    #[track_caller]
    fn until_equal(&self, server: &PostgresServer, tandem: &Server) -> u64 {
        let deadline = Instant::now() + LONG;
        let mut records = 0;
        for (table, key) in &self.keys {
            let query =
                format!("SELECT count(*), md5(string_agg(t::text, '|' ORDER BY {key})) FROM {table} AS t");
            records += loop {
                let [left, right] = ["erp", "crm"].map(|app| server.sql_blocking(app, &query));
                if left == right {
                    break left[0][0].as_ref().unwrap().parse::<u64>().unwrap();
                }
                if Instant::now() >= deadline {
                    let shown = tandem.ok(&["map", "show", table]);
                    let errors = tandem.ok(&["error", "list", table, "--limit", "3"]);
                    panic!("{table} differs: {left:?} {right:?}; {shown} {errors}");
                }
                std::thread::sleep(Duration::from_millis(200));
            };
        }
        records
    }

    /// Has the engine compare every table.
    #[track_caller]
    fn verify(&self, tandem: &Server) {
        for table in self.names() {
            let seen = tandem.tandem(&["map", "verify", table, "-o", "json"]);
            assert_eq!(seen.code, Some(0), "{table}: {seen:?}");
        }
    }
}

/// What people do in the source: records of every table are changed, some are taken away with all that refer to them, and
/// some come anew under other keys.
const CHANGES: &str = "DO $$
    DECLARE c record; h bigint; gone int := 0;
    BEGIN
        -- The last text of every table that is in no key and no unique index.
        FOR c IN SELECT t.relname AS name, max(a.attname) AS text FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid
            WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r' AND a.attnum > 0 AND a.atttypid IN ('text'::regtype)
            AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = t.oid AND a.attnum = ANY (i.indkey))
            GROUP BY 1
        LOOP
            EXECUTE format('UPDATE %I SET %I = %I || ''.''', c.name, c.text, c.text);
        END LOOP;
        UPDATE items SET history = '7d' WHERE itemid % 3 = 0;
        -- Two unique names that change places.
        UPDATE hosts SET host = CASE host WHEN a.one THEN a.two ELSE a.one END
            FROM (SELECT min(host) AS one, max(host) AS two FROM hosts) AS a WHERE host IN (a.one, a.two);
        FOR h IN SELECT hostid FROM hosts ORDER BY hostid DESC LOOP
            BEGIN
                DELETE FROM hosts WHERE hostid = h;
                gone := gone + 1;
            EXCEPTION WHEN foreign_key_violation THEN
                CONTINUE;
            END;
            EXIT WHEN gone = 12;
        END LOOP;
        INSERT INTO hosts (hostid, host, name, uuid, status)
            SELECT hostid + 5000000, 'new ' || host, 'new ' || name, '', status FROM hosts ORDER BY hostid LIMIT 20;
        INSERT INTO items (itemid, type, hostid, name, key_, params, description, posts, headers)
            SELECT 5000000 + n, 2, 5000000 + h.hostid, 'new', 'key' || n, '', '', '', ''
            FROM (SELECT hostid - 5000000 AS hostid FROM hosts WHERE hostid > 5000000) AS h, generate_series(1, 20) AS n
            WHERE h.hostid = (SELECT min(hostid) - 5000000 FROM hosts WHERE hostid > 5000000);
        ASSERT gone = 12;
    END $$";

#[test]
fn a_schema_that_nobody_here_has_designed_is_copied_paused_changed_resumed_and_equal() {
    let server = PostgresServer::start_new(PostgresOptions { fsync: false, ..PostgresOptions::default() });
    for app in ["erp", "crm"] {
        server.sql_blocking("postgres", &format!("CREATE DATABASE {app}"));
        load(&server, app, "schema.sql.gz");
    }
    load(&server, "erp", "images.sql.gz");
    load(&server, "erp", "data.sql.gz");
    let tables = Tables::of(&server);
    assert!(tables.keys.len() > 100, "{}", tables.keys.len());
    let house = House::new();
    house.write("password", PostgresServer::PASSWORD);
    house.write("tandem.toml", &tables.config(&server));

    let tandem = house.serve();
    let mut run = vec!["map", "run"];
    run.extend(tables.names());
    tandem.ok(&run);
    tables.until_equal(&server, &tandem);
    for table in tables.names() {
        tandem.until(&["map", "show", table], |map| map["state"] == "running");
    }
    let records = tables.until_equal(&server, &tandem);
    assert!(records > 50_000, "{records}");

    tandem.ok(&["app", "pause", "crm", "--wait"]);
    server.sql_blocking("erp", CHANGES);
    server.sql_blocking("crm", "CHECKPOINT");
    tandem.ok(&["app", "resume", "crm", "--wait"]);
    tables.until_equal(&server, &tandem);
    // The same under their eyes.
    server.sql_blocking("erp", &CHANGES.replace("5000000", "6000000").replace("new", "newer"));
    tables.until_equal(&server, &tandem);
    tables.verify(&tandem);
    let errors = tandem.ok(&["error", "list", "--status", "all"]);
    assert_eq!(errors["items"].as_array().unwrap().len(), 0, "{errors}");
}
