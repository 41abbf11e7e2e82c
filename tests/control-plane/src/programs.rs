//! Where the programs are: in the folder that `KUBEBUILDER_ASSETS` names, as other operators' tests have it, or in
//! `bin/` beside this crate's manifest, where `build.sh` puts them.

use std::env;
use std::path::{Path, PathBuf};

use crate::Error;

/// The three programs of a control plane, all of one folder.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) folder: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) kube_apiserver: PathBuf,
    pub(crate) kubectl: PathBuf,
}

impl Programs {
    pub(crate) fn find() -> Result<Self, Error> {
        match env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()) {
            Some(folder) => Self::in_folder(
                Path::new(&folder),
                "KUBEBUILDER_ASSETS names that folder; unset it and run `make control-plane` to build them here",
            ),
            None => Self::in_folder(
                &Path::new(env!("CARGO_MANIFEST_DIR")).join("bin"),
                "run `make control-plane`, which builds it (some five minutes on two cores, once), or set \
                 KUBEBUILDER_ASSETS to a folder with etcd, kube-apiserver and kubectl",
            ),
        }
    }

    pub(crate) fn in_folder(folder: &Path, remedy: &'static str) -> Result<Self, Error> {
        // The servers are started in a folder of their own, where a relative path would lead elsewhere.
        let folder = std::path::absolute(folder).map_err(Error::doing("finding the current folder"))?;
        let find = |program: &'static str| {
            let path = folder.join(program);
            if path.is_file() { Ok(path) } else { Err(Error::Missing { program, folder: folder.clone(), remedy }) }
        };
        Ok(Self {
            etcd: find("etcd")?,
            kube_apiserver: find("kube-apiserver")?,
            kubectl: find("kubectl")?,
            folder: folder.clone(),
        })
    }
}
