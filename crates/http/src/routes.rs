//! What is asked for under which path.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use polder_app::Server;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::{guard, runs, sql};

/// The longest statement with its values.
const BODY_BYTES: usize = 32 << 20;

/// What Prometheus reads.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) server: Arc<Server>,
    pub(crate) trusting: bool,
    pub(crate) stop: CancellationToken,
}

pub(crate) fn router(server: Arc<Server>, trusting: bool, stop: CancellationToken) -> Router {
    let shared = Shared { server, trusting, stop };
    let api = Router::new()
        .route("/sql", post(sql::sql))
        .route("/runs", get(runs::list))
        .route("/runs/{run}", get(runs::one))
        .route("/runs/{run}/events", get(runs::events))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(shared.clone(), guard::guard));
    Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics).layer(middleware::from_fn_with_state(shared.clone(), guard::guard)))
        .nest("/api", api)
        .fallback(unknown)
        .method_not_allowed_fallback(method)
        .with_state(shared)
}

/// For load balancers and Kubernetes: 200 while the server can do its work, else 503. It tells nothing about the data,
/// and asks for no token.
async fn health(State(shared): State<Shared>) -> Response {
    match shared.server.health().await {
        Ok(health) => {
            let files = if health.files_wrong { "wrong" } else { "ok" };
            let mut body = json!({ "status": "ok", "files": files, "uptime_seconds": health.uptime_seconds });
            if health.pipelines_stuck {
                body["pipelines"] = json!("some cannot go on: the server's log says why");
            }
            Json(body).into_response()
        }
        Err(ailment) => {
            let body = json!({ "status": "failing", "reason": ailment.to_string() });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    ([(header::CONTENT_TYPE, METRICS)], shared.server.metrics_text().await).into_response()
}

async fn unknown() -> Failure {
    let mut failure = Failure::new(StatusCode::NOT_FOUND, "there is nothing here");
    failure.told.hint = Some("/healthz, /metrics, /api/sql, /api/runs".to_owned());
    failure
}

async fn method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this is not asked for with that method")
}
