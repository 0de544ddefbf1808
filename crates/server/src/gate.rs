//! The gate before every route but the open ones: who asks, and whether they may.
//!
//! What a route needs stands where the route does, in `router.rs`, and there is no other way to add one. A map in the path
//! is looked at here, for all routes at once: a map that a token is not for is answered as one that there is not, so that
//! its name says nothing. A route that lists, or that names its maps elsewhere, says so ([`Reach::Seen`]), and its handler
//! takes the [`Who`] that is left here.
//!
//! A token that is right is never refused because of wrong ones before it: 256 random bits are not guessed, and anybody on
//! this machine could lock its owner out. Wrong ones are answered with 429 after some, so that they fill no log.
//!
//! A browser shows a session in a cookie instead, which it sends whoever made the request: what that needs beyond a token
//! is in `session.rs`. A token in the request counts more than a cookie.

use crate::fence::Transport;
use crate::limits::Shares;
use crate::once::once;
use crate::problem::Refusal;
use crate::session;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tandem_core::Role;
use tandem_engine::{Caller, Credential, Engine, Secret, SignedIn, Stranger};

/// Wrong tokens that are answered as such within [`SPAN`].
const WRONG_MAX: u32 = 60;
/// Refusals that are written into the activity log within [`SPAN`].
const TOLD_MAX: u32 = 60;
/// The span that both are counted in.
const SPAN: Duration = Duration::from_secs(60);

/// Which maps a route is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The one in its path.
    Named,
    /// Those that whoever asks may see: its handler leaves the others out, or refuses the whole.
    Seen,
    /// All of them, or what is no map's: not for a token that is bound to maps.
    All,
}

impl Reach {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reach::Named => "named",
            Reach::Seen => "seen",
            Reach::All => "all",
        }
    }
}

/// A route, and what it needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) role: Role,
    pub(crate) reach: Reach,
}

/// Why somebody is refused who has shown nothing.
const NO_TOKEN: &str = "no token";

/// See the module.
#[derive(Clone)]
pub(crate) struct Gate {
    engine: Engine,
    transport: Transport,
    wrong: Arc<Allowance>,
    told: Arc<Allowance>,
    shares: Arc<Shares>,
}

impl Gate {
    pub(crate) fn new(engine: Engine, transport: Transport) -> Self {
        let allow = |most| Arc::new(Allowance { most, used: Mutex::new((Instant::now(), 0)) });
        Self { engine, transport, wrong: allow(WRONG_MAX), told: allow(TOLD_MAX), shares: Arc::default() }
    }

    async fn pass(&self, door: &Door, parts: &mut Parts) -> Result<Pass, Refusal> {
        let pass = match self.who(&parts.method, &parts.headers) {
            Ok(pass) => pass,
            Err((refusal, why)) => {
                // Whoever opens the console asks who they are before they have signed in: that is no attempt at anything, and
                // would stand in the log as one each time.
                let only_asks = door.path == session::PATH && door.method == "GET" && why == NO_TOKEN;
                if !only_asks {
                    self.tell("unknown", why, door).await;
                }
                return Err(refusal);
            }
        };
        let caller = &pass.caller;
        if caller.role < door.role {
            self.tell(&caller.name, &format!("needs the role {}", door.role), door).await;
            return Err(needs(door.role, caller));
        }
        match door.reach {
            Reach::Seen => {}
            Reach::All if caller.maps.is_all() => {}
            Reach::All => {
                self.tell(&caller.name, "is bound to maps", door).await;
                return Err(bound(format!(
                    "the token {} is bound to maps, and this is about all of them",
                    caller.name
                )));
            }
            Reach::Named => {
                let params = RawPathParams::from_request_parts(parts, &()).await;
                let named =
                    params.as_ref().ok().and_then(|params| params.iter().find(|(name, _)| *name == "map"));
                // A path without its map would be a mistake of ours; it opens nothing.
                let map = named.map_or("", |(_, map)| map);
                if !caller.maps.has(&map.into()) {
                    self.tell(&caller.name, "is not for that map", door).await;
                    return Err(Refusal::unknown_map(map));
                }
            }
        }
        Ok(pass)
    }

    fn who(&self, method: &Method, headers: &HeaderMap) -> Result<Pass, (Refusal, &'static str)> {
        let mut given = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = given.next() else {
            return match self.shown(headers) {
                Some(secret) => self.session(method, headers, secret),
                None => Err((stranger("token_missing", "the request has no token"), NO_TOKEN)),
            };
        };
        let bearer =
            value.to_str().ok().filter(|_| given.next().is_none()).and_then(|text| text.split_once(' '));
        let token =
            bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        match token.map_or(Err(Stranger::Unknown), |token| self.engine.caller(token)) {
            Ok((caller, credential)) => Ok(Pass { caller, credential, csrf: None }),
            Err(why) => Err(self.refuse(&why)),
        }
    }

    fn session(
        &self,
        method: &Method,
        headers: &HeaderMap,
        secret: &str,
    ) -> Result<Pass, (Refusal, &'static str)> {
        let (session, credential) = self.engine.session(secret).map_err(|why| self.refuse(&why))?;
        session::is_of_our_page(self.transport, method, headers, &session.csrf)
            .map_err(|refusal| (refusal, "not from a page of this server"))?;
        Ok(Pass { caller: session.caller, credential, csrf: Some(session.csrf) })
    }

