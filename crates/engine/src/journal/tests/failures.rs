//! Failing disks: after the first error nothing is claimed any more, and what was claimed before is there.

use super::*;
use crate::disk::FailWith;

const SMALL: Settings = Settings { segment_bytes: 700, frame_bytes: 200, ahead_bytes: 1_500 };

/// Appends and syncs until the first error; returns what was acknowledged, and the journal with the error.
fn run(disk: &SimulatedDisk) -> (u64, Option<(Journal, JournalError)>) {
    let mut acked = 0;
    let mut journal = match open(disk, SMALL) {
        Ok(journal) => journal,
        Err(_) => return (0, None),
    };
    let a = relation("a", &["id", "name"]);
    let go = |journal: &mut Journal, acked: &mut u64| -> Result<(), JournalError> {
        journal.set_flows(vec![spec(1, "a", "id", 0)])?;
        for number in 1..=20 {
            let entries = (0..3).map(|id| insert(&a, id, "a name of some length")).collect();
            journal.append(&[transaction(number, entries)], WallTime(1))?;
            if number % 4 == 0 {
                journal.append_idle(position(100 + number))?;
            }
            *acked = journal.sync()?.seq.0;
        }
        Ok(())
    };
    match go(&mut journal, &mut acked) {
        Ok(()) => (acked, None),
        Err(error) => (acked, Some((journal, error))),
    }
}

fn check_all_there(disk: &SimulatedDisk, acked: u64) {
    let mut journal = open(disk, SMALL).unwrap();
    journal.set_flows(vec![spec(1, "a", "id", 0)]).unwrap();
    assert!(journal.durable() >= Seq(acked), "{acked} was acknowledged, {} is there", journal.durable());
    let records = read_all(&mut journal.reader(vec![(FlowId(1), Seq::ZERO)], Seq::ZERO), ALL).unwrap();
    let seqs: Vec<u64> = records.iter().map(|record| record.seq.0).collect();
    assert_eq!(seqs, (1..=journal.durable().0).collect::<Vec<_>>());
}

/// Lets each write or sync fail in turn, in the journal's whole life.
fn fail_each(with: FailWith, script: fn(&SimulatedDisk, u64, FailWith), count: u64) {
    let mut failed = 0;
    for n in 1..=count {
        let disk = SimulatedDisk::new(n);
        script(&disk, n, with);
        let (mut acked, stopped) = run(&disk);
        if let Some((mut journal, error)) = stopped {
            failed += 1;
            assert_eq!(error.is_full(), with == FailWith::Full, "{error}");
            assert!(journal.append(&[], WallTime(1)).unwrap_err().is_poisoned());
            assert!(journal.append_idle(position(1)).unwrap_err().is_poisoned());
            // The disk would claim success now; the journal must not believe it.
            assert!(journal.sync().unwrap_err().is_poisoned());
            // It may have been the note that the sync went well: then it did.
            assert!(journal.durable() >= Seq(acked));
            acked = journal.durable().0;
            let mut reader = journal.reader(vec![(FlowId(1), Seq::ZERO)], Seq::ZERO);
            assert_eq!(read_all(&mut reader, ALL).unwrap().len() as u64, acked, "readers go on");
        }
        // Either the process alone starts again, or the machine does; and with the process, later the machine.
        check_all_there(&disk.fork(n), acked);
        let crashed = disk.fork(n);
        crashed.crash();
        check_all_there(&crashed, acked);
        let process = disk.fork(n);
        let durable = open(&process, SMALL).unwrap().durable();
        process.crash();
        check_all_there(&process, durable.0.max(acked));
    }
    assert!(failed > 20, "only {failed} of {count} failed");
}

#[test]
fn each_write_that_fails_stops_the_journal_and_loses_nothing_acknowledged() {
    let disk = SimulatedDisk::new(0);
    assert!(run(&disk).1.is_none());
    let (writes, syncs) = disk.effects();
    assert!(writes > 40 && syncs > 20, "{writes} writes, {syncs} syncs");
    for with in [FailWith::Broken, FailWith::Full] {
        fail_each(with, SimulatedDisk::fail_write, writes);
    }
}

#[test]
fn each_sync_that_fails_stops_the_journal_and_is_never_made_good_by_a_second_one() {
    let disk = SimulatedDisk::new(0);
    run(&disk);
    for with in [FailWith::Broken, FailWith::Full] {
        fail_each(with, SimulatedDisk::fail_sync, disk.effects().1);
    }
}

#[test]
fn a_ticket_that_failed_on_another_thread_is_not_covered_up_by_the_roll() {
    let disk = SimulatedDisk::new(0);
    let mut journal = open(&disk, SMALL).unwrap();
    let a = relation("a", &["id", "name"]);
    journal.append(&[transaction(1, vec![insert(&a, 1, "one")])], WallTime(1)).unwrap();
    let (ticket, second) = (journal.sync_ticket(), journal.sync_ticket());
    disk.fail_sync(1, FailWith::Broken);
    let synced = std::thread::spawn(|| ticket.sync()).join().unwrap();
    // The disk itself would say that this one went well.
    let second = second.sync();
    assert!(second.outcome.as_ref().unwrap_err().is_poisoned());
    assert!(journal.synced(second).is_err());
    // The roll would sync the same file, and that sync would succeed.
    let large: Vec<Fragment> =
        (2..60).map(|number| transaction(number, vec![insert(&a, 1, "a longer name")])).collect();
    assert!(journal.append(&large, WallTime(1)).unwrap_err().is_poisoned());
    assert!(journal.synced(synced).is_err());
    assert_eq!(journal.durable(), Seq::ZERO);
}

#[test]
fn a_shelf_that_cannot_be_written_leaves_the_journal_running() {
    let disk = SimulatedDisk::new(0);
    assert!(run(&disk).1.is_none());
    let mut journal = open(&disk, SMALL).unwrap();
    journal.set_flows(vec![spec(1, "a", "id", 0)]).unwrap();
    disk.fail_write(1, FailWith::Full);
    assert!(journal.shelve(FlowId(1), Seq::ZERO, u64::MAX).unwrap_err().is_full());
    journal.append_idle(position(1)).unwrap();
    journal.sync().unwrap();
    let shelved = journal.shelve(FlowId(1), Seq::ZERO, u64::MAX).unwrap();
    assert!(shelved.through > Seq::ZERO && !shelved.more);
}

#[test]
fn a_record_beyond_the_limit_is_refused_before_anything_is_written() {
    let disk = SimulatedDisk::new(0);
    let mut journal = open(&disk, SMALL).unwrap();
    let a = relation("a", &["id", "name"]);
    let huge = bytes::Bytes::from(vec![0; 600 << 20]);
    let new = Row::of([Value::Int(1), Value::Bytes(huge)]);
    let entry = Entry::Change(Change { relation: a.clone(), op: Op::Insert { new } });
    let before = journal.bytes_on_disk();
    let fragments = [transaction(1, vec![insert(&a, 1, "fine")]), transaction(2, vec![entry])];
    assert!(journal.append(&fragments, WallTime(1)).unwrap_err().is_too_large());
    assert_eq!((journal.bytes_on_disk(), journal.head()), (before, Seq::ZERO));
    journal.append(&fragments[..1], WallTime(1)).unwrap();
    assert_eq!(journal.sync().unwrap().seq, Seq(1));
}
