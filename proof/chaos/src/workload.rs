//! The users of the source: transactions over parents and children, on few keys, so that they meet often.
//!
//! Each transaction takes its place in the order of commits from the clock, stores it in every row that it writes,
//! and leaves a token in `committed`. A token whose COMMIT was answered must be there at the end; one whose answer
//! was lost may be or not.

use crate::random::Random;
use crate::world::PAIRS;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

/// Users at the same time.
const USERS: usize = 4;
/// Keys of parents and of children that are in use at the same time.
const PARENTS: u64 = 30;
const CHILDREN: u64 = 90;
/// Keys from here on are given once: rows without children that come and go in large numbers.
pub(crate) const FRESH: u64 = 1_000_000;

/// The users, at work.
pub(crate) struct Workload {
    runtime: tokio::runtime::Runtime,
    stop: Arc<AtomicBool>,
    users: Vec<JoinHandle<Done>>,
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Tokens of transactions whose COMMIT was answered.
    pub(crate) acknowledged: Vec<String>,
    /// COMMITs without an answer.
    pub(crate) unanswered: u64,
    /// Statements that the source refused: there should be none but for servers that went away.
    pub(crate) refused: Vec<String>,
}

impl Workload {
    /// Sends users to work.
    pub(crate) fn start(url: &str, random: &mut Random, pause_ms: u64) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let stop = Arc::new(AtomicBool::new(false));
        let config: Config = url.parse()?;
        let users = (0..USERS)
            .map(|number| {
                let user = User { number, random: random.fork(), pause_ms, written: 0 };
                runtime.spawn(user.work(config.clone(), stop.clone()))
            })
            .collect();
        Ok(Self { runtime, stop, users })
    }

    /// Lets every user finish, and sums up.
    pub(crate) fn stop(self) -> Done {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Done::default();
        for user in self.users {
            let done = self.runtime.block_on(user).expect("a user's work does not panic");
            all.acknowledged.extend(done.acknowledged);
            all.unanswered += done.unanswered;
            all.refused.extend(done.refused);
        }
        all
    }
}

struct User {
    number: usize,
    random: Random,
    pause_ms: u64,
    written: u64,
}

impl User {
    async fn work(mut self, config: Config, stop: Arc<AtomicBool>) -> Done {
        let mut done = Done::default();
        let mut client: Option<Client> = None;
        while !stop.load(Ordering::Relaxed) {
            let Some(connected) = &client else {
                if let Ok((fresh, connection)) = config.connect(NoTls).await {
                    tokio::spawn(connection);
                    client = Some(fresh);
                } else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                continue;
            };
            self.written += 1;
            let token = format!("{}-{}", self.number, self.written);
            let (body, ends) = self.transaction(&token);
            if let Err(error) = connected.batch_execute(&body).await {
                // Constraints hold and nobody deadlocks: the clock's lock comes first.
                if let Some(refused) = error.as_db_error()
                    && !matches!(refused.code().code().get(..2), Some("57" | "58"))
                {
                    done.refused.push(format!("{refused}: {body}"));
                }
                client = None;
                continue;
            }
            match connected.batch_execute(ends).await {
                Ok(()) if ends == "COMMIT" => done.acknowledged.push(token),
                Ok(()) => {}
                Err(_) => {
                    done.unanswered += 1;
                    client = None;
                }
            }
            tokio::time::sleep(self.random.millis(0, 2 * self.pause_ms + 1)).await;
        }
        done
    }

    /// A transaction's statements, and how it ends.
    fn transaction(&mut self, token: &str) -> (String, &'static str) {
        let mut sql = "BEGIN;".to_owned();
        if self.random.percent(20) {
            // Work before the clock is asked: such transactions overlap in the source's log.
            let pair = self.pair();
            let note = self.note();
            let _ = write!(
                sql,
                "INSERT INTO parent_{pair} VALUES (nextval('fresh'), 0, nextval('versions'), {note});"
            );
        }
        sql += "UPDATE clock SET n = n + 1;";
        if self.random.within(0, 1_000) < 4 {
            self.many(&mut sql);
        }
        for _ in 0..self.random.within(1, 5) {
            if self.random.percent(10) {
                sql += "SAVEPOINT s;";
                self.operation(&mut sql);
                sql += "ROLLBACK TO s;";
            } else {
                self.operation(&mut sql);
            }
        }
        let _ = write!(sql, "INSERT INTO committed SELECT n, '{token}' FROM clock;");
        let ends = if self.random.percent(4) { "ROLLBACK" } else { "COMMIT" };
        (sql, ends)
    }

