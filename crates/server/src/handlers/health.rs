//! Whether the process lives, and whether the maps that run make progress.

use crate::wire::Readiness;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use tandem_core::lifecycle::Phase;
use tandem_engine::{ConditionKind, Engine, Snapshot};

/// `GET /livez`
pub(crate) async fn live() -> &'static str {
    "ok"
}

/// `GET /readyz`: 503 if a map that should make progress makes none.
pub(crate) async fn ready(State(engine): State<Engine>) -> (StatusCode, Json<Readiness>) {
    let blocked = blocked(&engine.snapshot());
    let ready = blocked.is_empty();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, blocked }))
}

fn blocked(snapshot: &Snapshot) -> Vec<String> {
    let mut blocked = Vec::new();
    for map in &snapshot.maps {
        if !matches!(map.state.phase, Phase::Running | Phase::Resuming) {
            continue;
        }
        for condition in &map.conditions {
            // Records that were set aside are trouble, and do not stop those behind them; a queue that grows although
            // it is applied moves; and a pause that lasts too long is somebody's will.
            let stands = !matches!(
                condition.kind,
                ConditionKind::ErrorsOpen | ConditionKind::NotConverging | ConditionKind::WindowOver
            );
            if stands && !condition.kind.is_well(condition.status) {
                // No reason: whoever asks has no token.
                blocked.push(format!("{}: {:?}", map.map.name, condition.kind));
            }
        }
    }
    blocked
}
