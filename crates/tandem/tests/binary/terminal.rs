//! The command line as a person at a terminal has it.

use crate::house::{PATIENCE, Server};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

/// What a terminal makes of it is an interrupt.
pub(crate) const CTRL_C: &str = "\u{3}";

/// The command line at a terminal; killed with the test.
pub(crate) struct Terminal {
    child: Child,
    typed: ChildStdin,
    told: mpsc::Receiver<Vec<u8>>,
    /// All that it has said.
    pub(crate) seen: String,
}

impl Terminal {
    /// Asks a server.
    pub(crate) fn asks(server: &Server, args: &str) -> Self {
        Self::new(server.folder(), &server.state(), &format!("{args} --server {}", server.url))
    }

    /// Anything else.
    pub(crate) fn new(folder: &Path, state: &Path, args: &str) -> Self {
        // `script` gives a program a terminal, and goes on with what it is given itself. It asks a shell for it,
        // which must give way: one that stays is interrupted together with what it runs, and says how *it* ended.
        let line = format!("exec {} {args}", env!("CARGO_BIN_EXE_tandem"));
        let mut child = Command::new("script")
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .current_dir(folder)
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .env_remove("TANDEM_TOKEN")
            .env("XDG_STATE_HOME", state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (typed, mut out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut part) {
                let _ = tell.send(part[..read].to_vec());
            }
        });
        Self { child, typed, told, seen: String::new() }
    }

    #[track_caller]
    pub(crate) fn until(&mut self, said: &str) {
        self.until_often(said, 1);
    }

    /// Waits until it has said something so often.
    #[track_caller]
    pub(crate) fn until_often(&mut self, said: &str, times: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.seen.matches(said).count() < times {
            match self.told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(part) => self.seen.push_str(&String::from_utf8_lossy(&part)),
                Err(_) => panic!("it does not say {said:?} {times} times: {:?}", self.seen),
            }
        }
    }

    /// Types a line, and says how it ended and what it said.
    pub(crate) fn end(mut self, line: &str) -> (Option<i32>, String) {
        writeln!(self.typed, "{line}").unwrap();
        let code = self.child.wait().unwrap().code();
        self.told.iter().for_each(|part| self.seen.push_str(&String::from_utf8_lossy(&part)));
        (code, std::mem::take(&mut self.seen))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
