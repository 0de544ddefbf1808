//! The door to the engine: the only thing that a server or a test holds.

use crate::env::Env;
use crate::request::{Accepted, Rejected, Request};
use crate::view::{ActivityEntry, Page, QueuedRecord, Snapshot};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tandem_core::connect::Connector;
use tandem_core::lifecycle::Phase;
use tandem_core::map::TableMap;
use tandem_core::{AppName, Finding, MapName, Seq};
use tokio::sync::watch;

/// What an engine is started with.
pub struct Setup {
    /// Where journals and store live. Made if it is not there; locked as long as the engine lives.
    pub data_dir: PathBuf,
    /// The apps, as the binary knows how to reach them.
    pub apps: BTreeMap<AppName, Arc<dyn Connector>>,
    /// The maps that are declared.
    pub maps: Vec<TableMap>,
    /// Time, tasks, chance.
    pub env: Arc<dyn Env>,
}

/// Why an engine could not start. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another engine works on the data folder.
    #[error(
        "another engine is at work on the data folder {0}; stop it first, or give this one a folder of its own"
    )]
    Locked(PathBuf),
    /// The data folder cannot be used.
    #[error("{operation}: {message}")]
    Data {
        /// What we were doing.
        operation: String,
        /// What the disk or the store said.
        message: String,
        /// What mends it.
        fix: String,
    },
    /// The declared maps cannot be.
    #[error("the maps cannot be used: {}", .0.iter().map(|f| format!("{}: {}", f.place, f.message)).collect::<Vec<_>>().join("; "))]
    Maps(Vec<Finding>),
}

/// Which queued records to list.
#[derive(Debug, Clone, Default)]
pub struct QueueQuery {
    /// Only the record with exactly this integration key: its parts as text, in the map's order.
    pub key: Option<Vec<String>>,
    /// Only what comes after this Seq.
    pub after: Seq,
    /// At most so many.
    pub limit: usize,
}

/// Which activity to list: the newest first, or with `after` what came since.
#[derive(Debug, Clone, Default)]
pub struct ActivityQuery {
    /// Only entries about this map.
    pub map: Option<MapName>,
    /// Only entries with a higher number, oldest first: for following.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: usize,
}

/// A running engine. Cheap to clone; ends with [`Engine::shutdown`].
#[derive(Clone)]
pub struct Engine {
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Engine {
    /// Starts an engine: opens the data folder, recovers, and goes on where it was.
    pub async fn start(_setup: Setup) -> Result<Engine, StartError> {
        Err(StartError::Maps(Vec::new()))
    }

    /// What there is now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// What there is, and each time that it changes (at most some ten times a second).
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// Does a request, all or nothing. Returns when it is recorded; what it starts goes on.
    pub async fn act(&self, _request: Request) -> Result<Accepted, Rejected> {
        Err(Rejected::ShuttingDown)
    }

    /// Ends when the map is in a phase of that name and not pausing.
    pub async fn wait(&self, _map: &MapName, _phase: Phase, _limit: Duration) -> Result<(), Rejected> {
        Err(Rejected::ShuttingDown)
    }

    /// Queued records of a map, oldest first.
    pub async fn queue(&self, _map: &MapName, _query: QueueQuery) -> Result<Page<QueuedRecord>, Rejected> {
        Err(Rejected::ShuttingDown)
    }

    /// The activity log.
    pub async fn activity(&self, _query: ActivityQuery) -> Result<Page<ActivityEntry>, Rejected> {
        Err(Rejected::ShuttingDown)
    }

    /// Checks the declared maps against their apps: schemas, keys, rights, settings.
    pub async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    /// Ends every task, rolls back what is open, and closes the data folder. Within 10 s.
    pub async fn shutdown(&self) {}
}

/// Checks maps against their apps without an engine: what `tandem check` does.
pub async fn check(_apps: &BTreeMap<AppName, Arc<dyn Connector>>, _maps: &[TableMap]) -> Vec<Finding> {
    Vec::new()
}
