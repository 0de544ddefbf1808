//! Without a superuser: what the documentation says to give to Tandem's role is enough, for a map that goes both ways
//! and refuses deletes while it is paused.

use crate::house::House;
use crate::postgres::until;
use serde_json::json;
use tandem_proof_servers::{PostgresOptions, PostgresServer};

const DOCS: &str = include_str!("../../../../docs/postgres.md");

/// The statements that the documentation prints.
pub(crate) fn documented(nth: usize) -> &'static str {
    DOCS.split("```sql\n").nth(nth + 1).unwrap().split("```").next().unwrap()
}

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
[apps.erp]
url = "postgres://tandem:${file:password}@127.0.0.1:PORT/erp?sslmode=disable"
[apps.crm]
url = "postgres://tandem:${file:password}@127.0.0.1:PORT/crm?sslmode=disable"
[[maps]]
name = "accounts"
direction = "both"
left = { app = "erp", table = "public.accounts", key = ["id"] }
right = { app = "crm", table = "public.accounts", key = ["id"] }
"#;

/// Tables of a role `shop`, in databases of nobody whom we know, and the config.
pub(crate) fn world() -> (House, PostgresServer) {
    let server = PostgresServer::start_new(PostgresOptions { fsync: false, ..PostgresOptions::default() });
    server.sql_blocking("postgres", "CREATE ROLE shop LOGIN");
    for app in ["erp", "crm"] {
        server.sql_blocking("postgres", &format!("CREATE DATABASE {app}"));
        server.sql_blocking(
            app,
            "CREATE TABLE accounts (id serial PRIMARY KEY, name text); ALTER TABLE accounts OWNER TO shop;
             CREATE TABLE moves (id serial PRIMARY KEY, account int REFERENCES accounts); ALTER TABLE moves OWNER TO shop;
             INSERT INTO accounts (name) SELECT 'name ' || n FROM generate_series(1, 20) AS n",
        );
    }
    server.sql_blocking("postgres", documented(0));
    let house = House::new();
    house.write("password", "from the vault");
    house.write("tandem.toml", &CONFIG.replace("PORT", &server.port().to_string()));
    (house, server)
}

#[test]
fn a_map_goes_both_ways_with_the_rights_that_the_documentation_gives() {
    let (house, server) = world();
    let lacking = house.tandem(&["check", "-o", "json"]).ended(3, "").json();
    let codes: Vec<_> = lacking["items"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
    assert_eq!(codes, [json!("replica_identity"), json!("replica_identity")]);
    for app in ["erp", "crm"] {
        server.sql_blocking(app, &format!("SET ROLE shop; {}", documented(1)));
    }
    house.tandem(&["check"]).ended(0, "2 apps, 1 maps: 0 errors, 0 warnings");
    let superuser = server.sql_blocking("erp", "SELECT rolsuper FROM pg_roles WHERE rolname = 'tandem'");
    assert_eq!(superuser[0][0].as_deref(), Some("f"));

    let tandem = house.serve();
    server.sql_blocking(
        "crm",
        "UPDATE accounts SET name = 'other' WHERE id = 1; INSERT INTO accounts VALUES (50, 'right')",
    );
    tandem.ok(&["map", "run", "accounts", "--wait"]);
    until(&server, "crm", "SELECT name FROM accounts WHERE id IN (1, 50) ORDER BY id", &["name 1", "right"]);
    until(&server, "erp", "SELECT count(*) FROM accounts", &["21"]);
    // The numbers that both apps give go on behind what was copied.
    server.sql_blocking("erp", "SET ROLE shop; INSERT INTO accounts (name) VALUES ('left')");
    until(&server, "crm", "SELECT id, name FROM accounts WHERE id > 50", &["51|left"]);
    server.sql_blocking("crm", "SET ROLE shop; UPDATE accounts SET name = 'changed' WHERE id = 51");
    until(&server, "erp", "SELECT name FROM accounts WHERE id = 51", &["changed"]);

    tandem.ok(&["map", "pause", "accounts", "--wait"]);
    let armed = |map: &serde_json::Value| {
        let conditions = map["conditions"].as_array().unwrap();
        conditions.iter().all(|one| one["kind"] != "GuardArmed" || one["ok"] == true)
    };
    tandem.until(&["map", "show", "accounts"], armed);
    let refused = "DO $$ BEGIN DELETE FROM accounts WHERE id = 2; EXCEPTION WHEN SQLSTATE 'TD001' THEN
        CREATE TABLE refused (); END $$";
    for app in ["erp", "crm"] {
        let deadline = std::time::Instant::now() + crate::house::PATIENCE;
        while server
            .sql_blocking(app, "SELECT 1 FROM pg_trigger WHERE tgname LIKE '%tandem%' AND NOT tgisinternal")
            .is_empty()
        {
            assert!(
                std::time::Instant::now() < deadline,
                "{app} has no guard: {}",
                tandem.ok(&["map", "show", "accounts"])
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        server.sql_blocking(app, refused);
        until(&server, app, "SELECT count(*) FROM pg_class WHERE relname = 'refused'", &["1"]);
    }
    server.sql_blocking("crm", "UPDATE accounts SET name = 'queued' WHERE id = 2");
    tandem.ok(&["map", "resume", "accounts", "--wait"]);
    until(&server, "erp", "SELECT name FROM accounts WHERE id = 2", &["queued"]);
    let verified = tandem.ok(&["map", "verify", "accounts"]);
    assert_eq!(verified["changed"], 0, "{verified}");
    assert_eq!(tandem.ok(&["map", "show", "accounts"])["conflicts"], 0);

    tandem.ok(&["map", "stop", "accounts", "--wait"]);
    for app in ["erp", "crm"] {
        let ours = "SELECT nspname::text FROM pg_namespace WHERE nspname = 'tandem' UNION SELECT pubname::text FROM pg_publication
            UNION SELECT slot_name::text FROM pg_replication_slots";
        until(&server, app, ours, &[]);
    }
}
