//! The demo's two apps: their files, their tables, and the config that keeps them in step.

use rusqlite::Connection;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a user of the apps waits for another's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The ERP: where people work.
const ERP: &str = "
CREATE TABLE IF NOT EXISTS customers (
  customer_no  TEXT PRIMARY KEY,
  name         TEXT NOT NULL,
  city         TEXT,
  credit_cents INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS contacts (
  contact_no  TEXT PRIMARY KEY,
  customer_no TEXT NOT NULL REFERENCES customers (customer_no),
  name        TEXT NOT NULL,
  email       TEXT
);
CREATE TABLE IF NOT EXISTS orders (
  order_no    INTEGER PRIMARY KEY,
  customer_no TEXT NOT NULL REFERENCES customers (customer_no),
  status      TEXT NOT NULL,
  total_cents INTEGER NOT NULL,
  note        TEXT
);
";

/// The CRM: the same things under other names.
const CRM: &str = "
CREATE TABLE IF NOT EXISTS accounts (
  ext_no       TEXT PRIMARY KEY,
  display_name TEXT NOT NULL,
  town         TEXT,
  credit_cents INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS people (
  contact_no TEXT PRIMARY KEY,
  account_no TEXT NOT NULL REFERENCES accounts (ext_no),
  full_name  TEXT NOT NULL,
  email      TEXT
);
CREATE TABLE IF NOT EXISTS orders (
  order_no    INTEGER PRIMARY KEY,
  account_no  TEXT NOT NULL REFERENCES accounts (ext_no),
  status      TEXT NOT NULL,
  total_cents INTEGER NOT NULL,
  note        TEXT
);
";

/// The maps, as anybody would write them.
const MAPS: &str = r#"
[apps.erp]
url = "sqlite:erp.db"

[apps.crm]
url = "sqlite:crm.db"

[[maps]]
name    = "customers"
left    = { app = "erp", table = "customers", key = ["customer_no"] }
right   = { app = "crm", table = "accounts", key = ["ext_no"] }
deletes = "queue"
columns = [
  { left = "customer_no", right = "ext_no" },
  { left = "name", right = "display_name" },
  { left = "city", right = "town" },
  { left = "credit_cents", right = "credit_cents" },
]

[[maps]]
name       = "contacts"
depends_on = ["customers"]
left       = { app = "erp", table = "contacts", key = ["contact_no"] }
right      = { app = "crm", table = "people", key = ["contact_no"] }
deletes    = "queue"
columns = [
  { left = "contact_no", right = "contact_no" },
  { left = "customer_no", right = "account_no" },
  { left = "name", right = "full_name" },
  { left = "email", right = "email" },
]

[[maps]]
name       = "orders"
depends_on = ["customers"]
left       = { app = "erp", table = "orders", key = ["order_no"] }
right      = { app = "crm", table = "orders", key = ["order_no"] }
deletes    = "queue"
columns = [
  { left = "order_no", right = "order_no" },
  { left = "customer_no", right = "account_no" },
  { left = "status", right = "status" },
  { left = "total_cents", right = "total_cents" },
  { left = "note", right = "note" },
]
"#;

/// One of the demo's maps, as the databases have it.
pub(super) struct Pair {
    /// The map.
    pub(super) map: &'static str,
    /// Its table in the ERP.
    pub(super) left: &'static str,
    /// Its table in the CRM.
    pub(super) right: &'static str,
    /// Its columns in the ERP, the key first.
    pub(super) left_columns: &'static str,
    /// Its columns in the CRM, in the same order.
    pub(super) right_columns: &'static str,
}

/// The demo's maps, parents first.
pub(super) const PAIRS: [Pair; 3] = [
    Pair {
        map: "customers",
        left: "customers",
        right: "accounts",
        left_columns: "customer_no, name, city, credit_cents",
        right_columns: "ext_no, display_name, town, credit_cents",
    },
    Pair {
        map: "contacts",
        left: "contacts",
        right: "people",
        left_columns: "contact_no, customer_no, name, email",
        right_columns: "contact_no, account_no, full_name, email",
    },
    Pair {
        map: "orders",
        left: "orders",
        right: "orders",
        left_columns: "order_no, customer_no, status, total_cents, note",
        right_columns: "order_no, account_no, status, total_cents, note",
    },
];

/// The demo's two apps.
pub(super) struct Apps {
    folder: PathBuf,
}

impl Apps {
    /// Makes the apps in a folder, if they are not there yet.
    pub(super) fn create(folder: &Path) -> rusqlite::Result<Self> {
        let apps = Self { folder: folder.to_path_buf() };
        for (file, tables) in [(apps.erp(), ERP), (apps.crm(), CRM)] {
            let database = open(&file)?;
            database.pragma_update(None, "journal_mode", "wal")?;
            database.execute_batch(tables)?;
        }
        Ok(apps)
    }

    /// Writes the config, and says where it is.
    pub(super) fn write_config(&self, listen: SocketAddr) -> std::io::Result<PathBuf> {
        let path = self.folder.join("tandem.toml");
        std::fs::write(&path, format!("[server]\nlisten = \"{listen}\"\n{MAPS}"))?;
        Ok(path)
    }

    /// The ERP's file.
    pub(super) fn erp(&self) -> PathBuf {
        self.folder.join("erp.db")
    }

    /// The CRM's file.
    pub(super) fn crm(&self) -> PathBuf {
        self.folder.join("crm.db")
    }
}

/// Opens an app as its own program would.
pub(super) fn open(file: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(file)?;
    database.busy_timeout(BUSY_TIMEOUT)?;
    database.pragma_update(None, "foreign_keys", true)?;
    Ok(database)
}
