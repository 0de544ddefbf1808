//! Format 1, byte for byte: it is on people's disks.

use super::*;
use tandem_core::{BarrierId, Kind};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn format_1_never_changes() {
    let disk = SimulatedDisk::new(1);
    let settings = Settings { segment_bytes: 1 << 20, frame_bytes: 60, ahead_bytes: 0 };
    let mut journal = open(&disk, settings).unwrap();
    let a = relation("a", &["id", "name"]);
    let all = Row::of([
        Value::Null,
        Value::Bool(true),
        Value::Bool(false),
        Value::Int(-7),
        Value::Float(1.5),
        Value::from("é"),
        Value::Bytes(vec![0, 255].into()),
        Value::Typed(Kind::Decimal, "1.50".into()),
        Value::Typed(Kind::Other, "{1}".into()),
    ]);
    let delete = Op::Delete { old: Row(vec![Cell::Set(Value::Int(2)), Cell::Unchanged]) };
    let change = |op| Entry::Change(Change { relation: a.clone(), op });
    let mark = Mark { stream: "crm→erp".into(), seq: Seq(300), note: "".into() };
    let fragments = [
        Fragment {
            entries: vec![update(&a, 1, 2, "x"), Entry::Barrier(BarrierId(300))],
            commit: Some(commit(1)),
            mark: Some(mark),
        },
        Fragment { entries: vec![change(Op::Insert { new: all })], ..Fragment::default() },
        Fragment { entries: vec![change(delete), change(Op::Truncate)], commit: Some(commit(2)), mark: None },
    ];
    journal.append(&fragments, WallTime(5)).unwrap();
    journal.sync().unwrap();
    journal.append_idle(position(3)).unwrap();
    let bytes = disk.bytes("streams/erp-crm/000000000001.log").unwrap();
    assert_eq!(hex(&bytes), FORMAT_1);
}

const FORMAT_1: &str = "\
    54414e44454d2d4a0100000033000000ffeeddccbbaa9988776655443322110001000000000000000100000000000000\
    000000000000000009657270e2869263726d005cb3bfb2\
    744604011d000000f3e8c56a0100000000000000000000004700000000000000849b141e000103617070016102026964\
    047465787401046e616d65047465787400\
    7446030130000000e3024cc3010000000000000002000000470000000000000042245d5b0a0502000008000000000000\
    00010474782d31f8887a0963726de28692657270ac02020002040200020404817808ac02\
    7446020128000000f0b9ff0c030000000000000001000000470000000000000049ee937b0a0001000000000901030204\
    0d05000000000000f83f82c3a9070200ff1004312e353019037b317d\
    744603011e000000fc6c85020400000000000000020000004700000000000000da1b2e4f0a0102010008000000000000\
    00020474782d32fa887a0300020404000400\
    7446050109000000c069c6100600000000000000000000006a01000000000000d9bac342080000000000000003";

#[test]
fn a_frame_of_a_later_version_is_refused_and_not_cut() {
    use super::super::format::{FRAME_HEADER, seed};
    let disk = SimulatedDisk::new(1);
    let mut journal = open(&disk, Settings::default()).unwrap();
    let start = disk.bytes("streams/erp-crm/000000000001.log").unwrap().len();
    journal.append_idle(position(3)).unwrap();
    drop(journal);
    disk.damage("streams/erp-crm/000000000001.log", |bytes| {
        bytes[start + 2] = 77;
        let crc = crc32c::crc32c_append(seed(&identity(), 1, None), &(start as u64).to_le_bytes());
        let end = start + FRAME_HEADER;
        let crc = crc32c::crc32c_append(crc, &bytes[start..end - 4]);
        bytes[end - 4..end].copy_from_slice(&crc.to_le_bytes());
    });
    assert!(open(&disk, Settings::default()).unwrap_err().is_foreign());
}
