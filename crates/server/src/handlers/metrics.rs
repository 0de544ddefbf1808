//! `GET /metrics`: what the engine shows, for Prometheus.
//!
//! Written from one snapshot each time that somebody asks, so that all figures are of one moment and a map that is no more
//! leaves none behind. Labels are names of maps, apps and conditions: few, and none of them a value of a record.

use crate::openapi::describe::{Output, Signature};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use schemars::SchemaGenerator;
use serde_json::json;
use std::fmt::Error;
use std::sync::Arc;
use tandem_engine::{Engine, FlowView, MapView, Snapshot};

/// What OpenMetrics text is called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`
pub(crate) async fn metrics(State(engine): State<Engine>) -> Figures {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Shown(engine.snapshot(), jiff::Timestamp::now())));
    let mut text = String::new();
    Figures(match text::encode(&mut text, &registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(Error) => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    })
}

/// Figures in Prometheus' text.
pub(crate) struct Figures(Response);

impl IntoResponse for Figures {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Output for Figures {
    fn describe(signature: &mut Signature, _: &mut SchemaGenerator) {
        signature.answers.push((200, Some(("application/openmetrics-text", json!({ "type": "string" })))));
    }
}

/// A snapshot, and when it is shown.
#[derive(Debug)]
struct Shown(Arc<Snapshot>, jiff::Timestamp);

/// The states of a map, by name.
const STATES: [&str; 5] = ["not_running", "initializing", "running", "paused", "resuming"];

/// A figure: its name, what it is, where it is.
type Count = (&'static str, &'static str, fn(&FlowView) -> u64);

/// The figures of one flow that only rise.
const COUNTS: [Count; 8] = [
    ("tandem_changes_captured", "Changes that came into the journal", |flow| ledger(flow).journaled),
    ("tandem_changes_applied", "Changes that were written to the destination", |flow| ledger(flow).applied),
    ("tandem_changes_filtered", "Changes that the filter left out", |flow| ledger(flow).filtered),
    ("tandem_changes_set_aside", "Changes that became errors", |flow| ledger(flow).set_aside),
    ("tandem_changes_lost", "Changes that gave way to the other side", |flow| ledger(flow).lost),
    ("tandem_changes_covered", "Changes that the initial sync looks at again", |flow| ledger(flow).covered),
    ("tandem_changes_found", "Changes that were found to be past after a lost connection", |flow| {
        ledger(flow).found
    }),
    ("tandem_changes_dropped", "Changes that a limit has dropped", |flow| ledger(flow).dropped),
];

fn ledger(flow: &FlowView) -> tandem_engine::Ledger {
    flow.ledger.unwrap_or_default()
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let encoder = &mut encoder;
        for (name, help, count) in COUNTS {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (map, flow) in self.flows() {
                let labels = of_flow(map, flow);
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count(flow), None)?;
            }
        }
        self.states(encoder)?;
        self.queues(encoder)?;
        self.health(encoder)
    }
}

impl Shown {
    fn flows(&self) -> impl Iterator<Item = (&MapView, &FlowView)> {
        self.0.maps.iter().flat_map(|map| map.flows.iter().map(move |flow| (map, flow)))
    }

    fn states(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut metric = gauge(encoder, "tandem_map_state", "1 for the state that the map is in", None)?;
        for map in &self.0.maps {
            for state in STATES {
                let labels = [("map", map.map.name.as_str()), ("state", state)];
                set(&mut metric, &labels, i64::from(map.state.phase.name() == state))?;
            }
        }
        let help = "1 for a condition that holds and is no good news";
        let mut metric = gauge(encoder, "tandem_map_condition", help, None)?;
        for map in &self.0.maps {
            for condition in &map.conditions {
                let kind = format!("{:?}", condition.kind);
                let labels = [("map", map.map.name.as_str()), ("type", &kind)];
                set(&mut metric, &labels, i64::from(!condition.kind.is_well(condition.status)))?;
            }
        }
        Ok(())
    }

    fn queues(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let now = self.1.as_microsecond();
        let age = |flow: &FlowView| {
            flow.queue.oldest_at.map_or(0.0, |oldest| (now - oldest.0).max(0) as f64 / 1_000_000.0)
        };
        let mut metric = gauge(encoder, "tandem_queue_records", "Changes that are not applied", None)?;
        for (map, flow) in self.flows() {
            set(&mut metric, &of_flow(map, flow), signed(flow.queue.records))?;
        }
        let help = "What they take in the journal";
        let mut metric = gauge(encoder, "tandem_queue", help, Some(&Unit::Bytes))?;
        for (map, flow) in self.flows() {
            set(&mut metric, &of_flow(map, flow), signed(flow.queue.bytes))?;
        }
        let help = "How long ago the oldest of them was captured";
        let mut metric = gauge(encoder, "tandem_queue_oldest_age", help, Some(&Unit::Seconds))?;
        for (map, flow) in self.flows() {
            metric.encode_family(&of_flow(map, flow))?.encode_gauge(&age(flow))?;
        }
        Ok(())
    }

    fn health(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "What came in, less all that became of it: anything but 0 is a defect";
        let mut metric = gauge(encoder, "tandem_conservation_difference", help, None)?;
        for (map, flow) in self.flows() {
            set(&mut metric, &of_flow(map, flow), ledger(flow).difference())?;
        }
        let help = "Errors that something is still to become of, without what only waits for another map";
        let mut metric = gauge(encoder, "tandem_errors_open", help, None)?;
        for map in &self.0.maps {
            set(&mut metric, &[("map", map.map.name.as_str())], signed(map.errors.trouble()))?;
        }
        let mut metric = gauge(encoder, "tandem_app_up", "1 while the app answers", None)?;
        for app in &self.0.apps {
            set(&mut metric, &[("app", app.app.as_str())], i64::from(app.fault.is_none()))?;
        }
        let mut metric = encoder.encode_descriptor(
            "tandem_conflicts",
            "How often both sides changed a record without knowing of each other",
            None,
            MetricType::Counter,
        )?;
        for map in &self.0.maps {
            let labels = [("map", map.map.name.as_str())];
            metric.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&map.conflicts, None)?;
        }
        let mut metric = gauge(encoder, "tandem_build_info", "1, with the version as a label", None)?;
        set(&mut metric, &[("version", env!("CARGO_PKG_VERSION"))], 1)
    }
}

fn gauge<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    name: &'a str,
    help: &str,
    unit: Option<&'a Unit>,
) -> Result<MetricEncoder<'a>, Error> {
    encoder.encode_descriptor(name, help, unit, MetricType::Gauge)
}

fn set(metric: &mut MetricEncoder<'_>, labels: &[(&str, &str)], value: i64) -> Result<(), Error> {
    metric.encode_family(&labels)?.encode_gauge(&value)
}

fn of_flow<'a>(map: &'a MapView, flow: &'a FlowView) -> [(&'static str, &'a str); 3] {
    let stream = &flow.stream;
    [
        ("map", map.map.name.as_str()),
        ("source", stream.source.as_str()),
        ("destination", stream.destination.as_str()),
    ]
}

/// A gauge is signed, and no count comes near the end of that.
fn signed(count: u64) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
