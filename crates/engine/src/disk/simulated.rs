//! A disk in memory that loses what a real one may lose, and fails when told to.
//!
//! It keeps each file twice, as the page cache and as the platter have it, and a list of the names that no
//! folder sync has made durable. [`SimulatedDisk::crash`] throws the cache away: of the bytes that were not
//! synced any prefix may be left, torn or with a stretch of zeros or garbage inside, and each name change that
//! was not synced may or may not have happened. Dropping all users without a crash is the death of the process
//! alone: the cache stays. One seed is one history.

use super::{Disk, DiskFile, Space};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a scripted failure reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailWith {
    /// The device failed (`EIO`).
    Broken,
    /// The disk is full (`ENOSPC`).
    Full,
}

impl FailWith {
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            FailWith::Broken => 5,
            FailWith::Full => 28,
        })
    }
}

/// The simulated disk; clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct SimulatedDisk(Arc<Mutex<World>>);

#[derive(Debug, Clone, Default)]
struct World {
    random: u64,
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending: Vec<Renaming>,
    writes: u64,
    syncs: u64,
    fail_write: Option<(u64, FailWith)>,
    fail_sync: Option<(u64, FailWith)>,
    /// Handles of an earlier generation are dead: their process did not survive the crash.
    generation: u64,
}

/// A change of names that no folder sync has made durable.
#[derive(Debug, Clone)]
struct Renaming {
    dir: String,
    gone: Option<String>,
    made: Option<(String, usize)>,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    cached: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<(usize, usize)>,
    cut_to: Option<usize>,
}

impl World {
    /// SplitMix64: small, seeded, and good enough to choose what is lost.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random() % (bound as u64 + 1)) as usize
    }

    fn inode(&mut self, at: usize) -> io::Result<&mut Inode> {
        self.files.get_mut(at).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn apply(names: &mut BTreeMap<String, usize>, change: Renaming) {
        change.gone.map(|name| names.remove(&name));
        change.made.map(|(name, inode)| names.insert(name, inode));
    }

    fn rename(&mut self, gone: Option<&str>, made: Option<(&str, usize)>) {
        let dir = dir_of(made.map_or(gone.unwrap_or(""), |(name, _)| name)).to_owned();
        let change = Renaming {
            dir,
            gone: gone.map(str::to_owned),
            made: made.map(|(name, inode)| (name.to_owned(), inode)),
        };
        Self::apply(&mut self.names, change.clone());
        self.pending.push(change);
    }

    fn count_write(&mut self) -> Option<FailWith> {
        self.writes += 1;
        self.fail_write.filter(|(at, _)| *at == self.writes).map(|(_, with)| with)
    }

    fn crash_names(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let prefix = self.below(pending.len());
        let mode = self.below(3);
        for (at, change) in pending.into_iter().enumerate() {
            let kept = match mode {
                0 => false,
                1 => true,
                2 => at < prefix,
                _ => self.below(1) == 1,
            };
            if kept {
                Self::apply(&mut self.durable_names, change);
            }
        }
        self.names = self.durable_names.clone();
    }

    fn crash_file(&mut self, at: usize) {
        let (cut, mode, garbage) = (self.below(1) == 1, self.below(3), self.below(1) == 1);
        let Some(file) = self.files.get_mut(at) else { return };
        let mut file = std::mem::take(file);
        if let Some(len) = file.cut_to.filter(|_| cut) {
            file.durable.truncate(len);
        }
        let synced = file.durable.len();
        let tail = file.cached.len().saturating_sub(synced);
        let kept = match mode {
            0 => 0,
            1 => tail,
            _ => self.below(tail),
        };
        file.durable.resize(synced + kept, 0);
        for (from, to) in std::mem::take(&mut file.dirty) {
            // Over bytes that were there, a sector has either the old or the new bytes.
            let mut sector = from;
            while sector < to {
                let end = to.min((sector / 512 + 1) * 512).min(file.durable.len());
                if end <= sector {
                    break;
                }
                if sector >= synced || self.below(1) == 1 {
                    copy(&file.cached, &mut file.durable, sector, end);
                }
                sector = end;
            }
        }
        if mode == 3 && kept > 0 {
            let start = synced + self.below(kept - 1);
            let end = start + self.below(synced + kept - start);
            for byte in file.durable.get_mut(start..end).unwrap_or_default() {
                *byte = if garbage { self.random() as u8 } else { 0 };
            }
        }
        file.cached = file.durable.clone();
        file.cut_to = None;
        if let Some(place) = self.files.get_mut(at) {
            *place = file;
        }
    }
}