    /// What the cookie of a request says.
    pub(crate) fn shown<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        session::shown(self.transport, headers)
    }

    /// The cookie of a session that begins.
    pub(crate) fn cookie(&self, headers: &HeaderMap, secret: &Secret) -> Option<HeaderValue> {
        session::cookie(self.transport, headers, secret)
    }

    /// Takes the cookie away.
    pub(crate) fn no_cookie(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        session::no_cookie(self.transport, headers)
    }

    /// Begins a session, as far as the gate has a say in it.
    pub(crate) async fn sign_in(&self, headers: &HeaderMap, token: &str) -> Result<SignedIn, Refusal> {
        let door = Door { method: "POST", path: session::PATH, role: Role::Viewer, reach: Reach::Seen };
        let refused = match session::comes_from_elsewhere(self.transport, headers) {
            Some(refusal) => (refusal, "not from a page of this server"),
            None => match self.engine.sign_in(token).await {
                Ok(signed_in) => return Ok(signed_in),
                Err(why) => self.refuse(&why),
            },
        };
        self.tell("unknown", refused.1, &door).await;
        Err(refused.0)
    }

    fn refuse(&self, why: &Stranger) -> (Refusal, &'static str) {
        match why {
            Stranger::Expired(_) => (stranger("token_expired", why.to_string()), "an expired token"),
            Stranger::Unknown if !self.wrong.take() => (
                Refusal::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_attempts",
                    "Too many wrong tokens",
                    format!("more than {WRONG_MAX} wrong tokens were sent within a minute; a right one is still taken"),
                )
                .fix("wait a minute, or send a token that is right"),
                "a wrong token",
            ),
            Stranger::Unknown => (stranger("token_unknown", why.to_string()), "a wrong token"),
            // Not slowed down: a page that was left open asks on, and is to learn that it has to sign in again.
            Stranger::NoSession => (
                stranger("session_ended", why.to_string()).fix("sign in again, with a token"),
                "a session that has ended",
            ),
        }
    }

    /// Into the activity log, within bounds: whoever is refused must not be able to fill it.
    async fn tell(&self, actor: &str, why: &str, door: &Door) {
        if self.told.take() {
            let detail = format!("{} {}: {why}", door.method, door.path);
            self.engine.note_refusal(actor, detail).await;
        }
    }
}

/// What stands before a route.
pub(crate) async fn admit(
    State((gate, door)): State<(Gate, Door)>,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    match gate.pass(&door, &mut parts).await {
        Ok(pass) => {
            let token = pass.caller.name.clone();
            let _place = match gate.shares.take(&token, Instant::now()) {
                Ok(place) => place,
                Err(refusal) => return refusal.into_response(),
            };
            parts.extensions.insert(pass);
            let request = Request::from_parts(parts, body);
            // What a viewer may do changes nothing, however often.
            match door.method == "POST" && door.role > Role::Viewer {
                true => once(&gate.engine, &token, request, next).await,
                false => next.run(request).await,
            }
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn stranger(code: &str, detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, code, "It is not known who asks", detail).fix(
        "send a token: --token-file or TANDEM_TOKEN on the command line, 'Authorization: Bearer …' elsewhere. The one of \
         the server's own user is in the file token of its data folder; others are made with: tandem token create",
    )
}

/// A role is not enough.
pub(crate) fn needs(role: Role, caller: &Caller) -> Refusal {
    let detail =
        format!("this needs the role {role}, and the token {} has the role {}", caller.name, caller.role);
    Refusal::new(StatusCode::FORBIDDEN, "role_needed", "The role does not allow this", detail)
        .fix(format!("use a token with the role {role}: tandem token create NAME --role {role}"))
}

/// A token is not for what it would reach.
pub(crate) fn bound(detail: String) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "maps_bound", "The token is not for these maps", detail)
        .fix("use a token that is bound to no maps, or to all of these")
}

/// Who asks, and what they showed: left by the gate.
#[derive(Clone)]
pub(crate) struct Pass {
    pub(crate) caller: Caller,
    pub(crate) credential: Credential,
    /// Of a session: what has to be shown as well by whatever changes something.
    pub(crate) csrf: Option<Secret>,
}

impl<S: Send + Sync> FromRequestParts<S> for Pass {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        // Only a route that was added without the gate comes here without: it is shut.
        let pass = parts.extensions.get::<Self>().cloned();
        pass.ok_or_else(|| stranger("token_missing", "the request has no token"))
    }
}

/// Who asks.
pub(crate) struct Who(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Who {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Pass::from_request_parts(parts, state).await.map(|pass| Who(pass.caller))
    }
}

/// So many within a [`SPAN`], and nothing more to remember.
struct Allowance {
    most: u32,
    used: Mutex<(Instant, u32)>,
}

impl Allowance {
    /// Takes one, if there is one left.
    fn take(&self) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.0.elapsed() >= SPAN {
            *used = (Instant::now(), 0);
        }
        let is_left = used.1 < self.most;
        if is_left {
            used.1 += 1;
        }
        is_left
    }
}
