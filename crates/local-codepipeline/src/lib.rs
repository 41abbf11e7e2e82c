//! A local emulator of AWS CodePipeline: an endpoint that implements the API for manual approvals. `model` is
//! CodePipeline as a deterministic value, `api` its operations, `iam` roles and their sessions, `cloud` all accounts and
//! regions, `faults` injected errors, `server` the HTTP layer.
//!
//! ```
//! # use local_codepipeline::{LocalCodePipeline, Settings, api::ApprovalStatus, faults::Fault};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = LocalCodePipeline::start(Settings::default()).await?;
//! let approval = endpoint.open_approval("checkout", "Prod", "Approve")?;
//! endpoint.inject(Fault::disconnect_after_applying().pipeline("checkout"));
//! println!("AWS_ENDPOINT_URL={} token {}", endpoint.url(), approval.token);
//!
//! let bob = "arn:aws:iam::123456789012:user/bob";
//! endpoint.respond_as(bob, ("checkout", "Prod", "Approve"), approval.token, ApprovalStatus::Rejected, "not now")?;
//! endpoint.wait_for(|service, _| service.ledger().len() == 1).await;
//! assert!(endpoint.ledger().iter().all(|entry| entry.is_accepted()));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod api;
pub mod client;
pub mod cloud;
pub mod faults;
pub mod iam;
pub mod model;
pub mod seed;
mod server;

pub use server::{InAccount, LocalCodePipeline, Settings};
