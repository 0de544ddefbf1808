//! The routes, on one screen, and the loop that serves them.

use crate::events::Events;
use crate::gate::{Door, Gate, Reach, admit};
use crate::handlers::reload::{Reloader, Reloads};
use crate::handlers::{
    actions, activity, apps, conflicts, errors, events, health, maps, metrics, queue, reload, rules, session,
    tokens, verify,
};
use crate::limits::{AT_A_TIME_MAX, bounded};
use crate::openapi::describe::Described;
use crate::openapi::{self, Description, Route};
use crate::patience::Patient;
use crate::problem::Refusal;
use crate::session::PATH as SESSION;
use crate::{BODY_MAX_BYTES, console, fence, headers};
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Extension, Router};
use std::future::Future;
use std::sync::Arc;
use tandem_core::Role;
use tandem_engine::Engine;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The whole API over an engine: every route with the least role that it needs, and the maps that it is about.
pub fn router(engine: Engine) -> Router {
    use Reach::{All, Named, Seen};
    use Role::{Admin, Operator, Viewer};
    let gate = Gate::new(engine.clone());
    let routes = Routes::new(gate.clone())
        .get(SESSION, Viewer, Seen, session::show, "Who asks")
        .delete(SESSION, Viewer, Seen, session::end, "Signs out")
        .get("/api/v1/access", Viewer, Seen, tokens::access, "Who asks, and what every route needs")
        .get("/api/v1/maps", Viewer, Seen, maps::list, "The maps, by name")
        .get("/api/v1/maps/{map}", Viewer, Named, maps::show, "One map")
        .post("/api/v1/maps/{map}/run", Operator, Named, actions::run, "Runs a map")
        .post("/api/v1/maps/{map}/pause", Operator, Named, actions::pause, "Pauses a map")
        .post("/api/v1/maps/{map}/resume", Operator, Named, actions::resume, "Resumes a map")
        .post("/api/v1/maps/{map}/skip", Operator, Named, actions::skip, "Skips the queue of a map")
        .post("/api/v1/maps/{map}/stop", Operator, Named, actions::stop, "Stops a map")
        .get("/api/v1/maps/{map}/wait", Viewer, Named, maps::wait, "Waits until a map is in a state")
        .post("/api/v1/maps/{map}/try", Viewer, Named, maps::try_row, "What a map makes of a row")
        .get("/api/v1/maps/{map}/queue", Viewer, Named, queue::list, "The queue of a map")
        .get("/api/v1/maps/{map}/queue/stats", Viewer, Named, queue::stats, "The queue in figures")
        .get("/api/v1/maps/{map}/queue/{seq}", Viewer, Named, queue::show, "A queued record in full")
        .get("/api/v1/errors", Viewer, Seen, errors::list, "Catch-up errors")
        .get("/api/v1/errors/causes", Viewer, Seen, errors::causes, "Errors by their causes")
        .get("/api/v1/errors/{id}", Viewer, Seen, errors::show, "An error in full")
        .post("/api/v1/maps/{map}/errors/retry", Operator, Named, errors::retry, "Tries errors again")
        .post("/api/v1/maps/{map}/errors/delete", Operator, Named, errors::delete, "Deletes errors")
        .post("/api/v1/maps/{map}/errors/cancel", Operator, Named, errors::cancel, "Ends the retry of errors")
        .get("/api/v1/maps/{map}/verify", Viewer, Named, verify::show, "How a comparison gets on, or ended")
        .post("/api/v1/maps/{map}/verify", Operator, Named, verify::start, "Compares both tables")
        .post("/api/v1/maps/{map}/verify/cancel", Operator, Named, verify::cancel, "Ends a comparison")
        .post("/api/v1/actions", Operator, Seen, actions::several, "Acts on several maps, or none")
        .post("/api/v1/plan", Viewer, Seen, actions::plan, "What an action would do")
        .get("/api/v1/rules", Viewer, All, rules::list, "The rules")
        .post("/api/v1/rules/{rule}/enable", Operator, All, rules::enable, "Switches a rule on")
        .post("/api/v1/rules/{rule}/disable", Operator, All, rules::disable, "Switches a rule off")
        .get("/api/v1/rules/{rule}/test", Viewer, All, rules::test, "When a rule would have fired")
        .get("/api/v1/events", Viewer, Seen, events::listen, "What changes, as it happens")
        .get("/api/v1/activity", Viewer, Seen, activity::list, "The activity log")
        .get("/api/v1/conflicts", Viewer, Seen, conflicts::list, "Conflicts of two-way maps")
        .get("/api/v1/apps", Viewer, All, apps::list, "The apps")
        .get("/api/v1/apps/{app}/release", Operator, All, apps::release, "What frees an app of us by hand")
        .get("/api/v1/check", Viewer, All, apps::check, "Checks the maps against their apps")
        .post("/api/v1/reload", Admin, All, reload::reload, "Reads the config again")
        .get("/api/v1/tokens", Admin, All, tokens::list, "The tokens")
        .post("/api/v1/tokens", Admin, All, tokens::create, "Makes a token")
        .post("/api/v1/tokens/{token}/revoke", Admin, All, tokens::revoke, "Takes a token back")
        .get("/metrics", Viewer, All, metrics::metrics, "Figures for Prometheus")
        // Open: a session is begun by who has none, with a token in the body.
        .open("POST", SESSION, session::begin, "Signs in, with a token")
        // Open: it is the same for everybody, and tells of nobody.
        .open("GET", openapi::PATH, openapi::show, "This document")
        // Open: whoever watches over the process has no token, and learns nothing but whether it is well.
        .open("GET", "/livez", health::live, "Whether the process lives")
        .open("GET", "/readyz", health::ready, "Whether every map that runs makes progress");
    routes
        .behind_the_gate()
        .layer(Extension(gate))
        // Open as well: the console is the same for everybody, and shows nothing before somebody has signed in.
        .fallback(console_or_nothing)
        .method_not_allowed_fallback(no_method)
        .layer(Extension(Events::new(engine.clone())))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn_with_state(Arc::new(Semaphore::new(AT_A_TIME_MAX)), bounded))
        .layer(middleware::from_fn(fence::loopback_only))
        .layer(middleware::from_fn(headers::secure))
        .with_state(engine)
}

