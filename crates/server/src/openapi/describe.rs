//! What a handler takes and gives, read off its own signature: so the document says what the code does, and no route can be
//! described as another one. Whatever a handler may take or answer says here what it looks like from outside; what
//! does not say so cannot be in a handler's signature.

use crate::gate::{Door, Gate, Pass, Who};
use crate::input::{Asked, Body, IfMatch, Tagged};
use crate::once::Secretive;
use crate::problem::Refusal;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, response::AppendHeaders};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use tandem_engine::Engine;

/// What is known of an operation.
#[derive(Default)]
pub(crate) struct Signature {
    /// The schema of its query: an object.
    pub(crate) query: Option<Value>,
    /// The schema of its body, and whether it may be left out.
    pub(crate) body: Option<(Value, bool)>,
    /// Headers that it reads, with what they mean and what they look like.
    pub(crate) reads: Vec<(&'static str, &'static str, &'static str)>,
    /// Headers of its answer, with what they mean.
    pub(crate) tells: Vec<(&'static str, &'static str)>,
    /// The status of its answer, and its content with the schema, if there is any.
    pub(crate) answers: Vec<(u16, Option<(&'static str, Value)>)>,
}

/// What a handler takes.
pub(crate) trait Input {
    /// Says what of the request it reads; of most, that is nothing which a client decides.
    fn describe(_: &mut Signature, _: &mut SchemaGenerator) {}
}

impl Input for State<Engine> {}
impl Input for Who {}
impl Input for Pass {}
impl Input for HeaderMap {}
impl Input for Extension<Gate> {}
impl Input for Extension<Arc<[Door]>> {}
impl Input for Extension<crate::events::Events> {}
impl Input for Extension<super::Document> {}
impl Input for Extension<crate::requests::Requests> {}
impl Input for Extension<crate::handlers::server::ShownIdentity> {}
impl Input for Option<Extension<crate::handlers::reload::Reloads>> {}
/// The names in a path stand in the path.
impl<T> Input for Path<T> {}

impl<T: JsonSchema> Input for Asked<T> {
    fn describe(signature: &mut Signature, schemas: &mut SchemaGenerator) {
        signature.query = Some(T::json_schema(schemas).to_value());
    }
}

impl<T: JsonSchema> Input for Body<T> {
    fn describe(signature: &mut Signature, schemas: &mut SchemaGenerator) {
        let whole = T::json_schema(schemas).to_value();
        let needs = whole.get("required").and_then(Value::as_array).is_some_and(|names| !names.is_empty());
        signature.body = Some((schemas.subschema_for::<T>().to_value(), needs));
    }
}

impl Input for IfMatch {
    fn describe(signature: &mut Signature, _: &mut SchemaGenerator) {
        let means = "The ETag of what was shown: if it is something else by now, nothing is done, and the answer is 412.";
        signature.reads.push(("If-Match", means, IfMatch::PATTERN));
    }
}

/// What a handler answers.
pub(crate) trait Output {
    /// Says what it looks like.
    fn describe(signature: &mut Signature, schemas: &mut SchemaGenerator);
}

impl<T: JsonSchema> Output for Json<T> {
    fn describe(signature: &mut Signature, schemas: &mut SchemaGenerator) {
        let schema = schemas.subschema_for::<T>().to_value();
        signature.answers.push((200, Some(("application/json", schema))));
    }
}

/// Every refusal is a problem, whichever it is.
impl<T: Output> Output for Result<T, Refusal> {
    fn describe(signature: &mut Signature, schemas: &mut SchemaGenerator) {
        T::describe(signature, schemas);
    }
}

impl<T: Output> Output for (Extension<Secretive>, T) {
    fn describe(signature: &mut Signature, schemas: &mut SchemaGenerator) {
        T::describe(signature, schemas);
    }
}

impl<H, T: Output> Output for (AppendHeaders<H>, T) {
    fn describe(signature: &mut Signature, schemas: &mut SchemaGenerator) {
        T::describe(signature, schemas);
    }
}

impl<T: Output> Output for Tagged<T> {
    fn describe(signature: &mut Signature, schemas: &mut SchemaGenerator) {
        let means = "Of what only would be done: stands for what is shown, and is sent as If-Match with what is to be done.";
        signature.tells.push(("ETag", means));
        T::describe(signature, schemas);
    }
}

/// The same shape, well or not.
impl<T: JsonSchema> Output for (StatusCode, Json<T>) {
    fn describe(signature: &mut Signature, schemas: &mut SchemaGenerator) {
        let schema = schemas.subschema_for::<T>().to_value();
        signature.answers.push((200, Some(("application/json", schema.clone()))));
        signature.answers.push((503, Some(("application/json", schema))));
    }
}

impl Output for &'static str {
    fn describe(signature: &mut Signature, _: &mut SchemaGenerator) {
        signature.answers.push((200, Some(("text/plain", json!({ "type": "string" })))));
    }
}

/// A handler, as far as a client can see it.
pub(crate) trait Described<Taken> {
    /// What it takes and gives.
    fn signature(schemas: &mut SchemaGenerator) -> Signature;
}

macro_rules! described {
    ($($taken:ident),*) => {
        impl<F, Answer, Given, $($taken),*> Described<($($taken,)*)> for F
        where
            F: Fn($($taken),*) -> Answer,
            Answer: Future<Output = Given>,
            Given: Output,
            $($taken: Input),*
        {
            fn signature(schemas: &mut SchemaGenerator) -> Signature {
                let mut signature = Signature::default();
                $($taken::describe(&mut signature, schemas);)*
                Given::describe(&mut signature, schemas);
                signature
            }
        }
    };
}

described!();
described!(A);
described!(A, B);
described!(A, B, C);
described!(A, B, C, D);
described!(A, B, C, D, E);
