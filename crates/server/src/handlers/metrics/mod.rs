//! `GET /metrics`: what the engine shows, for Prometheus.
//!
//! Written from one snapshot each time that somebody asks, so that all figures are of one moment and a map that is no more
//! leaves none behind. Labels are names of maps, apps, rules, conditions and routes: few, and none of them a value of a
//! record. What does not apply now (a forecast of a queue that does not grow) has no figure, instead of one that lies.

mod flows;
mod maps;
mod sheet;

use crate::handlers::server::ShownIdentity;
use crate::openapi::describe::{Output, Signature};
use crate::requests::Requests;
use axum::Extension;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use schemars::SchemaGenerator;
use serde_json::json;
use sheet::{Sheet, bytes, of, seconds, signed};
use std::fmt::Error;
use std::sync::Arc;
use tandem_core::WallTime;
use tandem_engine::{Engine, Snapshot};

/// Who may read the figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetricsAccess {
    /// Whoever has a token with the role viewer that is not bound to maps.
    #[default]
    Token,
    /// Whoever reaches the server. Names of maps, apps and rules are told, and how they stand.
    Open,
}

/// What OpenMetrics text is called.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`
pub(crate) async fn metrics(
    State(engine): State<Engine>,
    Extension(requests): Extension<Requests>,
    Extension(identity): Extension<ShownIdentity>,
) -> Figures {
    let shown = Shown {
        snapshot: engine.snapshot(),
        at: WallTime(Timestamp::now().as_microsecond()),
        requests,
        certificate_expires_at: identity.expires_at(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(shown));
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

/// A snapshot, when it is shown, and what the server has counted itself.
#[derive(Debug)]
struct Shown {
    snapshot: Arc<Snapshot>,
    at: WallTime,
    requests: Requests,
    certificate_expires_at: Option<Timestamp>,
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let sheet = &mut Sheet(&mut encoder);
        flows::write(&self.snapshot, self.at, sheet)?;
        flows::write_streams(&self.snapshot, sheet)?;
        maps::write(&self.snapshot, self.at, sheet)?;
        self.rules(sheet)?;
        self.apps(sheet)?;
        self.server(sheet)
    }
}

impl Shown {
    fn rules(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
        let fired = self.snapshot.rules.iter().map(|view| {
            (vec![("rule", &*view.rule.name), ("action", view.rule.then.action.name())], view.fired)
        });
        sheet.counters(&of("tandem_rule_fired", "How often a rule fired, once for each map"), fired)
    }

    fn apps(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
        let apps = &self.snapshot.apps;
        let up = apps.iter().map(|app| (vec![("app", app.app.as_str())], i64::from(app.fault.is_none())));
        sheet.gauges(&of("tandem_app_up", "1 while the app answers"), up)?;
        let retained =
            apps.iter().filter_map(|app| Some((vec![("app", app.app.as_str())], signed(app.retained?))));
        let help = "What the log of a source keeps for us, as it was asked last";
        sheet.gauges(&bytes("tandem_source_retained", help), retained)
    }

    fn server(&self, sheet: &mut Sheet<'_, '_>) -> Result<(), Error> {
        let counts = self.requests.counts();
        let answered = counts
            .iter()
            .map(|(route, code, times)| (vec![("route", route.as_str()), ("code", code.as_str())], *times));
        sheet.counters(&of("tandem_http_requests", "Requests that were answered"), answered)?;
        let expires = self.certificate_expires_at.map(|at| (Vec::new(), at.as_second()));
        let help = "When the server's own certificate expires";
        sheet.gauges(&seconds("tandem_server_certificate_expiry_timestamp", help), expires)?;
        let build = [(vec![("version", env!("CARGO_PKG_VERSION"))], 1)];
        sheet.gauges(&of("tandem_build_info", "1, with the version as a label"), build)
    }
}