fn copy(from: &[u8], to: &mut [u8], start: usize, end: usize) {
    if let (Some(source), Some(target)) = (from.get(start..end), to.get_mut(start..end)) {
        target.copy_from_slice(source);
    }
}

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl SimulatedDisk {
    /// An empty disk. The seed decides what crashes lose.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World { random: seed, ..World::default() })))
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk of its own with the same content, as if it had been copied while nothing ran.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World { random: seed, ..self.world().clone() })))
    }

    /// The machine loses power: what was not synced may be lost. Open handles are dead, scripts forgotten.
    pub fn crash(&self) {
        let mut world = self.world();
        world.generation += 1;
        (world.fail_write, world.fail_sync) = (None, None);
        world.crash_names();
        (0..world.files.len()).for_each(|at| world.crash_file(at));
    }

    /// Lets the `n`-th write from now on fail, after a part of it was done; the first is 1.
    pub fn fail_write(&self, n: u64, with: FailWith) {
        let mut world = self.world();
        world.fail_write = Some((world.writes + n, with));
    }

    /// Lets the `n`-th sync from now on fail; the first is 1. As with a real kernel, the pages count as clean
    /// afterwards: the next sync of the same file succeeds, and the bytes are not on the platter.
    pub fn fail_sync(&self, n: u64, with: FailWith) {
        let mut world = self.world();
        world.fail_sync = Some((world.syncs + n, with));
    }

    /// How many writes and syncs there were.
    pub fn effects(&self) -> (u64, u64) {
        let world = self.world();
        (world.writes, world.syncs)
    }

    /// A file's bytes, to look at.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let world = self.world();
        world.names.get(path).and_then(|at| world.files.get(*at)).map(|file| file.cached.clone())
    }

    /// Puts other bytes into a file, on the platter too: bit rot, or a person with an editor.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        let Some(at) = world.names.get(path).copied() else { return };
        if let Some(file) = world.files.get_mut(at) {
            change(&mut file.cached);
            file.durable = file.cached.clone();
            file.dirty.clear();
        }
    }

    fn handle(&self, at: usize, generation: u64) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { disk: self.clone(), at, generation })
    }
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        if world.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let at = world.files.len();
        world.files.push(Inode::default());
        world.rename(None, Some((path, at)));
        Ok(self.handle(at, world.generation))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let world = self.world();
        let at = world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(*at, world.generation))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let inside = |path: &String| path.strip_prefix(dir)?.strip_prefix('/').map(str::to_owned);
        Ok(self.world().names.keys().filter_map(inside).filter(|name| !name.contains('/')).collect())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut world = self.world();
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.rename(Some(path), None);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        let at = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        world.rename(Some(from), Some((to, at)));
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut world = self.world();
        world.syncs += 1;
        if let Some((_, with)) = world.fail_sync.filter(|(at, _)| *at == world.syncs) {
            return Err(with.error());
        }
        let (synced, rest) = std::mem::take(&mut world.pending).into_iter().partition(|p| p.dir == dir);
        world.pending = rest;
        let synced: Vec<Renaming> = synced;
        synced.into_iter().for_each(|change| World::apply(&mut world.durable_names, change));
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let used = self.world().files.iter().map(|file| file.cached.len() as u64).sum::<u64>();
        let total = 1 << 40;
        Ok(Space { free: total - used, total })
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    at: usize,
    generation: u64,
}

