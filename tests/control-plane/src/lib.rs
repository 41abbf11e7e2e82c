//! A Kubernetes control plane for tests and the demo: etcd and kube-apiserver as plain processes, with RBAC and
//! admission, and without containers, nodes or controllers. It lives in a temporary folder and ends with its owner:
//! dropped, returned from by `?`, panicked or killed.
//!
//! What a controller does in a real cluster is not done here: nothing is garbage collected, a deleted namespace stays
//! in `Terminating`, and the cluster roles that are put together from others (`admin`, `edit`, `view`) are empty.

mod control_plane;
mod error;
mod programs;
mod server;
mod user;

pub use control_plane::{ControlPlane, SecondApiServer};
pub use error::Error;
pub use user::User;
