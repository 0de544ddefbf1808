//! The routes, on one screen, and the loop that serves them.

use crate::gate::{Door, Gate, Reach, admit};
use crate::handlers::reload::{Reloader, Reloads};
use crate::handlers::{
    actions, activity, apps, conflicts, errors, health, maps, metrics, queue, reload, rules, tokens, verify,
};
use crate::problem::Refusal;
use crate::{BODY_MAX_BYTES, fence};
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::routing::{MethodRouter, get, post};
use axum::{Extension, Router};
use std::future::Future;
use std::sync::Arc;
use tandem_core::Role;
use tandem_engine::Engine;
use tokio::net::TcpListener;

/// The whole API over an engine: every route with the least role that it needs, and the maps that it is about.
pub fn router(engine: Engine) -> Router {
    use Reach::{All, Named, Seen};
    use Role::{Admin, Operator, Viewer};
    let routes = Routes::new(Gate::new(engine.clone()))
        .get("/api/v1/access", Viewer, Seen, tokens::access)
        .get("/api/v1/maps", Viewer, Seen, maps::list)
        .get("/api/v1/maps/{map}", Viewer, Named, maps::show)
        .post("/api/v1/maps/{map}/run", Operator, Named, actions::run)
        .post("/api/v1/maps/{map}/pause", Operator, Named, actions::pause)
        .post("/api/v1/maps/{map}/resume", Operator, Named, actions::resume)
        .post("/api/v1/maps/{map}/skip", Operator, Named, actions::skip)
        .post("/api/v1/maps/{map}/stop", Operator, Named, actions::stop)
        .get("/api/v1/maps/{map}/wait", Viewer, Named, maps::wait)
        .post("/api/v1/maps/{map}/try", Viewer, Named, maps::try_row)
        .get("/api/v1/maps/{map}/queue", Viewer, Named, queue::list)
        .get("/api/v1/maps/{map}/queue/stats", Viewer, Named, queue::stats)
        .get("/api/v1/maps/{map}/queue/{seq}", Viewer, Named, queue::show)
        .get("/api/v1/errors", Viewer, Seen, errors::list)
        .get("/api/v1/errors/causes", Viewer, Seen, errors::causes)
        .get("/api/v1/errors/{id}", Viewer, Seen, errors::show)
        .post("/api/v1/maps/{map}/errors/retry", Operator, Named, errors::retry)
        .post("/api/v1/maps/{map}/errors/delete", Operator, Named, errors::delete)
        .post("/api/v1/maps/{map}/errors/cancel", Operator, Named, errors::cancel)
        .get("/api/v1/maps/{map}/verify", Viewer, Named, verify::show)
        .post("/api/v1/maps/{map}/verify", Operator, Named, verify::start)
        .post("/api/v1/maps/{map}/verify/cancel", Operator, Named, verify::cancel)
        .post("/api/v1/actions", Operator, Seen, actions::several)
        .post("/api/v1/plan", Viewer, Seen, actions::plan)
        .get("/api/v1/rules", Viewer, All, rules::list)
        .post("/api/v1/rules/{rule}/enable", Operator, All, rules::enable)
        .post("/api/v1/rules/{rule}/disable", Operator, All, rules::disable)
        .get("/api/v1/rules/{rule}/test", Viewer, All, rules::test)
        .get("/api/v1/activity", Viewer, Seen, activity::list)
        .get("/api/v1/conflicts", Viewer, Seen, conflicts::list)
        .get("/api/v1/apps", Viewer, All, apps::list)
        .get("/api/v1/check", Viewer, All, apps::check)
        .post("/api/v1/reload", Admin, All, reload::reload)
        .get("/api/v1/tokens", Admin, All, tokens::list)
        .post("/api/v1/tokens", Admin, All, tokens::create)
        .post("/api/v1/tokens/{token}/revoke", Admin, All, tokens::revoke)
        .get("/metrics", Viewer, All, metrics::metrics);
    routes
        .behind_the_gate()
        // Open: whoever watches over the process has no token, and learns nothing but whether it is well.
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn(fence::loopback_only))
        .with_state(engine)
}

/// Routes behind the gate. There is no way to add one without saying what it needs.
struct Routes {
    gate: Gate,
    doors: Vec<Door>,
    router: Router<Engine>,
}

impl Routes {
    fn new(gate: Gate) -> Self {
        Self { gate, doors: Vec::new(), router: Router::new() }
    }

    fn get<T: 'static>(
        self,
        path: &'static str,
        role: Role,
        reach: Reach,
        handler: impl Handler<T, Engine>,
    ) -> Self {
        self.add(Door { method: "GET", path, role, reach }, get(handler))
    }

    fn post<T: 'static>(
        self,
        path: &'static str,
        role: Role,
        reach: Reach,
        handler: impl Handler<T, Engine>,
    ) -> Self {
        self.add(Door { method: "POST", path, role, reach }, post(handler))
    }

    fn add(mut self, door: Door, handler: MethodRouter<Engine>) -> Self {
        let gate = middleware::from_fn_with_state((self.gate.clone(), door), admit);
        self.doors.push(door);
        self.router = self.router.route(door.path, handler.route_layer(gate));
        self
    }

    fn behind_the_gate(self) -> Router<Engine> {
        self.router.layer(Extension(Arc::<[Door]>::from(self.doors)))
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
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await
}

async fn no_route(uri: Uri) -> Refusal {
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