impl SimulatedFile {
    fn world(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        if world.generation == self.generation { Ok(world) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    fn write(&self, offset: Option<u64>, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.world()?;
        let failure = world.count_write();
        let done = if failure.is_some() { world.below(bytes.len()) } else { bytes.len() };
        let file = world.inode(self.at)?;
        let start = offset.map_or(file.cached.len(), |offset| offset as usize);
        let end = start + done;
        if file.cached.len() < end {
            file.cached.resize(end, 0);
        }
        if let (Some(place), Some(part)) = (file.cached.get_mut(start..end), bytes.get(..done)) {
            place.copy_from_slice(part);
        }
        match file.dirty.last_mut() {
            Some((_, last)) if *last == start => *last = end,
            _ => file.dirty.push((start, end)),
        }
        failure.map_or(Ok(()), |with| Err(with.error()))
    }
}

impl DiskFile for SimulatedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<()> {
        self.write(None, bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(Some(offset), bytes)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world()?;
        let file = world.inode(self.at)?;
        let rest = file.cached.get(offset as usize..).unwrap_or_default();
        let got = rest.len().min(buffer.len());
        if let (Some(target), Some(source)) = (buffer.get_mut(..got), rest.get(..got)) {
            target.copy_from_slice(source);
        }
        Ok(got)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world()?;
        world.syncs += 1;
        let failure = world.fail_sync.filter(|(at, _)| *at == world.syncs);
        let file = world.inode(self.at)?;
        let dirty = std::mem::take(&mut file.dirty);
        if let Some((_, with)) = failure {
            return Err(with.error());
        }
        if let Some(len) = file.cut_to.take() {
            file.durable.truncate(len);
        }
        file.durable.resize(file.cached.len(), 0);
        for (from, to) in dirty {
            copy(&file.cached, &mut file.durable, from, to.min(file.cached.len()));
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.world()?.inode(self.at)?.cached.len() as u64)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut world = self.world()?;
        let file = world.inode(self.at)?;
        let len = len as usize;
        file.cached.truncate(len);
        file.cut_to = Some(file.cut_to.map_or(len, |before| before.min(len)));
        file.dirty.retain_mut(|(from, to)| {
            *to = (*to).min(len);
            from < to
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with a synced and an unsynced half, in as many histories as there are seeds.
    fn crashed(seed: u64) -> Option<Vec<u8>> {
        let disk = SimulatedDisk::new(seed);
        let file = disk.create("dir/a").unwrap();
        file.append(&[1; 100]).unwrap();
        file.sync().unwrap();
        disk.sync_dir("dir").unwrap();
        file.append(&[2; 100]).unwrap();
        disk.crash();
        assert!(file.append(&[3]).is_err(), "the handle died with its process");
        disk.bytes("dir/a")
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
        let histories: Vec<Vec<u8>> = (0..300).map(|seed| crashed(seed).unwrap()).collect();
        assert!(histories.iter().all(|bytes| bytes[..100] == [1; 100] && bytes.len() <= 200));
        let some = |what: fn(&[u8]) -> bool| histories.iter().any(|bytes| what(&bytes[100..]));
        assert!(some(|tail| tail.is_empty()), "all lost");
        assert!(some(|tail| tail == [2; 100]), "all there");
        assert!(some(|tail| tail.len() < 100 && tail.iter().all(|byte| *byte == 2) && !tail.is_empty()));
        assert!(some(|tail| tail.contains(&0) && tail.contains(&2)), "a stretch of zeros");
        assert!(some(|tail| tail.iter().any(|byte| ![0, 2].contains(byte))), "garbage");
    }

    #[test]
    fn a_name_that_was_not_synced_may_be_lost() {
        let there = |seed| {
            let disk = SimulatedDisk::new(seed);
            let file = disk.create("dir/a").unwrap();
            file.sync().unwrap();
            disk.crash();
            disk.bytes("dir/a").is_some()
        };
        let kept = (0..100).filter(|seed| there(*seed)).count();
        assert!((1..100).contains(&kept), "{kept} of 100");
    }

    #[test]
    fn after_a_failed_sync_the_next_one_succeeds_and_the_bytes_are_lost_all_the_same() {
        let disk = SimulatedDisk::new(1);
        let file = disk.create("dir/a").unwrap();
        disk.sync_dir("dir").unwrap();
        file.append(&[1; 100]).unwrap();
        disk.fail_sync(1, FailWith::Broken);
        assert!(file.sync().is_err());
        assert!(file.sync().is_ok());
        disk.crash();
        assert_eq!(disk.bytes("dir/a").unwrap(), [0; 100]);
    }
}
