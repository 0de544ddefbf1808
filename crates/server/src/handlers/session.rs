//! Sessions of a browser: begun with a token, looked at, ended.

use crate::gate::{Gate, Pass};
use crate::input::Body;
use crate::openapi::describe::{Output, Signature};
use crate::problem::Refusal;
use crate::wire::{Session, SignIn};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::{Extension, Json};
use schemars::SchemaGenerator;
use tandem_engine::Engine;

/// `POST /session`: the cookie of the answer is the session.
pub(crate) async fn begin(
    Extension(gate): Extension<Gate>,
    headers: HeaderMap,
    Body(asked): Body<SignIn>,
) -> Result<(AppendHeaders<Cookie>, Json<Session>), Refusal> {
    let begun = gate.sign_in(&headers, asked.token.trim()).await?;
    let set = gate.cookie(&headers, &begun.secret).map(|value| (header::SET_COOKIE, value));
    Ok((AppendHeaders(set), Json(Session::new(&begun.session.caller, Some(&begun.session.csrf)))))
}

/// `GET /session`: who asks, be it with a session or with a token.
pub(crate) async fn show(pass: Pass) -> Json<Session> {
    Json(Session::new(&pass.caller, pass.csrf.as_ref()))
}

/// `DELETE /session`: signs out.
pub(crate) async fn end(
    State(engine): State<Engine>,
    Extension(gate): Extension<Gate>,
    pass: Pass,
    headers: HeaderMap,
) -> Result<SignedOut, Refusal> {
    let Some(secret) = gate.shown(&headers).filter(|_| pass.csrf.is_some()) else {
        let detail = "the request shows a token, which has no session that could be ended";
        return Err(Refusal::new(StatusCode::NOT_FOUND, "session_unknown", "There is no session", detail)
            .fix("tandem token revoke NAME takes a token back"));
    };
    // One that has ended meanwhile is what was asked for.
    let _ = engine.sign_out(secret).await;
    Ok(SignedOut(gate.no_cookie(&headers).map(|value| (header::SET_COOKIE, value))))
}

type Cookie = Option<(HeaderName, HeaderValue)>;

/// Nothing but that the cookie goes.
pub(crate) struct SignedOut(Cookie);

impl IntoResponse for SignedOut {
    fn into_response(self) -> Response {
        (StatusCode::NO_CONTENT, AppendHeaders(self.0)).into_response()
    }
}

impl Output for SignedOut {
    fn describe(signature: &mut Signature, _: &mut SchemaGenerator) {
        signature.answers.push((204, None));
    }
}
