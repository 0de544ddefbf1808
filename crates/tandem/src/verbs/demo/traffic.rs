//! Plausible traffic on the ERP: customers come with a contact, order, move, and now and then leave with all
//! that they have, in one transaction.

use super::apps::{Apps, open};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// About so many transactions a second.
const PER_SECOND: u64 = 25;
/// From so many orders on, as many go as come.
const ORDERS_MAX: i64 = 2_000;

const NAMES: [&str; 12] =
    ["Ada", "Bo", "Chidi", "Dana", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jun", "Klara", "Žofie"];
const TRADES: [&str; 8] =
    ["Bakery", "Bicycles", "Books", "Coffee", "Furniture", "Gardens", "Instruments", "Tools"];
const CITIES: [&str; 8] = ["Brno", "Gdańsk", "Graz", "Köln", "Lyon", "Oulu", "Porto", "Utrecht"];
const STATUSES: [&str; 4] = ["picked", "shipped", "delivered", "returned"];

/// A writer on a thread of its own.
pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    ended: watch::Receiver<Option<Result<(), String>>>,
}

impl Traffic {
    /// Starts to write.
    pub(super) fn start(apps: &Apps) -> Result<Self, String> {
        let mut database = open(&apps.erp()).map_err(|why| why.to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let (tell, ended) = watch::channel(None);
        let write = move || {
            let done = write_until(&mut database, &stopped);
            tell.send_replace(Some(done.map_err(|why| format!("write to the ERP: {why}"))));
        };
        let thread = std::thread::Builder::new().name("demo-traffic".to_owned());
        thread.spawn(write).map_err(|why| why.to_string())?;
        Ok(Self { stop, ended })
    }

    /// Ends only if the writer failed.
    pub(super) async fn failed(&self) -> Result<(), String> {
        let mut ended = self.ended.clone();
        let done = ended.wait_for(Option::is_some).await.map(|done| done.clone());
        done.ok().flatten().unwrap_or_else(|| Err("the writer is gone".to_owned()))
    }

    /// Stops, and returns when the last transaction is committed.
    pub(super) async fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut ended = self.ended.clone();
        // An error means that the writer is gone, which is what is waited for.
        let _ = ended.wait_for(Option::is_some).await;
    }
}

fn write_until(database: &mut Connection, stop: &AtomicBool) -> rusqlite::Result<()> {
    let mut dice = Dice::new();
    while !stop.load(Ordering::Relaxed) {
        let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        work(&transaction, &mut dice)?;
        transaction.commit()?;
        std::thread::sleep(Duration::from_millis(dice.below(2 * 1_000 / PER_SECOND)));
    }
    Ok(())
}

/// What one user does in one transaction.
fn work(erp: &Transaction<'_>, dice: &mut Dice) -> rusqlite::Result<()> {
    let any_customer = "SELECT customer_no FROM customers ORDER BY random() LIMIT 1";
    let customer: Option<String> = erp.query_row(any_customer, [], |row| row.get(0)).optional()?;
    let Some(customer) = customer else { return new_customer(erp, dice) };
    match dice.below(100) {
        0..12 => new_customer(erp, dice),
        12..20 => new_contact(erp, dice, &customer),
        20..55 => new_order(erp, dice, &customer),
        55..75 => {
            let sql = "UPDATE orders SET status = ?1 WHERE order_no IN (SELECT order_no FROM orders ORDER BY random() LIMIT 1)";
            erp.execute(sql, [dice.pick(&STATUSES)]).map(drop)
        }
        75..88 => {
            let sql =
                "UPDATE customers SET city = ?1, credit_cents = credit_cents + ?2 WHERE customer_no = ?3";
            let more = i64::try_from(dice.below(50_000)).unwrap_or(0);
            erp.execute(sql, params![dice.pick(&CITIES), more, customer]).map(drop)
        }
        88..91 => {
            let sql = "UPDATE contacts SET email = NULL WHERE contact_no IN (SELECT contact_no FROM contacts ORDER BY random() LIMIT 1)";
            erp.execute(sql, []).map(drop)
        }
        91..98 => old_orders_go(erp),
        _ => customer_leaves(erp, &customer),
    }
}

fn new_customer(erp: &Transaction<'_>, dice: &mut Dice) -> rusqlite::Result<()> {
    let number = format!("C-{:08x}", dice.below(u64::from(u32::MAX)));
    let name = format!("{} {}", dice.pick(&NAMES), dice.pick(&TRADES));
    let sql = "INSERT OR IGNORE INTO customers (customer_no, name, city) VALUES (?1, ?2, ?3)";
    erp.execute(sql, params![number, name, dice.pick(&CITIES)])?;
    new_contact(erp, dice, &number)
}

fn new_contact(erp: &Transaction<'_>, dice: &mut Dice, customer: &str) -> rusqlite::Result<()> {
    let number = format!("P-{:08x}", dice.below(u64::from(u32::MAX)));
    let name = dice.pick(&NAMES);
    let email = format!("{}@{}.example", name.to_lowercase(), customer.to_lowercase());
    let sql = "INSERT OR IGNORE INTO contacts (contact_no, customer_no, name, email) VALUES (?1, ?2, ?3, ?4)";
    erp.execute(sql, params![number, customer, name, email]).map(drop)
}

fn new_order(erp: &Transaction<'_>, dice: &mut Dice, customer: &str) -> rusqlite::Result<()> {
    let total = i64::try_from(dice.below(500_000)).unwrap_or(0);
    let note = (dice.below(3) == 0).then(|| format!("for {}", dice.pick(&NAMES)));
    let sql = "INSERT INTO orders (customer_no, status, total_cents, note) VALUES (?1, 'new', ?2, ?3)";
    erp.execute(sql, params![customer, total, note]).map(drop)
}

fn old_orders_go(erp: &Transaction<'_>) -> rusqlite::Result<()> {
    let orders: i64 = erp.query_row("SELECT count(*) FROM orders", [], |row| row.get(0))?;
    let some = if orders > ORDERS_MAX { 10 } else { 1 };
    let sql = "DELETE FROM orders WHERE order_no IN (SELECT order_no FROM orders ORDER BY order_no LIMIT ?1)";
    erp.execute(sql, [some]).map(drop)
}

fn customer_leaves(erp: &Transaction<'_>, customer: &str) -> rusqlite::Result<()> {
    for table in ["orders", "contacts", "customers"] {
        erp.execute(&format!("DELETE FROM {table} WHERE customer_no = ?1"), [customer])?;
    }
    Ok(())
}

/// Small chance: xorshift, seeded by the system.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        Self(getrandom::u64().unwrap_or(1).max(1))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let place = self.below(from.len() as u64) as usize;
        from.get(place).copied().unwrap_or_default()
    }
}
