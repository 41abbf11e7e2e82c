//! The HTTP port: liveness, readiness and metrics.

use crate::decision::Settings;
use crate::leadership::Role;
use crate::metrics::Metrics;
use crate::watch::Cache;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;

/// What the port tells about.
#[derive(Clone)]
pub struct Health {
    /// The decisions of each watch.
    pub caches: Vec<Cache>,
    /// What this replica does now.
    pub role: watch::Receiver<Role>,
    /// What the times of decisions depend on.
    pub settings: Settings,
    /// The counters.
    pub metrics: Metrics,
}

/// The routes of the port.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.caches.iter().all(Cache::is_filled) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the watch on ApprovalDecisions has not synced yet: the log says why\n")
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    let role = *health.role.borrow();
    let decisions = health.caches.iter().flat_map(|cache| cache.decisions.state());
    match health.metrics.encode(decisions, &health.settings, role) {
        Ok(text) => {
            let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, format)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
