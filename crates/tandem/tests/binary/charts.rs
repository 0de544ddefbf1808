//! How a map's queue was, for pictures of it: the server remembers, so that a page which is opened late has a past.

use crate::house::{House, PATIENCE, Server, running, until_equal};
use crate::http::ask;
use serde_json::Value as Json;
use std::time::{Duration, Instant};

fn history(server: &Server, map: &str) -> Json {
    let answer = ask(server, "GET", &format!("/api/v1/maps/{map}/history"), "", "");
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.body
}

/// The most of a figure in any step, in the fine ones and in the coarse ones.
fn most(history: &Json, name: &str) -> [f64; 2] {
    [0, 1].map(|of| {
        let points = history["steps"][of]["points"].as_array().unwrap();
        points.iter().map(|point| point[name].as_f64().unwrap()).fold(0.0, f64::max)
    })
}

#[test]
fn a_queue_that_is_gone_by_now_is_in_the_history_of_its_map() {
    let house = House::new();
    let server = running(&house);
    server.ok(&["map", "pause", "customers", "--wait"]);
    house
        .app("erp")
        .execute_batch("INSERT INTO customers VALUES ('A', 'Ada'), ('B', 'Bob'), ('C', 'Cyd')")
        .unwrap();
    let stats = server.until(&["queue", "stats", "customers"], |stats| stats["records"] == 3);
    let deadline = Instant::now() + PATIENCE;
    while most(&history(&server, "customers"), "lag_seconds")[1] < 0.2 {
        assert!(Instant::now() < deadline, "{}", history(&server, "customers"));
        std::thread::sleep(Duration::from_millis(50));
    }
    server.ok(&["map", "resume", "customers", "--wait"]);
    assert_eq!(until_equal(&house, "customers"), 3);
    server.until(&["queue", "stats", "customers"], |stats| stats["records"] == 0);

    let seen = history(&server, "customers");
    let steps: Vec<u64> =
        seen["steps"].as_array().unwrap().iter().map(|of| of["step_seconds"].as_u64().unwrap()).collect();
    assert_eq!(steps, [10, 300]);
    assert_eq!(most(&seen, "records"), [3.0, 3.0], "{seen}");
    assert_eq!(most(&seen, "bytes"), [stats["bytes"].as_f64().unwrap(); 2], "{seen}");
    let at = |point: &Json| point["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    for of in [0, 1] {
        let points: Vec<_> = seen["steps"][of]["points"].as_array().unwrap().iter().map(at).collect();
        assert!(points.is_sorted() && !points.is_empty(), "{points:?}");
        let step = i64::try_from(steps[of]).unwrap();
        assert!(
            points.iter().all(|at| at.as_second() % step == 0 && *at <= jiff::Timestamp::now()),
            "{points:?}"
        );
    }
    // The other map had nothing.
    assert_eq!(most(&history(&server, "orders"), "records"), [0.0, 0.0]);
}

#[test]
fn the_history_of_a_map_is_for_whoever_may_see_the_map() {
    let house = House::new();
    let server = house.serve();
    let made = server.tandem(&["token", "create", "bound", "--role", "viewer", "--map", "orders"]);
    let token = format!("Authorization: Bearer {}\r\n", made.ended(0, "").out.trim());
    let asked = |map: &str| ask(&server, "GET", &format!("/api/v1/maps/{map}/history"), &token, "");
    assert_eq!(asked("orders").status, 200);
    // Answered like one that there is not.
    assert_eq!(
        (asked("customers").status, asked("customers").body["code"].clone()),
        (404, "map_unknown".into())
    );
}
