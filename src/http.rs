//! The HTTP port: liveness, readiness and metrics.

use crate::api::v1alpha1::ApprovalDecision;
use crate::decision::Settings;
use crate::leadership::Role;
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::FutureExt;
use kube::runtime::reflector::Store;
use tokio::sync::watch;

/// What the port tells about.
#[derive(Clone)]
pub struct Health {
    /// The decisions of each watch.
    pub stores: Vec<Store<ApprovalDecision>>,
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
    let synced = |store: &Store<ApprovalDecision>| store.wait_until_ready().now_or_never().is_some();
    if health.stores.iter().all(synced) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the watch on ApprovalDecisions has not synced yet: the log says why\n")
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    let role = *health.role.borrow();
    match health.metrics.encode(health.stores.iter().flat_map(Store::state), &health.settings, role) {
        Ok(text) => {
            let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, format)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
