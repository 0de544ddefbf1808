//! The routes, on one screen, and what every request goes through.

use crate::events::Events;
use crate::fence::{self, Transport};
use crate::gate::{Door, Gate, Reach, admit};
use crate::handlers::metrics::MetricsAccess;
use crate::handlers::reload::{Reloader, Reloads};
use crate::handlers::server::ShownIdentity;
use crate::handlers::{
    actions, activity, apps, conflicts, errors, events, health, maps, metrics, queue, reload, rules, server,
    session, tokens, verify,
};
use crate::limits::{Places, bounded};
use crate::openapi::describe::Described;
use crate::openapi::{self, Description, Route};
use crate::problem::Refusal;
use crate::requests::{Requests, counted};
use crate::session::PATH as SESSION;
use crate::tls::Identity;
use crate::{BODY_MAX_BYTES, connections, console, headers};
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
use tokio::sync::watch;

/// The whole API over an engine: every route with the least role that it needs, and the maps that it is about. `figures`
/// says who may read those at `/metrics`.
fn router(engine: Engine, transport: Transport, figures: MetricsAccess) -> Router {
    use Reach::{All, Named, Seen};
    use Role::{Admin, Operator, Viewer};
    let gate = Gate::new(engine.clone(), transport);
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
        .get("/api/v1/maps/{map}/mapping", Viewer, Named, maps::mapping, "What a map does with a record")
        .get("/api/v1/maps/{map}/history", Viewer, Named, maps::history, "How the queue of a map was")
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
        .get("/api/v1/server", Viewer, Seen, server::show, "The server itself")
        .get("/api/v1/apps", Viewer, All, apps::list, "The apps")
        .get("/api/v1/apps/{app}/release", Operator, All, apps::release, "What frees an app of us by hand")
        .post(
            "/api/v1/apps/{app}/accept-gap",
            Operator,
            All,
            apps::accept_gap,
            "Goes on behind a gap in a log",
        )
        .get("/api/v1/check", Viewer, All, apps::check, "Checks the maps against their apps")
        .post("/api/v1/reload", Admin, All, reload::reload, "Reads the config again")
        .get("/api/v1/tokens", Admin, All, tokens::list, "The tokens")
        .post("/api/v1/tokens", Admin, All, tokens::create, "Makes a token")
        .post("/api/v1/tokens/{token}/revoke", Admin, All, tokens::revoke, "Takes a token back")
        // Open: a session is begun by who has none, with a token in the body.
        .open("POST", SESSION, session::begin, "Signs in, with a token")
        // Open: it is the same for everybody, and tells of nobody.
        .open("GET", openapi::PATH, openapi::show, "This document")
        // Open: whoever watches over the process has no token, and learns nothing but whether it is well.
        .open("GET", "/livez", health::live, "Whether the process lives")
        .open("GET", "/readyz", health::ready, "Whether every map that runs makes progress");
    let (path, summary) = ("/metrics", "Figures for Prometheus");
    let routes = match figures {
        MetricsAccess::Token => routes.get(path, Viewer, All, metrics::metrics, summary),
        // Open if somebody has written so: what scrapes without a token learns names and figures.
        MetricsAccess::Open => routes.open("GET", path, metrics::metrics, summary),
    };
    let requests = Requests::default();
    routes
        .behind_the_gate()
        .layer(Extension(gate))
        // Open as well: the console is the same for everybody, and shows nothing before somebody has signed in.
        .fallback(console_or_nothing)
        .method_not_allowed_fallback(no_method)
        .layer(Extension(Events::new(engine.clone())))
        .layer(Extension(requests.clone()))
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn_with_state(Places::default(), bounded))
        .layer(middleware::from_fn_with_state(transport, fence::own_only))
        .layer(middleware::from_fn_with_state(requests, counted))
        .layer(middleware::from_fn_with_state(transport, headers::secure))
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

/// How the API is served.
#[derive(Clone)]
pub struct Serving {
    /// What is shown to whoever connects, as it is by then: the API is served over TLS. Without one only who is on this
    /// machine is answered.
    pub identity: Option<watch::Receiver<Identity>>,
    /// Who may read the figures at `/metrics`.
    pub figures: MetricsAccess,
    /// Who reads the config again; none where there is no config.
    pub reloader: Option<Arc<dyn Reloader>>,
}

/// Serves the API until `shutdown` ends, and then until the requests that are being answered are.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    serving: Serving,
    shutdown: impl Future<Output = ()>,
) {
    let Serving { identity, figures, reloader } = serving;
    let transport = if identity.is_some() { Transport::Tls } else { Transport::Plain };
    let router = router(engine, transport, figures)
        .layer(Extension(Reloads(reloader)))
        .layer(Extension(ShownIdentity(identity.clone())));
    connections::serve(listener, identity, router, shutdown).await;
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
