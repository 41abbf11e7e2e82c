//! The HTTP server: liveness, readiness and metrics. By default it serves IPv4 and IPv6, because probes, Prometheus and `helm test`
//! use the family of the cluster.

use crate::controller::{DecisionStore, Readiness, Targets};
use crate::decision::Settings;
use crate::leader_election::LeaderState;
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// The port of the default address.
const DEFAULT_PORT: u16 = 8080;

/// How many connections may wait until the server accepts them.
const BACKLOG: i32 = 1024;

/// Why the server cannot listen on an address.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {source}")]
pub struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// What the server reports.
#[derive(Clone)]
pub struct Health {
    /// The decisions of each watch.
    pub stores: Vec<DecisionStore>,
    /// The targets.
    pub targets: Targets,
    /// Whether this replica is the leader.
    pub leader: watch::Receiver<LeaderState>,
    /// The settings that the times of decisions depend on.
    pub settings: Settings,
    /// The metrics.
    pub metrics: Metrics,
}

/// Listens on this address; without one, on the default address for IPv4 and IPv6, or for IPv4 where there is no IPv6.
///
/// # Errors
/// When the address cannot be used, for example because another process uses it.
pub fn listen(address: Option<SocketAddr>) -> Result<TcpListener, ListenError> {
    match address {
        Some(address) => bind(address),
        None => listen_on_any(DEFAULT_PORT, bind),
    }
}

fn listen_on_any<L>(port: u16, bind: impl Fn(SocketAddr) -> Result<L, ListenError>) -> Result<L, ListenError> {
    let on = |ip: IpAddr| bind(SocketAddr::new(ip, port));
    match on(Ipv6Addr::UNSPECIFIED.into()) {
        // IPv4 would not help. With another process on the port, half of the clients would reach that one.
        Err(error) if !matches!(error.source.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
            on(Ipv4Addr::UNSPECIFIED.into())
        }
        listening => listening,
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let listen = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        if address.is_ipv6() {
            // The default of the node may differ.
            socket.set_only_v6(false)?;
        }
        // A restart must not wait for connections of the previous process.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    listen().map_err(|source| ListenError { address, source })
}

/// The routes of the server.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    match (DecisionStore::readiness(&health.stores), health.targets.readiness()) {
        (Readiness::Ready, Readiness::Ready) => (StatusCode::OK, "ok\n".to_owned()),
        (Readiness::NotSynced, _) => unavailable("the watch on ApprovalDecisions has not synced yet"),
        (Readiness::WatchBroken, _) => {
            unavailable("the watch on ApprovalDecisions has failed for more than two minutes")
        }
        (Readiness::Ready, Readiness::NotSynced) => {
            unavailable("the watch on ApprovalTargets or on namespaces has not synced yet")
        }
        (Readiness::Ready, Readiness::WatchBroken) => {
            unavailable("the watch on ApprovalTargets or on namespaces has failed for more than two minutes")
        }
    }
}

fn unavailable(why: &str) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{why}; see the log for the reason\n"))
}

async fn metrics(State(health): State<Health>) -> Response {
    let leader = *health.leader.borrow();
    let decisions = health.stores.iter().flat_map(|store| store.decisions.state());
    match health.metrics.encode(decisions, &health.targets.ready(), &health.settings, leader) {
        Ok(text) => {
            let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, format)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn the_default_address_accepts_ipv4_and_ipv6() {
        let listener = listen_on_any(0, bind).unwrap();
        let address = listener.local_addr().unwrap();
        let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok();
        assert_eq!(address.is_ipv6(), has_ipv6);
        TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).await.unwrap();
        if has_ipv6 {
            TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).await.unwrap();
        }
    }

    /// Listens on the default address where IPv6 fails like this.
    fn listen_without_ipv6(source: impl Fn() -> std::io::Error) -> Result<SocketAddr, ListenError> {
        listen_on_any(DEFAULT_PORT, |address| {
            if address.is_ipv6() { Err(ListenError { address, source: source() }) } else { Ok(address) }
        })
    }

    #[test]
    fn the_default_address_is_one_of_ipv4_where_there_is_no_ipv6() {
        /// EAFNOSUPPORT, of a kernel without IPv6.
        const NOT_SUPPORTED: i32 = 97;
        for source in [|| std::io::Error::from_raw_os_error(NOT_SUPPORTED), || ErrorKind::AddrNotAvailable.into()] {
            let listening = listen_without_ipv6(source).unwrap();
            assert_eq!(listening, "0.0.0.0:8080".parse().unwrap());
        }
        let error = listen_without_ipv6(|| ErrorKind::AddrInUse.into()).unwrap_err();
        assert_eq!(error.address, "[::]:8080".parse().unwrap());
    }

    #[tokio::test]
    async fn an_address_that_was_given_is_used_or_refused() {
        let given = listen(Some("127.0.0.1:0".parse().unwrap())).unwrap().local_addr().unwrap();
        assert_eq!(given.ip(), Ipv4Addr::LOCALHOST);
        let error = listen(Some("[2001:db8::1]:80".parse().unwrap())).unwrap_err();
        assert_eq!(error.address, "[2001:db8::1]:80".parse().unwrap());
    }
}
