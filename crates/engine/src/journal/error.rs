//! What can go wrong with the journal, and what a person can do about it.

use std::fmt;
use std::io;

/// Trouble with the journal: class, what we were doing, what happened, what mends it. Never a record's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalError {
    class: Class,
    operation: String,
    message: String,
    fix: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Disk,
    Full,
    Poisoned,
    Corrupt,
    Foreign,
    Missing,
    TooLarge,
    Misuse,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.message)
    }
}

impl std::error::Error for JournalError {}

impl JournalError {
    fn new(class: Class, operation: String, message: impl Into<String>) -> Self {
        let fix = match class {
            Class::Disk => {
                "look at the disk and the system log, then restart: the source still holds what was not acknowledged"
            }
            Class::Full => "free space on the disk of the data folder, then restart",
            Class::Poisoned => "see the first error of this stream; restart when its cause is mended",
            Class::Corrupt => {
                "restore the data folder from a backup, or start it anew: maps will report a gap and offer a new initial sync"
            }
            Class::Foreign => "start with the data folder and the version of Tandem that wrote this journal",
            Class::Missing => "a new initial sync, or verify with repair",
            Class::TooLarge => "make the record smaller in the source, or leave its table out of the map",
            Class::Misuse => "this is a bug in Tandem: please report it",
        };
        Self { class, operation, message: message.into(), fix }
    }

    /// A failed call of the disk.
    pub(crate) fn io(operation: &str, path: &str, error: &io::Error) -> Self {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let class = if full { Class::Full } else { Class::Disk };
        Self::new(class, format!("{operation} {path}"), error.to_string())
    }

    /// The store, which knows the journal's folder, failed.
    pub(crate) fn store(message: &str) -> Self {
        Self::new(Class::Disk, "save the stream".to_owned(), message)
    }

    /// The journal stopped at an earlier error.
    pub(crate) fn poisoned(operation: &str, first: &str) -> Self {
        Self::new(Class::Poisoned, operation.to_owned(), format!("the journal stopped at: {first}"))
    }

    /// Bytes on disk are not what we wrote.
    pub(crate) fn corrupt(path: &str, offset: u64, what: impl fmt::Display) -> Self {
        Self::new(Class::Corrupt, format!("read {path} at byte {offset}"), what.to_string())
    }

    /// The folder holds the journal of someone else, or of a later version.
    pub(crate) fn foreign(path: &str, what: impl Into<String>) -> Self {
        Self::new(Class::Foreign, format!("open {path}"), what)
    }

    /// Records were asked for that are no longer kept.
    pub(crate) fn missing(operation: &str, what: impl Into<String>) -> Self {
        Self::new(Class::Missing, operation.to_owned(), what)
    }

    /// One record is larger than a frame may be.
    pub(crate) fn too_large(bytes: usize) -> Self {
        Self::new(Class::TooLarge, "append".into(), format!("a record of {bytes} bytes is beyond the limit"))
    }

    /// A call against the contract.
    pub(crate) fn misuse(operation: &str, what: impl Into<String>) -> Self {
        Self::new(Class::Misuse, operation.to_owned(), what)
    }

    /// What we were doing.
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// What a person can do about it.
    pub fn fix(&self) -> &'static str {
        self.fix
    }

    /// The disk failed.
    pub fn is_disk(&self) -> bool {
        self.class == Class::Disk
    }

    /// The disk is full.
    pub fn is_full(&self) -> bool {
        self.class == Class::Full
    }

    /// An earlier error stopped the journal: nothing further becomes durable until it is opened again.
    pub fn is_poisoned(&self) -> bool {
        self.class == Class::Poisoned
    }

    /// Acknowledged bytes are damaged.
    pub fn is_corrupt(&self) -> bool {
        self.class == Class::Corrupt
    }

    /// The journal belongs to another data folder or stream, or was written by a later version.
    pub fn is_foreign(&self) -> bool {
        self.class == Class::Foreign
    }

    /// The records asked for are no longer kept.
    pub fn is_missing(&self) -> bool {
        self.class == Class::Missing
    }

    /// A record is too large to be journaled. Nothing was written.
    pub fn is_too_large(&self) -> bool {
        self.class == Class::TooLarge
    }

    /// The caller broke the contract of a call. Nothing was done.
    pub fn is_misuse(&self) -> bool {
        self.class == Class::Misuse
    }
}
