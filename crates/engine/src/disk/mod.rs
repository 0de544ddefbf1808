//! The disk under the data folder, as little of it as the journal needs, so that a simulated one can stand in.
//!
//! Everything that is durable in Tandem rests on three calls and on what they do *not* promise. Bytes that were
//! appended are durable when [`DiskFile::sync`] has returned without an error, and not before. A name that was
//! made, moved or removed is durable when [`Disk::sync_dir`] of its folder has returned. And a sync that failed
//! says nothing about the next one: the kernel may have dropped the dirty pages, and a second sync of the same
//! file may claim success over a hole. Whoever sees an error here must stop using that file.

mod real;
#[cfg(any(test, feature = "simulation"))]
mod simulated;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use real::RealDisk;
#[cfg(any(test, feature = "simulation"))]
pub use simulated::{FailWith, SimulatedDisk};

/// A folder on a disk. Paths are relative to it, with `/` between their parts, and never leave it.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a folder and those above it, durably. It may be there already.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Makes a new, empty file for reading and writing; fails if the name is taken.
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that is there for reading and writing.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// The names in a folder, sorted. A folder that is not there is empty.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Removes a file. One that is not there is an error of kind `NotFound`.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Gives a file another name in one step, in place of the file that had it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// How much room there is.
    fn space(&self) -> io::Result<Space>;
}

/// An open file. May be used by several threads: one appends while another syncs and others read.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all of `bytes` behind the end of the file. After an error any part of them may be there.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;

    /// Writes over bytes that are there (or behind the end, where the gap reads as zero).
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills as much of `buffer` as the file has from `offset` on, and returns how much that was.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Makes the file's bytes and length durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file to `len` bytes. Durable with the next [`sync`](DiskFile::sync).
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// How much room a disk has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What we may still write.
    pub free: u64,
    /// What there is in all.
    pub total: u64,
}

/// Reads `len` bytes at `offset`, or fewer if the file ends before.
pub(crate) fn read_up_to(file: &dyn DiskFile, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    let got = file.read_at(offset, &mut buffer)?;
    buffer.truncate(got);
    Ok(buffer)
}

/// Puts a whole small file in place of the one of that name, so that after a crash either is there, whole.
pub(crate) fn replace(disk: &dyn Disk, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (fresh, place) = (format!("{dir}/{name}.new"), format!("{dir}/{name}"));
    remove_if_there(disk, &fresh)?;
    let file = disk.create(&fresh)?;
    file.append(bytes)?;
    file.sync()?;
    disk.rename(&fresh, &place)?;
    disk.sync_dir(dir)
}

/// Removes a file, which may be gone already.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &str) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
