//! From what went wrong to the problem that a client gets, and its status. One place, so that a code means one
//! thing and has one status on every route.

use crate::wire::{Blocker, Finding, Problem};
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tandem_engine::Rejected;

/// A problem on its way to the client; small enough to be an error anywhere.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Problem>, Option<u64>);

/// After how many seconds to try again what was too much, unless it is said otherwise.
const RETRY_AFTER_SECONDS: u64 = 60;

impl Refusal {
    /// A problem without more to it than its sentence.
    pub(crate) fn new(status: StatusCode, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self(
            Box::new(Problem {
                status: status.as_u16(),
                code: code.to_owned(),
                title: title.to_owned(),
                detail: detail.into(),
                ..Problem::default()
            }),
            None,
        )
    }

    /// When it is worth to ask again.
    #[must_use]
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.1 = Some(seconds);
        self
    }

    /// Adds what a person can do about it.
    #[must_use]
    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// Its text, for where there is no HTTP yet to send it by.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(&*self.0).unwrap_or_default()
    }

    /// A request that cannot be read.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request_invalid", "The request cannot be read", detail)
    }

    /// There is nothing of that name.
    pub(crate) fn unknown_map(name: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "map_unknown",
            "There is no such map",
            format!("there is no map {name}"),
        )
        .fix("tandem map list")
    }

    /// There is no app of that name.
    pub(crate) fn unknown_app(name: &str) -> Self {
        let detail = format!("there is no app {name}");
        Self::new(StatusCode::NOT_FOUND, "app_unknown", "There is no such app", detail).fix("tandem app list")
    }

    /// There is no error of that number.
    pub(crate) fn unknown_error(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "error_unknown", "There is no such error", detail)
            .fix("tandem error list")
    }

    /// A map has no queued record of that number.
    pub(crate) fn unknown_record(map: &str, detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "record_unknown", "There is no such queued record", detail)
            .fix(format!("tandem queue list {map}"))
    }
}

impl From<Rejected> for Refusal {
    fn from(rejected: Rejected) -> Self {
        let detail = rejected.to_string();
        match rejected {
            Rejected::UnknownMap(map) => Self::unknown_map(map.as_str()),
            Rejected::UnknownError(_) => Self::unknown_error(&detail),
            Rejected::UnknownRecord { map, .. } => Self::unknown_record(map.as_str(), &detail),
            Rejected::UnknownVerification(map) => {
                Self::new(StatusCode::NOT_FOUND, "verify_unknown", "The map was not verified", detail)
                    .fix(format!("tandem map verify {map}"))
            }
            Rejected::UnknownRule(_) => {
                Self::new(StatusCode::NOT_FOUND, "rule_unknown", "There is no such rule", detail)
                    .fix("tandem rule list")
            }
            Rejected::UnknownToken(_) => {
                Self::new(StatusCode::NOT_FOUND, "token_not_found", "There is no such token", detail)
                    .fix("tandem token list")
            }
            Rejected::OtherToken(_) => {
                Self::new(StatusCode::CONFLICT, "token_changed", "The name stands for another token", detail)
                    .fix("look which one it is now: tandem token list")
            }
            Rejected::TokenExists(_) => {
                Self::new(StatusCode::CONFLICT, "token_exists", "There is such a token already", detail)
                    .fix("take another name, or revoke that one first: tandem token revoke NAME")
            }
            Rejected::State(blockers) => {
                let mut refusal = Self::new(
                    StatusCode::CONFLICT,
                    "state_refused",
                    "The state of a map does not allow this",
                    detail,
                );
                refusal.0.blockers = blockers.into_iter().map(Blocker::from).collect();
                refusal
            }
            Rejected::Check(findings) => {
                let mut refusal = Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "check_failed",
                    "A check found what stands in the way",
                    detail,
                );
                refusal.0.findings = findings.into_iter().map(Finding::from).collect();
                refusal
            }
            Rejected::App(fault) => {
                let mut refusal =
                    Self::new(StatusCode::BAD_GATEWAY, "app_fault", "An app is in trouble", detail);
                refusal.0.fix = fault.fix;
                refusal
            }
            Rejected::Senseless(_) => Self::bad_request(detail),
            Rejected::Unsupported(_) => Self::new(
                StatusCode::NOT_IMPLEMENTED,
                "not_supported",
                "This version of Tandem cannot do that",
                detail,
            ),
            Rejected::Disk(_) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_failed",
                "The disk of the data folder failed",
                detail,
            )
            .fix("mend the disk or make room on it, then start the engine again; nothing was acknowledged to a source that is not durable"),
            Rejected::TimedOut(_) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "timed_out", "It was not done in time", detail)
            }
            Rejected::ShuttingDown => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting_down",
                "The engine is shutting down",
                detail,
            ),
        }
    }
}

impl From<tandem_engine::Blocker> for Blocker {
    fn from(blocker: tandem_engine::Blocker) -> Self {
        Self { map: blocker.map.to_string(), state: blocker.state, needs: blocker.needs }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"tandem\""));
        }
        let is_too_much = status == StatusCode::TOO_MANY_REQUESTS;
        if let Some(seconds) = self.1.or(is_too_much.then_some(RETRY_AFTER_SECONDS)) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_core::{Fault, FaultClass};

    fn check(rejected: Rejected, expected: &str) {
        assert_eq!(serde_json::to_string(&*Refusal::from(rejected).0).unwrap(), expected);
    }

    #[test]
    fn a_refusal_names_its_code_and_every_blocker() {
        let blocker = tandem_engine::Blocker {
            map: "orders".into(),
            state: "resuming".to_owned(),
            needs: "resume needs a paused map".to_owned(),
        };
        check(
            Rejected::State(vec![blocker]),
            r#"{"status":409,"code":"state_refused","title":"The state of a map does not allow this","detail":"nothing was changed: orders is resuming and resume needs a paused map","blockers":[{"map":"orders","state":"resuming","needs":"resume needs a paused map"}]}"#,
        );
        check(
            Rejected::UnknownMap("x".into()),
            r#"{"status":404,"code":"map_unknown","title":"There is no such map","detail":"there is no map x","fix":"tandem map list"}"#,
        );
    }

    #[test]
    fn the_fix_of_an_app_reaches_the_client() {
        let fault = Fault::new(FaultClass::Setup, "open capture", "wal_level is replica")
            .fix("ALTER SYSTEM SET wal_level = logical;");
        check(
            Rejected::App(fault),
            r#"{"status":502,"code":"app_fault","title":"An app is in trouble","detail":"nothing was changed: open capture: wal_level is replica","fix":"ALTER SYSTEM SET wal_level = logical;"}"#,
        );
    }
}