/// The routes, and the document that tells of them. There is no way to add one without saying what it needs.
struct Routes {
    gate: Gate,
    doors: Vec<Door>,
    description: Description,
    router: Router<Engine>,
}

impl Routes {
    fn new(gate: Gate) -> Self {
        Self { gate, doors: Vec::new(), description: Description::new(), router: Router::new() }
    }

    fn get<T: 'static, A, H: Handler<T, Engine> + Described<A>>(
        self,
        path: &'static str,
        role: Role,
        reach: Reach,
        handler: H,
        summary: &str,
    ) -> Self {
        self.add(Door { method: "GET", path, role, reach }, handler, summary)
    }

    fn post<T: 'static, A, H: Handler<T, Engine> + Described<A>>(
        self,
        path: &'static str,
        role: Role,
        reach: Reach,
        handler: H,
        summary: &str,
    ) -> Self {
        self.add(Door { method: "POST", path, role, reach }, handler, summary)
    }

    fn delete<T: 'static, A, H: Handler<T, Engine> + Described<A>>(
        self,
        path: &'static str,
        role: Role,
        reach: Reach,
        handler: H,
        summary: &str,
    ) -> Self {
        self.add(Door { method: "DELETE", path, role, reach }, handler, summary)
    }

    fn add<T: 'static, A, H: Handler<T, Engine> + Described<A>>(
        mut self,
        door: Door,
        handler: H,
        summary: &str,
    ) -> Self {
        let Door { method, path, role, reach } = door;
        self.description.add::<A, H>(Route { method, path, needs: Some((role, reach)), summary });
        let gate = middleware::from_fn_with_state((self.gate.clone(), door), admit);
        self.doors.push(door);
        self.router = self.router.route(door.path, on(door.method, handler).route_layer(gate));
        self
    }

    /// A route that needs nothing.
    fn open<T: 'static, A, H: Handler<T, Engine> + Described<A>>(
        mut self,
        method: &'static str,
        path: &'static str,
        handler: H,
        summary: &str,
    ) -> Self {
        self.description.add::<A, H>(Route { method, path, needs: None, summary });
        self.router = self.router.route(path, on(method, handler));
        self
    }

    fn behind_the_gate(self) -> Router<Engine> {
        let document = self.description.finish();
        self.router.layer(Extension(Arc::<[Door]>::from(self.doors))).layer(Extension(document))
    }
}

fn on<T: 'static>(method: &str, handler: impl Handler<T, Engine>) -> MethodRouter<Engine> {
    match method {
        "GET" => get(handler),
        "DELETE" => delete(handler),
        _ => post(handler),
    }
}

/// Serves the API until `shutdown` ends, and then until the requests that are being answered are. `reloader` reads the
/// config again; none where there is no config.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    reloader: Option<Arc<dyn Reloader>>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let router = router(engine).layer(Extension(Reloads(reloader)));
    axum::serve(Patient(listener), router).with_graceful_shutdown(shutdown).await
}

async fn console_or_nothing(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    console::answer(&method, &uri, &headers).unwrap_or_else(|| no_route(&uri).into_response())
}

fn no_route(uri: &Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "route_unknown",
        "There is no such route",
        format!("there is nothing at {}", uri.path()),
    )
}

async fn no_method(method: Method, uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_unknown",
        "The route does not take this method",
        format!("{} does not take {method}", uri.path()),
    )
}
