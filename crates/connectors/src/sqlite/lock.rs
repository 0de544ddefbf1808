//! The lock that lets one engine at a time change what is captured: a file beside the database, locked by the
//! operating system, so that it is free as soon as its holder is gone, however it went.
//!
//! Not the database file itself: whoever closes any handle of it drops all of SQLite's own locks in this
//! process (<https://www.sqlite.org/howtocorrupt.html>, 2.2).

use super::trouble::fault;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use tandem_core::{Fault, FaultClass};

/// The lock, held.
#[derive(Debug)]
pub(super) struct OwnerLock {
    path: PathBuf,
    _file: File,
}

impl OwnerLock {
    pub(super) fn take(database: &Path) -> Result<Self, Fault> {
        let mut name = database.as_os_str().to_owned();
        name.push("-tandem-lock");
        let path = PathBuf::from(name);
        let refused = |error: &std::io::Error| {
            let class = match error.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    FaultClass::Permission
                }
                _ => FaultClass::Unavailable,
            };
            fault(class, "lock the app", &error.to_string())
        };
        // A holder that leaves removes the file: what we then hold is a file without a name, and we try again.
        for _ in 0..8 {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(|error| refused(&error))?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => return Ok(Self { path, _file: file }),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let message = "another engine is at work on this app";
                    return Err(fault(FaultClass::Fenced, "lock the app", message));
                }
                Err(TryLockError::Error(error)) => return Err(refused(&error)),
            }
        }
        Err(fault(FaultClass::Conflict, "lock the app", "the lock file comes and goes"))
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        // Removed while the lock is held: nobody can take a lock on it that would be worth something.
        let _stays_behind = std::fs::remove_file(&self.path);
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |a: std::fs::Metadata, b: std::fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().and_then(|open| std::fs::metadata(path).map(|named| same(open, named))).unwrap_or(false)
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    // An open file cannot be removed there.
    true
}
