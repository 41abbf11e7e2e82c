//! A network partition between the operator and the API server.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Forwards bytes until it is cut. Then it drops them and leaves the connections open, as a network that fails does.
pub struct Partition {
    kubeconfig: PathBuf,
    state: watch::Sender<State>,
    _folder: TempDir,
}

#[derive(Clone, Copy)]
struct State {
    /// Connections of an older generation are cut off.
    generation: u32,
    forwards: bool,
}

impl Partition {
    /// A connection to the API server of a kubeconfig file.
    pub async fn to(kubeconfig: &Path) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let text = std::fs::read_to_string(kubeconfig).unwrap();
        let url = text.split('"').find(|word| word.starts_with("https://")).unwrap();
        let server: SocketAddr = url.strip_prefix("https://").unwrap().parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let proxied = folder.path().join("kubeconfig");
        std::fs::write(&proxied, text.replace(url, &format!("https://{}", listener.local_addr().unwrap()))).unwrap();
        let (state, states) = watch::channel(State { generation: 0, forwards: true });
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut states = states.clone();
                tokio::spawn(async move {
                    let mut upstream = TcpStream::connect(server).await.unwrap();
                    let State { generation, forwards } = *states.borrow_and_update();
                    if forwards {
                        tokio::select! {
                            _ = copy_bidirectional(&mut client, &mut upstream) => return,
                            _ = states.wait_for(|now| now.generation != generation) => {}
                        }
                    }
                    // Both sockets stay open, so neither side sees an error.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { kubeconfig: proxied, state, _folder: folder }
    }

    /// A kubeconfig file that connects through the partition.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Cuts off all connections, open and new.
    pub fn cut(&self) {
        self.next_generation(false);
    }

    /// Forwards new connections. Those that are open already stay cut off, as when a NAT gateway has lost its table.
    pub fn heal(&self) {
        self.next_generation(true);
    }

    fn next_generation(&self, forwards: bool) {
        self.state.send_modify(|state| *state = State { generation: state.generation + 1, forwards });
    }
}
