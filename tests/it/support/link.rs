//! A link between the operator and the API server that can be cut.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes bytes on until it is cut. Then nothing comes through any more, and nobody is told: that is how a network fails.
pub struct Link {
    kubeconfig: PathBuf,
    whole: watch::Sender<bool>,
    _folder: TempDir,
}

impl Link {
    /// One to the API server of a kubeconfig file.
    pub async fn to(kubeconfig: &Path) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let text = std::fs::read_to_string(kubeconfig).unwrap();
        let url = text.split('"').find(|word| word.starts_with("https://")).unwrap();
        let server: SocketAddr = url.strip_prefix("https://").unwrap().parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let linked = folder.path().join("kubeconfig");
        std::fs::write(&linked, text.replace(url, &format!("https://{}", listener.local_addr().unwrap()))).unwrap();
        let (whole, is_whole) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut is_whole = is_whole.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => return,
                        _ = is_whole.wait_for(|is_whole| !is_whole) => {}
                    }
                    // Until then both ends stay open, and hear nothing.
                    let _ = is_whole.wait_for(|is_whole| *is_whole).await;
                });
            }
        });
        Self { kubeconfig: linked, whole, _folder: folder }
    }

    /// A kubeconfig file by way of it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub fn cut(&self) {
        self.whole.send_replace(false);
    }

    /// The connections that were cut are closed, new ones come through.
    pub fn mend(&self) {
        self.whole.send_replace(true);
    }
}
