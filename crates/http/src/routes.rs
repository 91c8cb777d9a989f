//! What is asked for under which path.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::FutureExt;
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
        .layer(middleware::from_fn(caught))
        .with_state(shared)
}

/// A defect while a request is answered is that request's: it is told, and written down.
async fn caught(request: Request, next: Next) -> Result<Response, Failure> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    AssertUnwindSafe(next.run(request)).catch_unwind().await.map_err(|panic| {
        tracing::error!(%method, path, reason = told(panic.as_ref()), "a request met a defect");
        Failure::defect()
    })
}

/// What a panic says.
pub(crate) fn told(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it does not say")
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
            } else if health.pipelines_failing > 0 {
                body["pipelines"] = json!("some fail: `polder pipelines` says why");
            }
            if health.statements_late {
                body["statements"] = json!("late: all their threads are taken");
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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    async fn breaks() -> Response {
        panic!("seven is not even")
    }

    #[tokio::test]
    async fn a_defect_is_an_answer() {
        let router = Router::new().route("/", get(breaks)).fallback(unknown).layer(middleware::from_fn(caught));
        let service = TowerToHyperService::new(router);
        let ask = |path: &str| {
            let request = axum::http::Request::builder().uri(path).body(Body::empty()).unwrap();
            let service = service.clone();
            async move {
                let answer = service.call(request).await.unwrap();
                let status = answer.status();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                (status, String::from_utf8(body.to_vec()).unwrap())
            }
        };
        let (status, body) = ask("/").await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.starts_with("{\"error\":{\"message\":\"a defect of Polder"), "{body}");
        assert!(!body.contains("seven"), "what a defect says is for the log: {body}");
        assert_eq!(ask("/other").await.0, StatusCode::NOT_FOUND, "and the next request is answered");
    }
}
