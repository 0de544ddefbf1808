//! How much of the server somebody may take. All bounds are far above what people, pages and exports do: they are there for a
//! program that runs wild, which is not to keep the others from pausing a map.
//!
//! A token has a share of requests at a time, so that one that waits for states with all it has leaves room; and a rate. What is
//! sent without a token that is known has bounds of its own (`gate.rs`). A sign-in is read whole before it has shown anything, so
//! there are few places for them: whoever sends many of them slowly is in the way of sign-ins only.

use crate::problem::Refusal;
use crate::session;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Semaphore;

/// The most requests that are answered at a time. Events, once they flow, are not among them.
pub(crate) const AT_A_TIME_MAX: usize = 512;
/// The most of them that sign in.
const SIGN_INS_MAX: usize = 32;
/// The most of them with one token.
pub(crate) const OF_TOKEN_AT_A_TIME_MAX: u32 = 128;
/// How many requests a second one token may make for long.
const RATE_PER_SECOND: f64 = 500.0;
/// How many at once.
const BURST: f64 = 2000.0;
/// The most bytes of path and query together.
pub(crate) const ADDRESS_MAX_BYTES: usize = 8 * 1024;

/// The places that are free.
#[derive(Clone)]
pub(crate) struct Places {
    requests: Arc<Semaphore>,
    sign_ins: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        Self { requests: places(AT_A_TIME_MAX), sign_ins: places(SIGN_INS_MAX) }
    }
}

/// Bounds that hold before it is known who asks.
pub(crate) async fn bounded(State(places): State<Places>, request: Request, next: Next) -> Response {
    let length = request.uri().path_and_query().map_or(0, |whole| whole.as_str().len());
    if length > ADDRESS_MAX_BYTES {
        let detail = format!("path and query have {length} bytes; there may be {ADDRESS_MAX_BYTES}");
        return Refusal::new(StatusCode::URI_TOO_LONG, "address_too_long", "The address is too long", detail)
            .fix("ask for less at a time: a shorter key or prefix")
            .into_response();
    }
    let signs_in = request.method() == Method::POST && request.uri().path() == session::PATH;
    let (free, most, what) = match signs_in {
        true => (&places.sign_ins, SIGN_INS_MAX, "sign-ins"),
        false => (&places.requests, AT_A_TIME_MAX, "requests"),
    };
    let Ok(_place) = free.try_acquire() else {
        let detail = format!("{most} {what} are being answered now");
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much is asked at a time", detail)
            .fix("ask again in a second; if it stays so, find out who asks so much: tandem token list")
            .retry_after(1)
            .into_response();
    };
    next.run(request).await
}

/// What each token has taken.
#[derive(Default)]
pub(crate) struct Shares(Mutex<BTreeMap<Arc<str>, Share>>);

struct Share {
    left: f64,
    at: Instant,
    running: u32,
}

impl Shares {
    /// Takes a place for one request of a token; it is free again when it is dropped.
    pub(crate) fn take(self: &Arc<Self>, token: &Arc<str>, now: Instant) -> Result<Place, Refusal> {
        let mut known = self.known();
        // As many as there are tokens; those that were revoked go with the time.
        if known.len() > 2 * tandem_engine::TOKENS_MAX {
            known.retain(|_, share| share.running > 0);
        }
        let share = known.entry(token.clone()).or_insert_with(|| Share { left: BURST, at: now, running: 0 });
        let passed = now.saturating_duration_since(share.at).as_secs_f64();
        (share.left, share.at) = ((share.left + passed * RATE_PER_SECOND).min(BURST), now);
        if share.left < 1.0 {
            let detail = format!("the token {token} asks more than {RATE_PER_SECOND} times a second");
            return Err(too_much("rate_limited", detail));
        }
        if share.running >= OF_TOKEN_AT_A_TIME_MAX {
            let detail =
                format!("{OF_TOKEN_AT_A_TIME_MAX} requests with the token {token} are being answered now");
            return Err(too_much("too_many_requests", detail));
        }
        share.left -= 1.0;
        share.running += 1;
        Ok(Place { shares: self.clone(), token: token.clone() })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Share>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_much(code: &str, detail: String) -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, code, "The token asks too much", detail)
        .fix("ask less often: GET /api/v1/events tells what changes; a token of its own for each program tells them apart")
        .retry_after(1)
}

/// The place of a request.
pub(crate) struct Place {
    shares: Arc<Shares>,
    token: Arc<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(share) = self.shares.known().get_mut(&self.token) {
            share.running = share.running.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn status(refused: Result<Place, Refusal>) -> Option<(u16, Option<String>)> {
        let response = refused.err()?.into_response();
        let after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        Some((response.status().as_u16(), after))
    }

    #[test]
    fn a_token_has_a_rate_and_a_burst_of_its_own() {
        let (shares, start) = (Arc::new(Shares::default()), Instant::now());
        let (ann, bob): (Arc<str>, Arc<str>) = ("ann".into(), "bob".into());
        for _ in 0..2000 {
            assert!(shares.take(&ann, start).is_ok());
        }
        assert_eq!(status(shares.take(&ann, start)), Some((429, Some("1".to_owned()))));
        assert!(shares.take(&bob, start).is_ok());
        let later = start + Duration::from_millis(10);
        assert_eq!((0..9).filter(|_| shares.take(&ann, later).is_ok()).count(), 5);
    }

    #[test]
    fn a_token_has_a_share_of_requests_at_a_time() {
        let (shares, now) = (Arc::new(Shares::default()), Instant::now());
        let token: Arc<str> = "ann".into();
        let mut running: Vec<Place> =
            (0..OF_TOKEN_AT_A_TIME_MAX).map(|_| shares.take(&token, now).unwrap()).collect();
        assert_eq!(status(shares.take(&token, now)), Some((429, Some("1".to_owned()))));
        running.pop();
        assert!(shares.take(&token, now).is_ok());
    }
}
