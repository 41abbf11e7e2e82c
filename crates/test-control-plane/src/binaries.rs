//! Finds the binaries: in the folder that `KUBEBUILDER_ASSETS` names, as in envtest, or else in `bin/` of this crate,
//! where `build.sh` links or builds them.

use std::env;
use std::path::{Path, PathBuf};

use crate::Error;

/// The three binaries of a control plane, all in one folder.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) folder: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) kube_apiserver: PathBuf,
    pub(crate) kubectl: PathBuf,
}

impl Binaries {
    pub(crate) fn find() -> Result<Self, Error> {
        match env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()) {
            Some(folder) => Self::in_folder(
                Path::new(&folder),
                "KUBEBUILDER_ASSETS names this folder; unset it and run `make control-plane`",
            ),
            None => Self::in_folder(
                &Path::new(env!("CARGO_MANIFEST_DIR")).join("bin"),
                "run `make control-plane`, which uses the binaries of setup-envtest or builds them (once, about five \
                 minutes on two cores), or set KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl",
            ),
        }
    }

    pub(crate) fn in_folder(folder: &Path, remedy: &'static str) -> Result<Self, Error> {
        // The servers run in another working directory, so the path must be absolute.
        let folder = std::path::absolute(folder).map_err(Error::io("cannot resolve the path of the binaries"))?;
        let find = |binary: &'static str| {
            let path = folder.join(binary);
            if path.is_file() { Ok(path) } else { Err(Error::Missing { binary, folder: folder.clone(), remedy }) }
        };
        Ok(Self {
            etcd: find("etcd")?,
            kube_apiserver: find("kube-apiserver")?,
            kubectl: find("kubectl")?,
            folder: folder.clone(),
        })
    }
}
