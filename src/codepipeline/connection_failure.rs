//! Why a call got no response, in plain words: the SDK's own text is a chain of the names of its layers.

use crate::error_chain::{caused_by, display_chain};
use aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextRef;
use aws_smithy_runtime_api::client::result::ConnectorError;
use axum::http::Uri;
use std::error::Error;
use std::io;
use std::sync::{Arc, OnceLock};

/// The host that a call goes to, with its port if that is not the usual one. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Host(Arc<OnceLock<String>>);

impl Host {
    /// Notes the host of a request. A retry goes to the same one.
    pub(super) fn note(&self, context: &BeforeTransmitInterceptorContextRef<'_>) {
        let url = context.request().uri().parse::<Uri>().ok();
        if let Some(authority) = url.as_ref().and_then(Uri::authority) {
            let port = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
            let _ = self.0.set(format!("{}{port}", authority.host()));
        }
    }

    /// What is called, for users.
    pub(super) fn server(&self, service: &str) -> String {
        self.0.get().map_or_else(|| service.to_owned(), |host| format!("{service} at {host}"))
    }
}

/// What failed between the operator and a server, which `server` names. The failure may be that of a proxy on the way.
pub(super) fn describe(error: &(dyn Error + 'static), server: &str) -> String {
    let Some(connector) = caused_by::<ConnectorError>(error) else { return display_chain(error) };
    if connector.is_timeout() {
        return format!("no connection to {server} in time");
    }
    // The type of the HTTP client's error is private.
    let is_dns = chain(connector).any(|error| error.to_string() == "dns error");
    if is_dns {
        let lookup = chain(connector).last().map(ToString::to_string).unwrap_or_default();
        let problem = lookup.strip_prefix("failed to lookup address information: ").unwrap_or(&lookup);
        return format!("the DNS lookup for the connection to {server} failed ({problem})");
    }
    match caused_by::<io::Error>(connector).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => format!("the connection to {server} was refused"),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) => {
            format!("the connection to {server} was closed")
        }
        _ => format!("the connection to {server} failed ({})", display_chain(without_layers(connector))),
    }
}

/// An error and its causes.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| Error::source(*error))
}

/// The cause without the errors of the SDK and of the HTTP client around it, which say only "other" or "client error".
fn without_layers<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let is_layer = |error: &&(dyn Error + 'static)| {
        error.is::<ConnectorError>() || error.is::<hyper_util::client::legacy::Error>()
    };
    chain(error).find(|error| !is_layer(error)).unwrap_or(error)
}
