//! Fault injection: crashes and disconnects at every request, an API server that is stale, wrong or unavailable, and competing
//! operators. `make test` runs a quick part of each test, and `make faults` runs all of it; docs/reliability.md shows the results.

mod api_server;
mod every_request;
mod load;
mod observer;
pub mod request_log;
mod soak;
mod two_operators;
