//! The routes, on one screen, and the loop that serves them.

use crate::handlers::{
    actions, activity, apps, conflicts, errors, health, maps, metrics, queue, rules, verify,
};
use crate::problem::Refusal;
use crate::{BODY_MAX_BYTES, fence};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware;
use axum::routing::{get, post};
use std::future::Future;
use tandem_engine::Engine;
use tokio::net::TcpListener;

/// The whole API over an engine.
pub fn router(engine: Engine) -> Router {
    let api = Router::new()
        .route("/maps", get(maps::list))
        .route("/maps/{map}", get(maps::show))
        .route("/maps/{map}/run", post(actions::run))
        .route("/maps/{map}/pause", post(actions::pause))
        .route("/maps/{map}/resume", post(actions::resume))
        .route("/maps/{map}/skip", post(actions::skip))
        .route("/maps/{map}/stop", post(actions::stop))
        .route("/maps/{map}/wait", get(maps::wait))
        .route("/maps/{map}/try", post(maps::try_row))
        .route("/maps/{map}/queue", get(queue::list))
        .route("/maps/{map}/queue/stats", get(queue::stats))
        .route("/maps/{map}/queue/{seq}", get(queue::show))
        .route("/errors", get(errors::list))
        .route("/errors/causes", get(errors::causes))
        .route("/errors/{id}", get(errors::show))
        .route("/maps/{map}/errors/retry", post(errors::retry))
        .route("/maps/{map}/errors/delete", post(errors::delete))
        .route("/maps/{map}/errors/cancel", post(errors::cancel))
        .route("/maps/{map}/verify", get(verify::show).post(verify::start))
        .route("/maps/{map}/verify/cancel", post(verify::cancel))
        .route("/actions", post(actions::several))
        .route("/plan", post(actions::plan))
        .route("/rules", get(rules::list))
        .route("/rules/{rule}/enable", post(rules::enable))
        .route("/rules/{rule}/disable", post(rules::disable))
        .route("/rules/{rule}/test", get(rules::test))
        .route("/activity", get(activity::list))
        .route("/conflicts", get(conflicts::list))
        .route("/apps", get(apps::list))
        .route("/check", get(apps::check));
    Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(metrics::metrics))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(BODY_MAX_BYTES))
        .layer(middleware::from_fn(fence::loopback_only))
        .with_state(engine)
}

/// Serves the API until `shutdown` ends, and then until the requests that are being answered are.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(engine)).with_graceful_shutdown(shutdown).await
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
