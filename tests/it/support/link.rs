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
    state: watch::Sender<State>,
    _folder: TempDir,
}

#[derive(Clone, Copy)]
struct State {
    /// Only connections of the newest are heard.
    generation: u32,
    passes: bool,
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
        let (state, states) = watch::channel(State { generation: 0, passes: true });
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut states = states.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    let State { generation, passes } = *states.borrow_and_update();
                    if passes {
                        tokio::select! {
                            _ = copy_bidirectional(&mut near, &mut far) => return,
                            _ = states.wait_for(|now| now.generation != generation) => {}
                        }
                    }
                    // Both ends stay open, and hear nothing.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { kubeconfig: linked, state, _folder: folder }
    }

    /// A kubeconfig file by way of it.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Whoever is connected hears nothing more, nor does whoever connects.
    pub fn cut(&self) {
        self.next(false);
    }

    /// Whoever connects from now on is heard, and nobody else: as when a translator of addresses has forgotten them.
    pub fn renew(&self) {
        self.next(true);
    }

    fn next(&self, passes: bool) {
        self.state.send_modify(|state| *state = State { generation: state.generation + 1, passes });
    }
}
