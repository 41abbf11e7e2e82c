//! A Kubernetes control plane for tests and the demo: etcd and kube-apiserver as plain processes, with RBAC and
//! admission, and without containers, nodes or controllers. It uses a temporary folder and ends with its owner, even if
//! the owner panics or is killed.
//!
//! There are no controllers: nothing is garbage collected, a deleted namespace stays in `Terminating`, and the
//! aggregated cluster roles (`admin`, `edit`, `view`) are empty.

mod binaries;
mod control_plane;
mod error;
mod script;
mod server;
mod user;

pub use control_plane::{ControlPlane, SecondApiServer};
pub use error::Error;
pub use script::write_script;
pub use server::Server;
pub use user::User;
