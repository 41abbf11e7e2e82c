//! A CodePipeline on this machine: an endpoint that speaks the service's wire protocol as far as manual approvals go.
//! `model` is the service as a value, `api` its operations, `faults` what can go wrong on the way, `server` the HTTP.
//!
//! ```
//! # use local_codepipeline::{LocalCodePipeline, Settings, api::ApprovalStatus, faults::Fault};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let service = LocalCodePipeline::start(Settings::default()).await?;
//! let approval = service.open_approval("checkout", "Prod", "Approve")?;
//! service.fault(Fault::cut_after_applying().pipeline("checkout"));
//! println!("AWS_ENDPOINT_URL={} token {}", service.url(), approval.token);
//!
//! let bob = "arn:aws:iam::123456789012:user/bob";
//! service.answer_as(bob, ("checkout", "Prod", "Approve"), approval.token, ApprovalStatus::Rejected, "not now")?;
//! service.wait_for(|service, _| service.ledger().len() == 1).await;
//! assert!(service.ledger().iter().all(|entry| entry.is_accepted()));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod api;
pub mod client;
pub mod faults;
pub mod model;
pub mod seed;
mod server;

pub use server::{LocalCodePipeline, Settings};
