//! Maps that go both ways, between real databases: two people who change the same records at once, an app whose own
//! triggers change what we write, an engine that is killed in the middle.

use crate::house::{House, PATIENCE, Server};
use crate::slow::slow_log;
use crate::twins::{Twins, asked};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tandem_proof_servers::{PostgresOptions, PostgresServer};

const SCHEMA: &str = "
    CREATE TABLE accounts (id int PRIMARY KEY, name text, cents numeric(12, 2), at timestamptz);
    ALTER TABLE accounts REPLICA IDENTITY FULL";

fn twins(more: &str) -> Twins {
    let map = format!("direction = \"both\"\n{more}");
    Twins::new(SCHEMA, &[("accounts", &map)])
}

fn name(twins: &Twins, app: &str, id: i32) -> Option<String> {
    let rows = twins.server.sql_blocking(app, &format!("SELECT name FROM accounts WHERE id = {id}"));
    rows.first()?.first()?.clone()
}

#[track_caller]
fn until_named(twins: &Twins, app: &str, id: i32, wanted: Option<&str>) {
    let deadline = Instant::now() + PATIENCE;
    while name(twins, app, id).as_deref() != wanted {
        assert!(Instant::now() < deadline, "{app} {id} is {:?}, not {wanted:?}", name(twins, app, id));
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn crm(twins: &Twins, statements: &str) {
    twins.server.sql_blocking("crm", statements);
}

fn conflicts(tandem: &Server) -> Vec<serde_json::Value> {
    tandem.ok(&["conflict", "list", "accounts"])["items"].as_array().unwrap().clone()
}

#[test]
fn what_is_changed_on_either_side_comes_to_the_other_once() {
    let twins = twins("");
    let tandem = twins.run();
    twins.erp("INSERT INTO accounts VALUES (1, 'left', 1.10, now()), (2, 'left', 2, now())");
    crm(&twins, "INSERT INTO accounts VALUES (3, 'right', 3.00, now())");
    twins.until_equal(&tandem, PATIENCE);
    until_named(&twins, "erp", 3, Some("right"));
    crm(&twins, "UPDATE accounts SET name = 'changed' WHERE id = 1; DELETE FROM accounts WHERE id = 2");
    until_named(&twins, "erp", 1, Some("changed"));
    until_named(&twins, "erp", 2, None);
    twins.erp("UPDATE accounts SET id = 30 WHERE id = 3");
    until_named(&twins, "crm", 30, Some("right"));
    twins.until_equal(&tandem, PATIENCE);
    // Each change went over once, and none came back.
    let applied = |map: &serde_json::Value| -> Vec<u64> {
        map["flows"].as_array().unwrap().iter().map(|flow| flow["applied"].as_u64().unwrap()).collect()
    };
    let shown = tandem.until(&["map", "show", "accounts"], |map| applied(map).iter().sum::<u64>() >= 6);
    assert_eq!(applied(&shown), [3, 3]);
    assert!(conflicts(&tandem).is_empty());
    twins.no_error(&tandem);
}

#[test]
fn both_sides_end_with_the_winner_of_a_conflict_and_it_is_counted() {
    for (policy, winner) in [("left_wins", "left"), ("right_wins", "right"), ("latest_wins", "right")] {
        let twins = twins(&format!("conflict = \"{policy}\""));
        let tandem = twins.run();
        twins.erp("INSERT INTO accounts VALUES (1, 'before', 0, now())");
        until_named(&twins, "crm", 1, Some("before"));
        tandem.ok(&["map", "pause", "accounts", "--wait"]);
        twins.erp("UPDATE accounts SET name = 'left' WHERE id = 1");
        std::thread::sleep(Duration::from_millis(20));
        crm(&twins, "UPDATE accounts SET name = 'right' WHERE id = 1");
        tandem.ok(&["map", "resume", "accounts", "--wait"]);
        until_named(&twins, "erp", 1, Some(winner));
        until_named(&twins, "crm", 1, Some(winner));
        let found = conflicts(&tandem);
        assert_eq!(found.len(), 1, "{policy}: {found:?}");
        assert_eq!(found[0]["winner"], winner, "{policy}");
        assert_eq!(tandem.ok(&["map", "show", "accounts"])["conflicts"], 1);
        twins.no_error(&tandem);
    }
}

#[test]
fn a_conflict_that_is_parked_is_decided_by_deleting_one_side_and_retrying_the_other() {
    let twins = twins("conflict = \"park\"");
    let tandem = twins.run();
    twins.erp("INSERT INTO accounts VALUES (1, 'before', 0, now())");
    until_named(&twins, "crm", 1, Some("before"));
    tandem.ok(&["map", "pause", "accounts", "--wait"]);
    twins.erp("UPDATE accounts SET name = 'left' WHERE id = 1");
    crm(&twins, "UPDATE accounts SET name = 'right' WHERE id = 1");
    tandem.ok(&["map", "resume", "accounts", "--wait"]);
    let both =
        tandem.until(&["error", "list", "accounts"], |list| list["items"].as_array().unwrap().len() == 2);
    assert_eq!(
        (name(&twins, "erp", 1).unwrap(), name(&twins, "crm", 1).unwrap()),
        ("left".into(), "right".into())
    );
    let flows = tandem.ok(&["map", "show", "accounts"])["flows"].clone();
    let of = |source: &str| {
        let flow = flows.as_array().unwrap().iter().find(|flow| flow["source"] == source).unwrap();
        let found = both["items"].as_array().unwrap().iter().find(|error| error["flow"] == flow["flow"]);
        found.unwrap_or_else(|| panic!("{both}"))["id"].as_str().unwrap().to_owned()
    };
    let (left, right) = (of("erp"), of("crm"));
    tandem.ok(&["error", "delete", "accounts", "--id", &left, "--yes"]);
    tandem.ok(&["error", "retry", "accounts", "--id", &right]);
    until_named(&twins, "erp", 1, Some("right"));
    assert_eq!(name(&twins, "crm", 1).as_deref(), Some("right"));
    twins.erp("UPDATE accounts SET name = 'on' WHERE id = 1");
    until_named(&twins, "crm", 1, Some("on"));
}

/// What the other app's trigger makes of ours is brought back, once.
#[test]
fn what_a_trigger_makes_of_our_write_is_brought_back_and_two_that_fight_are_stopped() {
    let twins = twins("");
    crm(
        &twins,
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN NEW.name := upper(NEW.name); RETURN NEW; END';
         CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION shout()",
    );
    let tandem = twins.run();
    twins.erp("INSERT INTO accounts VALUES (1, 'quiet', 0, now())");
    until_named(&twins, "erp", 1, Some("QUIET"));
    assert_eq!(name(&twins, "crm", 1).as_deref(), Some("QUIET"));
    twins.erp(
        "CREATE FUNCTION whisper() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN NEW.name := lower(NEW.name); RETURN NEW; END';
         CREATE TRIGGER whisper BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION whisper();
         INSERT INTO accounts VALUES (2, 'Two', 0, now())",
    );
    let fought = |map: &serde_json::Value| {
        let conditions = map["conditions"].as_array().unwrap();
        conditions.iter().any(|condition| condition["type"] == "PingPong" && condition["well"] == false)
    };
    tandem.until(&["map", "show", "accounts"], fought);
    assert_eq!(
        (name(&twins, "erp", 2).unwrap(), name(&twins, "crm", 2).unwrap()),
        ("two".into(), "TWO".into())
    );
}

/// A map that goes both ways needs whole rows, and says with which statement it gets them.
#[test]
fn a_table_that_does_not_log_whole_rows_is_refused_with_what_mends_it() {
    let twins = twins("");
    crm(&twins, "ALTER TABLE accounts REPLICA IDENTITY DEFAULT");
    let tandem = twins.house.serve();
    let refused = tandem.tandem(&["map", "run", "accounts", "--no-initial-sync"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.err.contains("ALTER TABLE \"public\".\"accounts\" REPLICA IDENTITY FULL"), "{refused:?}");
}

/// Two databases that write keys and values in their own ways: nothing looks like a change that is none.
#[test]
fn postgresql_and_sqlite_keep_each_other_in_step_without_an_echo() {
    let server = PostgresServer::start_new(PostgresOptions { fsync: false, ..PostgresOptions::default() });
    let house = House::new();
    server.sql_blocking("postgres", "CREATE DATABASE erp");
    server.sql_blocking(
        "erp",
        "CREATE TABLE things (id uuid PRIMARY KEY, price numeric(10, 2), ok boolean, at timestamptz, doc jsonb);
         ALTER TABLE things REPLICA IDENTITY FULL",
    );
    house
        .app("crm")
        .execute_batch("CREATE TABLE things (id TEXT PRIMARY KEY, price TEXT, ok INTEGER, at TEXT, doc TEXT)")
        .unwrap();
    house.write("password", PostgresServer::PASSWORD);
    house.write(
        "tandem.toml",
        &format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[apps.erp]\nurl = \"postgres://postgres:${{file:password}}@127.0.0.1:{}/erp?sslmode=disable\"\n\
             [apps.crm]\nurl = \"sqlite:crm.db\"\n[[maps]]\nname = \"things\"\ndirection = \"both\"\ndeletes = \"queue\"\n\
             left = {{ app = \"erp\", table = \"public.things\", key = [\"id\"] }}\n\
             right = {{ app = \"crm\", table = \"things\", key = [\"id\"] }}\n",
            server.port()
        ),
    );
    let tandem = house.serve();
    tandem.ok(&["map", "run", "things", "--no-initial-sync", "--wait"]);
    let one = "00000000-0000-4000-8000-00000000000a";
    let two = "00000000-0000-4000-8000-00000000000b";
    server.sql_blocking(
        "erp",
        &format!("INSERT INTO things VALUES ('{one}', 1.50, true, '2024-05-01 12:00:00+02', '{{\"b\": 1, \"a\": [1.0]}}')"),
    );
    let crm = house.app("crm");
    let insert = "INSERT INTO things VALUES (?1, '2.5', 0, '2024-05-01 10:00:00+00', '{\"a\":1}')";
    crm.execute(insert, [two]).unwrap();
    let in_crm = |id: &str| {
        crm.query_row("SELECT price FROM things WHERE id = ?1", [id], |row| row.get::<_, String>(0)).ok()
    };
    let in_erp = |id: &str| {
        let rows = server.sql_blocking("erp", &format!("SELECT price FROM things WHERE id = '{id}'"));
        rows.first().and_then(|row| row[0].clone())
    };
    let deadline = Instant::now() + PATIENCE;
    let until = |what: &str, so: &dyn Fn() -> bool| {
        while !so() {
            assert!(Instant::now() < deadline, "{what}: {}", tandem.ok(&["error", "list", "things"]));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("each has the other's", &|| {
        in_crm(one).as_deref() == Some("1.50") && in_erp(two).as_deref() == Some("2.50")
    });
    crm.execute("UPDATE things SET price = '3' WHERE id = ?1", [one]).unwrap();
    server.sql_blocking("erp", &format!("UPDATE things SET price = 4 WHERE id = '{two}'"));
    until("changed there and back", &|| {
        in_erp(one).as_deref() == Some("3.00") && in_crm(two).as_deref() == Some("4.00")
    });
    let applied = |map: &serde_json::Value| -> Vec<u64> {
        map["flows"].as_array().unwrap().iter().map(|flow| flow["applied"].as_u64().unwrap()).collect()
    };
    let shown = tandem.until(&["map", "show", "things"], |map| applied(map).iter().sum::<u64>() >= 4);
    std::thread::sleep(Duration::from_secs(1));
    let later = tandem.ok(&["map", "show", "things"]);
    assert_eq!((applied(&shown), applied(&later)), (vec![2, 2], vec![2, 2]), "nothing came back: {later}");
    assert_eq!(later["conflicts"], 0);
}

/// Where both have a record before they know of each other, the master's stays on both sides.
#[test]
fn the_copy_of_a_map_that_goes_both_ways_keeps_the_masters_values() {
    for master in ["left", "right"] {
        let server =
            PostgresServer::start_new(PostgresOptions { fsync: false, ..PostgresOptions::default() });
        let (house, table) = (House::new(), "(id int PRIMARY KEY, name text)");
        server.sql_blocking("postgres", "CREATE DATABASE erp");
        let rows = |first: u32, last: u32, side: &str| {
            let row = |id: u32| format!("({id}, '{side}')");
            format!("INSERT INTO things VALUES {}", (first..=last).map(row).collect::<Vec<_>>().join(", "))
        };
        server.sql_blocking(
            "erp",
            &format!(
                "CREATE TABLE things {table}; ALTER TABLE things REPLICA IDENTITY FULL; {}",
                rows(1, 30, "left")
            ),
        );
        let crm = house.app("crm");
        crm.execute_batch(&format!("CREATE TABLE things {table}; {}", rows(11, 40, "right"))).unwrap();
        house.write("password", PostgresServer::PASSWORD);
        house.write(
            "tandem.toml",
            &format!(
                "[server]\nlisten = \"127.0.0.1:0\"\n[apps.erp]\nurl = \"postgres://postgres:${{file:password}}@127.0.0.1:{}/erp?sslmode=disable\"\n\
                 [apps.crm]\nurl = \"sqlite:crm.db\"\n[[maps]]\nname = \"things\"\ndirection = \"both\"\nmaster = \"{master}\"\n\
                 left = {{ app = \"erp\", table = \"public.things\", key = [\"id\"] }}\n\
                 right = {{ app = \"crm\", table = \"things\", key = [\"id\"] }}\n",
                server.port()
            ),
        );
        let tandem = house.serve();
        tandem.ok(&["map", "run", "things", "--wait"]);
        let counts = "SELECT name, count(*) FROM things GROUP BY name ORDER BY name";
        let wanted =
            if master == "left" { [("left", 30), ("right", 10)] } else { [("left", 10), ("right", 30)] };
        let in_crm = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
        let in_crm: Vec<_> =
            crm.prepare(counts).unwrap().query_map([], in_crm).unwrap().map(Result::unwrap).collect();
        assert_eq!(in_crm, wanted.map(|(name, count)| (name.to_owned(), count)), "{master}");
        let in_erp = server.sql_blocking("erp", counts);
        let in_erp: Vec<_> = in_erp
            .iter()
            .map(|row| (row[0].clone().unwrap(), row[1].clone().unwrap().parse().unwrap()))
            .collect();
        assert_eq!(in_erp, in_crm, "{master}");
        let shown = tandem.ok(&["map", "show", "things"]);
        assert_eq!((&shown["conflicts"], &shown["errors"]["open"]), (&0.into(), &0.into()), "{shown}");
    }
}

/// What is changed at one end of a chain reaches the other, and what our own writes bring into the middle does, too.
#[test]
fn a_third_app_behind_two_that_keep_each_other_in_step_gets_everything() {
    let house = House::new();
    let third = house.app("dwh");
    third.pragma_update(None, "journal_mode", "wal").unwrap();
    third.execute_batch("CREATE TABLE customers (no TEXT PRIMARY KEY, name TEXT)").unwrap();
    let side = |app: &str| format!("{{ app = \"{app}\", table = \"customers\", key = [\"no\"] }}");
    let app = |app: &str| format!("[apps.{app}]\nurl = \"sqlite:{app}.db\"\n");
    let map = |name: &str, left: &str, right: &str, more: &str| {
        let (left, right) = (side(left), side(right));
        format!("[[maps]]\nname = \"{name}\"\ndeletes = \"queue\"\n{more}\nleft = {left}\nright = {right}\n")
    };
    let apps = ["erp", "crm", "dwh"].map(app).concat();
    let pair = map("pair", "erp", "crm", "direction = \"both\"");
    let text = format!("[server]\nlisten = \"127.0.0.1:0\"\n{apps}{pair}{}", map("on", "crm", "dwh", ""));
    house.write("tandem.toml", &text);
    house.app("erp").execute_batch("INSERT INTO customers VALUES ('before', 'there')").unwrap();
    house.app("crm").execute_batch("INSERT INTO customers VALUES ('too', 'there')").unwrap();
    let tandem = house.serve();
    tandem.ok(&["map", "run", "pair", "on", "--wait"]);
    house.app("erp").execute_batch("INSERT INTO customers VALUES ('a', 'left')").unwrap();
    house
        .app("crm")
        .execute_batch("INSERT INTO customers VALUES ('b', 'right'); DELETE FROM customers WHERE no = 'too'")
        .unwrap();
    let rows = |app: &str| -> Vec<String> {
        let database = house.app(app);
        let mut query = database.prepare("SELECT no || '=' || name FROM customers ORDER BY no").unwrap();
        query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let wanted = ["a=left", "b=right", "before=there"];
    let deadline = Instant::now() + PATIENCE;
    while ["erp", "crm", "dwh"].iter().any(|app| rows(app) != wanted) {
        let shown = ["erp", "crm", "dwh"].map(rows);
        assert!(Instant::now() < deadline, "{shown:?} {}", tandem.ok(&["error", "list"]));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(tandem.ok(&["map", "show", "pair"])["conflicts"], 0);
    // A circle of three is refused: nobody would know the echo that comes round.
    house.edit(
        "[[maps]]\nname = \"on\"",
        &format!("{}[[maps]]\nname = \"on\"", map("back", "dwh", "erp", "")),
    );
    let refused = house.tandem(&["check", "-c", "tandem.toml"]);
    assert!(
        refused.code != Some(0) && refused.err.contains("come back to the table that they left"),
        "{refused:?}"
    );
}

/// Unique values that are swapped in one transaction arrive, and are no conflict.
#[test]
fn unique_values_that_two_records_swap_go_both_ways() {
    let twins = twins("");
    for app in ["erp", "crm"] {
        let unique = "ALTER TABLE accounts ADD UNIQUE (name) DEFERRABLE INITIALLY DEFERRED";
        twins.server.sql_blocking(app, unique);
    }
    let tandem = twins.run();
    twins.erp("INSERT INTO accounts VALUES (1, 'a', 0, NULL), (2, 'b', 0, NULL)");
    twins.until_equal(&tandem, PATIENCE);
    let swap =
        "BEGIN; UPDATE accounts SET name = CASE id WHEN 1 THEN 'b' ELSE 'a' END WHERE id IN (1, 2); COMMIT";
    crm(&twins, swap);
    until_named(&twins, "erp", 1, Some("b"));
    twins.erp(
        "BEGIN; UPDATE accounts SET name = CASE id WHEN 1 THEN 'a' ELSE 'b' END WHERE id IN (1, 2); COMMIT",
    );
    until_named(&twins, "crm", 1, Some("a"));
    twins.until_equal(&tandem, PATIENCE);
    assert!(conflicts(&tandem).is_empty());
    twins.no_error(&tandem);
}

/// Traffic on both sides with contended records, while the engine is killed again and again: both sides end equal, and
/// nothing comes back to where it was made.
#[test]
fn traffic_on_both_sides_ends_equal_however_often_the_engine_is_killed() {
    let twins = twins("conflict = \"latest_wins\"");
    let made = traffic(&twins, |_| {});
    for (journaled, made, _) in made {
        // Barriers have a Seq, too.
        assert!(journaled >= made && journaled <= made + 50, "{journaled} journaled of {made} made: echoes?");
    }
}

/// The same where one side hears of the other long after, and that one's trigger changes what we write.
#[test]
fn traffic_ends_equal_where_one_side_hears_late_and_the_other_has_a_trigger() {
    let twins = twins("");
    crm(
        &twins,
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN NEW.name := upper(NEW.name); RETURN NEW; END';
         CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION shout()",
    );
    let delay = Duration::from_millis(asked("TANDEM_DELAY_MILLISECONDS", 1_500));
    let port = twins.server.port();
    let slow = slow_log(port, delay);
    twins.house.edit(&format!(":{port}/crm"), &format!(":{slow}/crm"));
    let made = traffic(&twins, |twins| {
        // What the trigger has made of ours came back.
        let quiet = "SELECT count(*) FROM accounts WHERE name <> upper(name)";
        assert_eq!((twins.number("erp", quiet), twins.number("crm", quiet)), (0, 0));
    });
    let [(left, by_left, _), (right, by_right, written)] = made;
    // Of what we wrote on the right each may have come back once, as the trigger made it; on the left there is none.
    assert!(left >= by_left && left <= by_left + 50, "{left} journaled of {by_left} made: echoes?");
    assert!(
        right >= by_right && right <= by_right + written + 50,
        "{right} journaled of {by_right} and {written}"
    );
}

/// People write into both sides for some time while the engine is killed, one of ten times into the same records. Returns
/// for each side how many changes are in the journal, how many people have made, and how many the left side's flow has.
fn traffic(twins: &Twins, also: impl Fn(&Twins)) -> [(u64, u64, u64); 2] {
    let mut running = Some(twins.run());
    let seconds = asked("TANDEM_TWO_WAY_SECONDS", 12);
    let (over, changes) = (AtomicBool::new(false), [AtomicU64::new(0), AtomicU64::new(0)]);
    std::thread::scope(|scope| {
        for (side, app) in ["erp", "crm"].into_iter().enumerate() {
            let (over, changes) = (&over, &changes[side]);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(write(twins, (side, app), over, changes));
            });
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_secs((seconds / 4).clamp(2, 60)));
            // The lock of the data folder is free once the old one is dead.
            running.take().unwrap().kill();
            // Both sides go on while nobody is between them.
            std::thread::sleep(Duration::from_millis(500));
            running = Some(twins.house.serve());
        }
        over.store(true, Ordering::Relaxed);
    });
    let tandem = running.unwrap();
    let patience = PATIENCE + Duration::from_millis(3 * asked("TANDEM_DELAY_MILLISECONDS", 1_500));
    twins.until_equal(&tandem, patience);
    // What is still on its way comes within the delay, and changes nothing any more once all of it has.
    let queued = |map: &serde_json::Value| {
        map["flows"].as_array().unwrap().iter().any(|flow| flow["queue"]["records"] != 0)
    };
    std::thread::sleep(patience - PATIENCE + Duration::from_secs(1));
    tandem.until(&["map", "show", "accounts"], |map| !queued(map));
    twins.until_equal(&tandem, patience);
    also(twins);
    let found = tandem.ok(&["map", "show", "accounts"])["conflicts"].as_u64().unwrap();
    assert!(found > 0, "somebody must have met");
    twins.no_error(&tandem);
    let flows = tandem.ok(&["map", "show", "accounts"])["flows"].clone();
    let head = |app: &str| {
        let flow = flows.as_array().unwrap().iter().find(|flow| flow["source"] == app).unwrap();
        flow["queue"]["head_seq"].as_u64().unwrap()
    };
    let made = changes.each_ref().map(|made| made.load(Ordering::Relaxed));
    [(head("erp"), made[0], head("erp")), (head("crm"), made[1], head("erp"))]
}

async fn write(twins: &Twins, (side, app): (usize, &str), over: &AtomicBool, changes: &AtomicU64) {
    let client = twins.server.connect(app).await;
    let mut random = 17 + side as u64;
    let mut below = |n: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    while !over.load(Ordering::Relaxed) {
        // One of ten is a record that both sides want.
        let id = match below(10) {
            0 => below(10),
            _ => 1_000 * (side as u64 + 1) + below(200),
        };
        let statement = match below(8) {
            0 => format!("DELETE FROM accounts WHERE id = {id}"),
            _ => format!(
                "INSERT INTO accounts VALUES ({id}, '{app}', {0}, now()) ON CONFLICT (id) DO UPDATE
                 SET name = excluded.name, cents = excluded.cents, at = excluded.at",
                below(1_000_000)
            ),
        };
        // A moment may come in which our own write holds the record.
        match client.execute(&statement, &[]).await {
            Ok(rows) => changes.fetch_add(rows, Ordering::Relaxed),
            Err(error) => panic!("{app}: {error}"),
        };
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}