    /// More records than one batch holds: they are applied piece by piece in one destination transaction.
    fn many(&mut self, sql: &mut String) {
        let (pair, count) = (self.pair(), self.random.within(1_000, 3_500));
        let _ = match self.random.within(0, 4) {
            0 | 1 => write!(
                sql,
                "INSERT INTO parent_{pair} SELECT nextval('fresh'), n, nextval('versions'), 'many' FROM clock, generate_series(1, {count});"
            ),
            2 => write!(
                sql,
                "UPDATE parent_{pair} SET n = (SELECT n FROM clock), v = nextval('versions') WHERE id >= {FRESH};"
            ),
            _ => write!(sql, "DELETE FROM parent_{pair} WHERE id >= {FRESH};"),
        };
    }

    fn operation(&mut self, sql: &mut String) {
        let (pair, note) = (self.pair(), self.note());
        let (parent, other) = (self.random.within(1, PARENTS), self.random.within(1, PARENTS));
        let (child, moved) = (self.random.within(1, CHILDREN), self.random.within(1, CHILDREN));
        let stamp = "n = (SELECT n FROM clock), v = nextval('versions')";
        let values = format!("(SELECT n FROM clock), nextval('versions'), {note}");
        let set = "n = excluded.n, v = excluded.v, note = excluded.note";
        let _ = match self.random.within(0, 100) {
            0..22 => write!(
                sql,
                "INSERT INTO parent_{pair} VALUES ({parent}, {values}) ON CONFLICT (id) DO UPDATE SET {set};"
            ),
            22..50 => write!(
                sql,
                "INSERT INTO child_{pair} SELECT {child}, id, {values} FROM parent_{pair} WHERE id = {parent}
                 ON CONFLICT (id) DO UPDATE SET parent = excluded.parent, {set};"
            ),
            50..58 => write!(sql, "UPDATE parent_{pair} SET {stamp} WHERE id = {parent};"),
            58..68 => write!(sql, "UPDATE child_{pair} SET {stamp} WHERE id = {child};"),
            68..74 => write!(
                sql,
                "UPDATE child_{pair} SET parent = {other}, {stamp} WHERE parent = {parent}
                 AND EXISTS (SELECT FROM parent_{pair} WHERE id = {other});"
            ),
            74..82 => write!(sql, "DELETE FROM child_{pair} WHERE id = {child};"),
            82..88 => write!(
                sql,
                "DELETE FROM child_{pair} WHERE parent = {parent}; DELETE FROM parent_{pair} WHERE id = {parent};"
            ),
            88..92 => write!(
                sql,
                "UPDATE child_{pair} SET id = {moved}, {stamp} WHERE id = {child}
                 AND NOT EXISTS (SELECT FROM child_{pair} WHERE id = {moved});"
            ),
            92..96 => write!(
                sql,
                "UPDATE parent_{pair} SET id = {other}, {stamp} WHERE id = {parent}
                 AND NOT EXISTS (SELECT FROM parent_{pair} WHERE id = {other})
                 AND NOT EXISTS (SELECT FROM child_{pair} WHERE parent = {parent});"
            ),
            _ => write!(
                sql,
                "DELETE FROM child_{pair} WHERE id = {child};
                 INSERT INTO child_{pair} SELECT {child}, id, {values} FROM parent_{pair} WHERE id = {parent};"
            ),
        };
    }

    fn pair(&mut self) -> u64 {
        self.random.within(0, PAIRS as u64)
    }

    /// Sometimes nothing, mostly short, now and then so long that the log leaves it out while it does not change.
    fn note(&mut self) -> String {
        let words = match self.random.within(0, 100) {
            0..5 => return "NULL".to_owned(),
            5..8 => 160,
            _ => self.random.within(0, 4),
        };
        let first = self.random.within(0, 1 << 40);
        format!(
            "(SELECT coalesce(string_agg(md5((i + {first})::text), ''), '') FROM generate_series(1, {words}) i)"
        )
    }
}
