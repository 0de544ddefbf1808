//! The figures of each direction of a map, and of each direction between two apps.

use super::sheet::{Family, Labels, Sheet, bytes, of, seconds, signed};
use std::fmt::Error;
use tandem_core::{StreamName, WallTime};
use tandem_engine::{FlowView, Ledger, MapView, Snapshot, StreamView};

/// A figure: what it is, where it is.
type Count = (Family, fn(&FlowView) -> u64);

/// The figures of one flow that only rise.
const COUNTS: [Count; 8] = [
    (of("tandem_changes_captured", "Changes that came into the journal"), |flow| ledger(flow).journaled),
    (of("tandem_changes_applied", "Changes that were written to the destination"), |flow| {
        ledger(flow).applied
    }),
    (of("tandem_changes_filtered", "Changes that the filter left out"), |flow| ledger(flow).filtered),
    (of("tandem_changes_set_aside", "Changes that became errors"), |flow| ledger(flow).set_aside),
    (of("tandem_changes_lost", "Changes that gave way to the other side"), |flow| ledger(flow).lost),
    (of("tandem_changes_covered", "Changes that the initial sync looks at again"), |flow| {
        ledger(flow).covered
    }),
    (of("tandem_changes_found", "Changes that were found to be past after a lost connection"), |flow| {
        ledger(flow).found
    }),
    (of("tandem_changes_dropped", "Changes that a limit has dropped"), |flow| ledger(flow).dropped),
];

/// Writes the figures of flows.
pub(super) fn write(snapshot: &Snapshot, at: WallTime, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
    for (family, count) in &COUNTS {
        sheet.counters(family, flows(snapshot).map(|(map, flow)| (of_flow(map, flow), count(flow))))?;
    }
    let failures = flows(snapshot).flat_map(|(map, flow)| {
        flow.failures.iter().map(move |(class, times)| {
            let mut labels = of_flow(map, flow);
            labels.push(("class", class.name()));
            (labels, *times)
        })
    });
    let help = "Changes that became errors, and attempts that failed for what is no fault of a change";
    sheet.counters(&of("tandem_apply_errors", help), failures)?;
    let gauge = |figure: fn(&FlowView) -> i64| {
        flows(snapshot).map(move |(map, flow)| (of_flow(map, flow), figure(flow)))
    };
    let records = gauge(|flow| signed(flow.queue.records));
    sheet.gauges(&of("tandem_queue_records", "Changes that are not applied"), records)?;
    let taken = gauge(|flow| signed(flow.queue.bytes));
    sheet.gauges(&bytes("tandem_queue", "What they take in the journal"), taken)?;
    let age = |flow: &FlowView| flow.queue.oldest_at.map_or(0.0, |oldest| at.since(oldest).as_secs_f64());
    let ages = flows(snapshot).map(|(map, flow)| (of_flow(map, flow), age(flow)));
    sheet.times(&seconds("tandem_queue_oldest_age", "How long ago the oldest of them was captured"), ages)?;
    let help = "What came in, less all that became of it: anything but 0 is a defect";
    sheet.gauges(&of("tandem_conservation_difference", help), gauge(|flow| ledger(flow).difference()))
}

/// Writes the figures of streams.
pub(super) fn write_streams(snapshot: &Snapshot, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
    let each = |figure: fn(&StreamView) -> tandem_engine::Histogram| {
        snapshot.streams.iter().map(move |stream| (of_stream(&stream.stream), figure(stream)))
    };
    let help = "How long the destination took for what it was given at once";
    sheet.histograms(&seconds("tandem_apply_duration", help), each(|stream| stream.applies))?;
    let help = "How long a group of captured transactions took to become durable in the journal";
    sheet.histograms(&seconds("tandem_queue_fsync_duration", help), each(|stream| stream.syncs))?;
    let failed =
        snapshot.streams.iter().map(|stream| (of_stream(&stream.stream), u64::from(stream.disk_failed)));
    let help = "Writes and fsyncs of the journal that failed: after the first, nothing more is acknowledged";
    sheet.counters(&of("tandem_queue_fsync_failures", help), failed)
}

fn flows(snapshot: &Snapshot) -> impl Iterator<Item = (&MapView, &FlowView)> {
    snapshot.maps.iter().flat_map(|map| map.flows.iter().map(move |flow| (map, flow)))
}

fn ledger(flow: &FlowView) -> Ledger {
    flow.ledger.unwrap_or_default()
}

fn of_stream(stream: &StreamName) -> Labels<'_> {
    vec![("source", stream.source.as_str()), ("destination", stream.destination.as_str())]
}

fn of_flow<'a>(map: &'a MapView, flow: &'a FlowView) -> Labels<'a> {
    let mut labels = vec![("map", map.map.name.as_str())];
    labels.extend(of_stream(&flow.stream));
    labels
}
