//! Cut at every length, flipped at every bit position: what is acknowledged is there or reported, and what is
//! read is what was written.

use super::*;

const SEGMENT: &str = "streams/erp-crm/000000000001.log";
const MARK: &str = "streams/erp-crm/synced";

fn settings() -> Settings {
    Settings { segment_bytes: 1 << 20, frame_bytes: 90, ahead_bytes: 9_000 }
}

fn flows() -> Vec<FlowSpec> {
    vec![spec(1, "a", "id", 0), spec(2, "b", "id", 0)]
}

fn group(from: u64) -> Vec<Fragment> {
    let (a, b) = (relation("a", &["id", "name"]), relation("b", &["id", "name"]));
    let large = (0..6).map(|id| insert(&b, id, "a name that takes its room in a frame")).collect();
    vec![
        transaction(from, vec![insert(&a, 1, "one"), update(&a, 1, 2, "two")]),
        transaction(from + 1, large),
        transaction(from + 2, vec![insert(&a, 3, "three")]),
    ]
}

/// Everything that a journal holds, or the error with which it refuses.
fn content(disk: &SimulatedDisk) -> Result<Vec<Record>, JournalError> {
    let mut journal = open(disk, settings())?;
    journal.set_flows(flows())?;
    let members = vec![(FlowId(1), Seq::ZERO), (FlowId(2), Seq::ZERO)];
    read_all(&mut journal.reader(members, Seq::ZERO), ALL)
}

struct Prepared {
    disk: SimulatedDisk,
    /// Length of the segment and number of records that are acknowledged.
    acked: (usize, usize),
    all: Vec<Record>,
    len: usize,
    /// How many records there are after each transaction.
    boundaries: Vec<usize>,
}

/// Two groups, of which the second is acknowledged if told; and then maybe the mark is lost.
fn prepare(second_acked: bool, mark: bool) -> Prepared {
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk, settings()).unwrap();
    journal.append(&group(1), WallTime(1)).unwrap();
    journal.sync().unwrap();
    let first = journal.bytes_on_disk() as usize;
    journal.append(&group(4), WallTime(2)).unwrap();
    if second_acked {
        journal.sync().unwrap();
    }
    let second = journal.bytes_on_disk() as usize;
    drop(journal);
    // Of the zeros behind, a few are enough.
    let len = disk.bytes(SEGMENT).unwrap().len().min(second + 40);
    if !mark {
        disk.damage(MARK, |bytes| bytes.fill(0));
    }
    let all = content(&disk.fork(2)).unwrap();
    assert_eq!(all.len(), 18);
    let acked = if second_acked { (second, 18) } else { (first, 9) };
    Prepared { disk, acked, all, len, boundaries: vec![0, 2, 8, 9, 11, 17, 18] }
}

impl Prepared {
    /// The content after damage at `place` is a prefix that has all that the rules say, or a refusal.
    fn check(&self, place: usize, change: impl FnOnce(&mut Vec<u8>), reported: bool) {
        let disk = self.disk.fork(3);
        disk.damage(SEGMENT, change);
        match content(&disk) {
            Err(error) => {
                assert!(error.is_corrupt() || error.is_foreign(), "at {place}: {error}");
                assert!(place < self.acked.0, "damage at {place} in what is not acknowledged: {error}");
            }
            Ok(found) => {
                assert!(!reported, "damage at {place} in what is acknowledged was not reported");
                assert!(self.boundaries.contains(&found.len()), "at {place}: whole transactions");
                assert_eq!(found[..], self.all[..found.len()], "at {place}");
            }
        }
    }
}

#[test]
fn cut_at_any_length_it_reports_or_keeps_a_prefix_with_all_that_is_acknowledged() {
    for second_acked in [false, true] {
        let prepared = prepare(second_acked, true);
        for len in 0..prepared.len {
            let reported = len < prepared.acked.0;
            prepared.check(len, |bytes| bytes.truncate(len), reported);
        }
    }
}

#[test]
fn flipped_at_any_byte_it_reports_or_keeps_a_prefix_with_all_that_is_acknowledged() {
    for second_acked in [false, true] {
        let prepared = prepare(second_acked, true);
        for place in 0..prepared.len {
            let reported = place < prepared.acked.0;
            prepared.check(place, |bytes| bytes[place] ^= 1 << (place % 8), reported);
        }
    }
}

