//! The HTTP server: liveness, readiness and metrics.

use crate::controller::DecisionStore;
use crate::decision::Settings;
use crate::leader_election::LeaderState;
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;

/// What the server reports.
#[derive(Clone)]
pub struct Health {
    /// The decisions of each watch.
    pub stores: Vec<DecisionStore>,
    /// Whether this replica is the leader.
    pub leader: watch::Receiver<LeaderState>,
    /// The settings that the times of decisions depend on.
    pub settings: Settings,
    /// The metrics.
    pub metrics: Metrics,
}

/// The routes of the server.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> (StatusCode, &'static str) {
    if DecisionStore::have_synced(&health.stores) {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the watch on ApprovalDecisions has not synced yet; see the log for the reason\n",
        )
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    let leader = *health.leader.borrow();
    let decisions = health.stores.iter().flat_map(|store| store.decisions.state());
    match health.metrics.encode(decisions, &health.settings, leader) {
        Ok(text) => {
            let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, format)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
