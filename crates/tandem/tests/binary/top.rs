//! `tandem top`: once for pipes, in its place on a terminal, and how it ends.

use crate::house::{House, PATIENCE, Server, running};
use crate::terminal::{CTRL_C, Terminal};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Something that runs, what it has written so far, and where it is written to.
struct Running {
    child: Child,
    written: Arc<Mutex<String>>,
}

impl Running {
    fn start(house: &House, mut command: Command) -> Self {
        let mut child = command
            .current_dir(house.path())
            .env("XDG_STATE_HOME", house.path().join("state"))
            .env_remove("TANDEM_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let written: Arc<Mutex<String>> = Arc::default();
        let (mut from, to) = (child.stdout.take().unwrap(), written.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Self { child, written }
    }

    /// Waits until it has written this so often.
    #[track_caller]
    fn until(&self, text: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.written.lock().unwrap().matches(text).count() < times {
            assert!(Instant::now() < deadline, "{text:?} is not there {times} times: {:?}", self.written);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for its end, and returns its code and what it said.
    #[track_caller]
    fn ended(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut said = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                return (status.code(), said);
            }
            assert!(Instant::now() < deadline, "it goes on: {:?}", self.written);
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn top(server: &Server) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(["top", "--server", &server.url]);
    command
}

#[test]
fn all_maps_are_shown_at_once_with_how_fast_they_go() {
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "pause", "orders", "--wait"]);
    let erp = house.app("erp");
    erp.execute("INSERT INTO customers VALUES ('K', 'somebody')", []).unwrap();
    erp.execute("INSERT INTO orders VALUES (1, 'K', 5)", []).unwrap();
    server.until(&["queue", "stats", "orders"], |stats| stats["records"] == 1);
    // Somebody writes as long as it looks, and a little at a time.
    let (looks, erp) = (Arc::new(()), house.app("erp"));
    let while_it_looks = Arc::downgrade(&looks);
    let writer = std::thread::spawn(move || {
        let mut no = 0;
        while while_it_looks.upgrade().is_some() {
            no += 1;
            erp.execute("INSERT INTO customers VALUES (?1, 'somebody')", [format!("C{no}")]).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let seen = server.ok(&["top", "--once"]);
    drop(looks);
    writer.join().unwrap();
    let items = seen["items"].as_array().unwrap();
    let [customers, orders] = items.as_slice() else { panic!("{seen}") };
    let state = |map: &serde_json::Value| {
        ["name", "state", "direction", "left", "right"].map(|field| map[field].as_str().unwrap().to_owned())
    };
    assert_eq!(state(customers), ["customers", "running", "to_right", "erp", "crm"]);
    assert_eq!(state(orders), ["orders", "paused", "to_right", "erp", "crm"]);
    assert!(customers["rate"].as_f64().unwrap() > 0.0, "{seen}");
    assert_eq!((&orders["queued"], &orders["rate"], &orders["errors"]), (&1.into(), &0.0.into(), &0.into()));
    assert!(orders["lag_seconds"].is_u64() && orders["queued_bytes"].as_u64().unwrap() > 0, "{seen}");

    let table = server.tandem(&["top", "--once"]).ended(0, "").out;
    assert!(table.contains("2 maps: 1 running, 1 paused") && !table.contains('\u{1b}'), "{table}");
    let orders = table.lines().find(|line| line.starts_with("orders")).unwrap();
    let words: Vec<&str> = orders.split_whitespace().collect();
    assert_eq!(words[1..6], ["paused", "erp", "→", "crm", "1"], "{table}");
}

#[test]
fn on_a_terminal_the_picture_stays_in_its_place_until_it_is_interrupted() {
    let house = House::new();
    let server = house.serve();
    let mut terminal = Terminal::asks(&server, "top");
    // Two maps, the heads of the columns, and the line above them.
    terminal.until_often("\u{1b}[4A\u{1b}[J", 2);
    terminal.until_often("2 maps: 2 not_running", 3);
    let (code, seen) = terminal.end(CTRL_C);
    assert_eq!(code, Some(0), "{seen:?}");
    assert!(seen.ends_with('\n'), "what comes next has a line of its own: {seen:?}");
}

#[test]
fn it_ends_with_8_when_the_server_goes() {
    let house = House::new();
    let server = house.serve();
    let watching = Running::start(&house, top(&server));
    watching.until("MAP ", 2);
    server.kill();
    let written = watching.written.clone();
    let (code, said) = watching.ended();
    assert_eq!(code, Some(8), "{said} {written:?}");
    assert!(said.contains("no server answers at"), "{said}");
    assert!(!written.lock().unwrap().contains('\u{1b}'), "{written:?}");
}
