//! The API's own description, OpenAPI 3.1: made when the server starts, out of the same table that the requests are routed by
//! and of the handlers' own signatures.
//!
//! So a route cannot be missing, and what a handler takes and answers cannot be described as something else. The usual
//! libraries take path and types a second time, in attributes beside the handler; what is written twice drifts. Schemas
//! are made by `schemars` from the shapes in `wire/`: OpenAPI 3.1 takes JSON Schema as it is.

pub(crate) mod describe;

use crate::gate::Reach;
use axum::Extension;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use describe::{Described, Output, Signature};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map as Object, Value, json};
use std::sync::Arc;
use tandem_core::Role;

/// Where it is.
pub(crate) const PATH: &str = "/api/v1/openapi.json";
/// The longest name in a path that is of any use.
const NAME_MAX: usize = 256;

/// The document, as it is sent.
#[derive(Clone)]
pub(crate) struct Document(Arc<str>);

/// `GET /openapi.json`
pub(crate) async fn show(Extension(document): Extension<Document>) -> Described31 {
    Described31(document)
}

/// The answer of the document's own route.
pub(crate) struct Described31(Document);

impl IntoResponse for Described31 {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.0.to_string()).into_response()
    }
}

impl Output for Described31 {
    fn describe(signature: &mut Signature, _: &mut SchemaGenerator) {
        signature.answers.push((200, Some(("application/json", json!({ "type": "object" })))));
    }
}

/// Collects operations.
pub(crate) struct Description {
    schemas: SchemaGenerator,
    problem: Value,
    paths: Object<String, Value>,
}

/// A route, as the router knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// None: it is open.
    pub(crate) needs: Option<(Role, Reach)>,
    /// What it does, in some words.
    pub(crate) summary: &'a str,
}

impl Description {
    pub(crate) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let mut schemas = settings.into_generator();
        let problem = crate::wire::Problem::schema_in(&mut schemas);
        Self { schemas, problem, paths: Object::new() }
    }

    /// Adds a route. Its operation is called as its handler.
    pub(crate) fn add<Taken, H: Described<Taken>>(&mut self, route: Route<'_>) {
        let signature = H::signature(&mut self.schemas);
        let operation = self.operation(route, std::any::type_name::<H>(), signature);
        let item = self.paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(route.method.to_lowercase(), operation);
        }
    }

    fn operation(&self, route: Route<'_>, handler: &str, signature: Signature) -> Value {
        let Route { method, path, needs, summary } = route;
        let mut names = handler.rsplit("::");
        let (name, module) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        let mut operation = json!({
            "operationId": format!("{module}_{name}"),
            "tags": [module],
            "summary": summary,
            "x-role": needs.map_or("none", |(role, _)| role.name()),
            "x-maps": needs.map_or("none", |(_, reach)| reach.name()),
            "parameters": parameters(path, &signature, acts(method, needs)),
            "responses": self.responses(&signature),
            "security": if needs.is_some() { json!([{ "token": [] }, { "session": [] }]) } else { json!([]) },
        });
        if let (Some((schema, needed)), Some(fields)) = (signature.body, operation.as_object_mut()) {
            let body = json!({ "required": needed, "content": { "application/json": { "schema": schema } } });
            fields.insert("requestBody".to_owned(), body);
        }
        operation
    }

    fn responses(&self, signature: &Signature) -> Value {
        let problem = json!({
            "description": "A problem: its code says which, its fix what to do.",
            "content": { "application/problem+json": { "schema": self.problem } },
        });
        let mut responses = Object::new();
        for (status, content) in &signature.answers {
            let mut response =
                json!({ "description": if *status < 300 { "It was done." } else { "It is not well." } });
            if let (Some((kind, schema)), Some(fields)) = (content, response.as_object_mut()) {
                fields.insert("content".to_owned(), json!({ *kind: { "schema": schema } }));
            }
            if let (false, Some(fields)) = (signature.tells.is_empty(), response.as_object_mut()) {
                let told = signature.tells.iter().map(|(name, means)| {
                    let header = json!({ "description": means, "schema": { "type": "string" } });
                    ((*name).to_owned(), header)
                });
                fields.insert("headers".to_owned(), Value::Object(told.collect()));
            }
            responses.insert(status.to_string(), response);
        }
        for range in ["4XX", "5XX"] {
            responses.insert(range.to_owned(), problem.clone());
        }
        Value::Object(responses)
    }

    /// The whole of it.
    pub(crate) fn finish(mut self) -> Document {
        let schemas = self.schemas.take_definitions(true);
        let document = json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Tandem",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "x-role is the least role that an operation needs, x-maps which maps it is about: the one that is \
                                named, those that the token sees, or all, which is not for a token that is bound to maps.",
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "token": { "type": "http", "scheme": "bearer" },
                    "session": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": format!("{}7070", crate::session::COOKIE),
                        "description": "For browsers. The name ends with the port that is asked; over TLS it begins with __Host-. What changes something also shows the csrf_token of GET /api/v1/session, in \
                                        X-CSRF-Token, and comes from a page of this server.",
                    },
                },
            },
        });
        Document(document.to_string().into())
    }
}

/// Whether a request is one that a client may want to be sure is done once.
fn acts(method: &str, needs: Option<(Role, Reach)>) -> bool {
    method == "POST" && needs.is_some_and(|(role, _)| role > Role::Viewer)
}

fn parameters(path: &str, signature: &Signature, acts: bool) -> Vec<Value> {
    let named = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = named
        .map(|name| {
            let schema = json!({ "type": "string", "minLength": 1, "maxLength": NAME_MAX });
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    let query = signature.query.clone().unwrap_or_default();
    let needed = query.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for (name, schema) in query.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let required = needed.iter().any(|needed| needed == name);
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|fields| fields.remove("description"));
        let mut parameter =
            json!({ "name": name, "in": "query", "required": required, "schema": not_null(schema) });
        if let (Some(description), Some(fields)) = (description, parameter.as_object_mut()) {
            fields.insert("description".to_owned(), description);
        }
        parameters.push(parameter);
    }
    for (name, means, pattern) in &signature.reads {
        let schema = json!({ "type": "string", "pattern": pattern });
        parameters.push(
            json!({ "name": name, "in": "header", "required": false, "description": means, "schema": schema }),
        );
    }
    if acts {
        parameters.push(json!({
            "name": "Idempotency-Key",
            "in": "header",
            "required": false,
            "description": "The same key with the same request again brings the same answer, and does nothing twice; for a day.",
            "schema": { "type": "string", "pattern": "^[!-~]{1,200}$" },
        }));
    }
    parameters
}

/// What may be left out of a query is not null there: it is left out.
fn not_null(mut schema: Value) -> Value {
    if let Some(kinds) = schema.get_mut("type").and_then(Value::as_array_mut) {
        kinds.retain(|kind| kind != "null");
    }
    schema
}

/// A shape by its name, for what is in every operation.
trait Named: JsonSchema {
    fn schema_in(schemas: &mut SchemaGenerator) -> Value {
        schemas.subschema_for::<Self>().to_value()
    }
}

impl Named for crate::wire::Problem {}
