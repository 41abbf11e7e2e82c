//! The integration tests: the endpoint over HTTP, its control routes and its command line.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod accounts;
mod cli;
mod command_properties;
mod http;
mod sts;
