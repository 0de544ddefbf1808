//! What is asked wrongly, and what this version cannot do, ends with its exit code and says what to do.

use crate::house::tandem;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;

/// A port on which nobody can listen without rights.
const NOBODY: &str = "http://127.0.0.1:1";

fn check(args: &[&str], code: i32, said: &str) {
    tandem(Path::new("."), args).ended(code, said);
}

#[test]
fn without_a_server_every_verb_of_one_ends_with_8() {
    for args in [
        &["map", "list"][..],
        &["map", "show", "m"],
        &["map", "run", "m", "--no-initial-sync"],
        &["map", "pause", "m", "--wait"],
        &["map", "resume", "m"],
        &["map", "stop", "m"],
        &["map", "wait", "m", "--for", "running"],
        &["queue", "list", "m"],
        &["queue", "stats", "m", "-o", "json"],
        &["queue", "show", "m", "1"],
        &["queue", "export", "m"],
        &["error", "list"],
        &["error", "show", "1"],
        &["activity"],
        &["top"],
        &["top", "--once"],
    ] {
        let all: Vec<&str> = args.iter().copied().chain(["--server", NOBODY]).collect();
        check(&all, 8, "no server answers at http://127.0.0.1:1");
    }
}

/// A script that waits for the server must not take what listens on its port meanwhile for a failure of what it asked.
#[test]
fn another_program_in_the_servers_place_ends_with_8_as_none_does() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut asked in listener.incoming().map(Result::unwrap) {
            // All of the head is read first: who closes with unread bytes resets the connection.
            let mut lines = BufReader::new(asked.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let _ =
                asked.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello");
        }
    });
    for args in [&["map", "list"][..], &["app", "list"], &["error", "list"], &["top", "--once"]] {
        let all: Vec<&str> = args.iter().copied().chain(["--server", &address]).collect();
        let said = format!("{address} answers, but not as a Tandem server does");
        tandem(Path::new("."), &all).ended(8, &said).ended(8, "look at what listens there");
    }
}

#[test]
fn what_is_asked_wrongly_ends_with_2() {
    check(&["map", "dance"], 2, "unrecognized subcommand");
    check(&["map", "pause"], 2, "required arguments");
    check(&["map", "wait", "m", "--for", "happy"], 2, "possible values");
    check(&["map", "pause", "m", "--timeout", "soon"], 2, "write it as 60s, 5m or 1h30m");
    check(&["map", "list", "--server", "ftp://127.0.0.1:7070"], 2, "begins with http:// or https://");
}

#[test]
fn what_this_version_cannot_do_is_said_and_ends_with_2() {
    check(&["map", "stop", "m", "--queue", "preserve", "--force"], 2, "its queue has nowhere to go");
}

#[test]
fn what_loses_data_needs_a_yes() {
    check(&["map", "stop", "m", "--queue", "discard"], 2, "add --yes");
    check(&["map", "resume", "m", "--mode", "skip-discard"], 2, "add --yes");
    check(&["map", "skip", "m", "--discard"], 2, "add --yes");
    check(&["map", "skip", "m"], 2, "<--preserve|--discard>");
}

#[test]
fn version_and_completion_need_nothing() {
    let ran = tandem(Path::new("."), &["version", "-o", "json"]).ended(0, "");
    assert_eq!(ran.json()["version"], env!("CARGO_PKG_VERSION"));
    let ran = tandem(Path::new("."), &["completion", "bash"]).ended(0, "");
    assert!(ran.out.contains("complete -F"), "{}", ran.out);
}