#[test]
fn without_the_mark_the_next_group_still_says_how_far_the_last_one_was_synced() {
    let prepared = prepare(false, false);
    for place in 0..prepared.len {
        let reported = place < prepared.acked.0;
        prepared.check(place, |bytes| bytes[place] ^= 1 << (place % 8), reported);
    }
}

#[test]
fn a_damaged_mark_changes_nothing() {
    let prepared = prepare(true, true);
    let len = prepared.disk.bytes(MARK).unwrap().len();
    for place in 0..len {
        let disk = prepared.disk.fork(4);
        disk.damage(MARK, |bytes| bytes[place] ^= 0x40);
        assert_eq!(content(&disk).unwrap(), prepared.all);
    }
}

#[test]
fn flipped_at_any_byte_of_any_file_nothing_wrong_is_ever_read() {
    let small = Settings { segment_bytes: 300, frame_bytes: 90, ahead_bytes: 0 };
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk, small).unwrap();
    journal.set_flows(flows()).unwrap();
    for number in 0..4 {
        journal.append(&group(1 + 3 * number), WallTime(1)).unwrap();
        journal.sync().unwrap();
    }
    journal.shelve(FlowId(1), Seq::ZERO, u64::MAX).unwrap();
    journal.reclaim(&[(FlowId(1), Seq::ZERO), (FlowId(2), journal.durable())], 0).unwrap();
    let look = |disk: &SimulatedDisk| -> Result<(Vec<Record>, Vec<Seq>, Counts), JournalError> {
        let mut journal = open(disk, small)?;
        journal.set_flows(flows())?;
        let records = read_all(&mut journal.reader(vec![(FlowId(1), Seq::ZERO)], Seq::ZERO), ALL)?;
        let key = tandem_core::IntegrationKey::from_values(vec![Value::Int(1)]).hash();
        let found = journal.find(FlowId(1), key, Seq(5), 100)?;
        Ok((records, found, journal.queued(FlowId(1), Seq(1))?))
    };
    let expected = look(&disk.fork(1)).unwrap();
    assert_eq!((expected.0.len(), expected.1.len(), expected.2.records), (12, 6, 11));
    let (mut reported, mut files) = (0, 0);
    for name in crate::disk::Disk::list(&disk, DIR).unwrap() {
        files += 1;
        let path = format!("{DIR}/{name}");
        for place in 0..disk.bytes(&path).unwrap().len() {
            let disk = disk.fork(2);
            disk.damage(&path, |bytes| bytes[place] ^= 1 << (place % 8));
            match look(&disk) {
                Ok(found) => assert_eq!(found, expected, "{name} at {place}"),
                Err(error) => {
                    assert!(error.is_corrupt() || error.is_foreign(), "{name} at {place}: {error}");
                    reported += 1;
                }
            }
        }
    }
    assert!(reported > 1_000 && files > 6, "{reported} reported in {files} files");
}

#[test]
fn a_segment_that_was_taken_away_is_reported() {
    let small = Settings { segment_bytes: 300, frame_bytes: 90, ahead_bytes: 0 };
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk, small).unwrap();
    journal.set_flows(flows()).unwrap();
    for number in 0..8 {
        journal.append(&group(1 + 3 * number), WallTime(1)).unwrap();
        journal.sync().unwrap();
    }
    journal.reclaim(&[(FlowId(1), Seq(20)), (FlowId(2), Seq(20))], 0).unwrap();
    let segments = |name: &String| name.ends_with(".log");
    let names: Vec<_> = crate::disk::Disk::list(&disk, DIR).unwrap().into_iter().filter(segments).collect();
    assert!(names.len() > 2);
    for name in names {
        let disk = disk.fork(1);
        crate::disk::Disk::remove(&disk, &format!("{DIR}/{name}")).unwrap();
        let error = open(&disk, small).unwrap_err();
        assert!(error.is_corrupt(), "without {name}: {error}");
    }
}

#[test]
fn the_journal_of_another_folder_or_stream_is_refused() {
    let disk = SimulatedDisk::new(1);
    open(&disk, settings()).unwrap();
    let refused = |identity| {
        let opened = Journal::open(Arc::new(disk.clone()), DIR, identity, settings());
        assert!(opened.unwrap_err().is_foreign());
    };
    refused(Identity { journal: JournalId(1), ..identity() });
    refused(Identity { stream: "other".into(), ..identity() });
}
