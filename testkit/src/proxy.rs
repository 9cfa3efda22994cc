//! A TCP proxy that can fail as networks do.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Connections through one proxy; more wait in the kernel.
const CONNECTIONS_MAX: usize = 1024;

/// What comes from the server on one connection, on its way to the client: gives what to pass on.
pub type Filter = Box<dyn FnMut(&[u8]) -> Vec<u8> + Send>;

/// A port of 127.0.0.1 that leads to another. Dropping it cuts everything.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    accept: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Where new connections lead.
    upstream: u16,
    flow: Flow,
    /// How often it was cut: each cut ends all connections, also when it is restored at once.
    cuts: u64,
    /// How often it has forgotten its connections.
    forgets: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Open,
    Paused,
    Cut,
}

impl Proxy {
    /// Leads to `upstream`, a port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start(upstream: u16) -> Result<Self> {
        Self::start_with(upstream, || Box::new(<[u8]>::to_vec)).await
    }

    /// Leads to `upstream`, passing what the server sends on each connection through a filter of its
    /// own.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start_with(
        upstream: u16,
        filter: impl Fn() -> Filter + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (state, watched) = watch::channel(State { upstream, flow: Flow::Open, cuts: 0, forgets: 0 });
        let accept = tokio::spawn(accept(listener, watched, Arc::new(filter)));
        Ok(Self { port, state, accept })
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads new connections to another port, as a failover behind one address does; those that there are
    /// stay where they are.
    pub fn lead_to(&self, upstream: u16) {
        self.state.send_modify(|state| state.upstream = upstream);
    }

    /// Ends all connections and accepts none, until [`Proxy::restore`].
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            state.flow = Flow::Cut;
            state.cuts += 1;
        });
    }

    /// Lets no byte through while connections stay, as a network that drops packets; until
    /// [`Proxy::resume`].
    pub fn pause(&self) {
        self.state.send_modify(|state| state.flow = Flow::Paused);
    }

    /// Lets no byte through any more on the connections that there are, and goes on with new ones: as when a
    /// machine is gone without a word, and another has its name.
    pub fn forget(&self) {
        self.state.send_modify(|state| state.forgets += 1);
    }

    /// Lets bytes through again after [`Proxy::pause`]: those held back first.
    pub fn resume(&self) {
        self.state.send_modify(|state| state.flow = Flow::Open);
    }

    /// Accepts connections again after [`Proxy::cut`].
    pub fn restore(&self) {
        self.state.send_modify(|state| state.flow = Flow::Open);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(
    listener: TcpListener,
    state: watch::Receiver<State>,
    filter: Arc<dyn Fn() -> Filter + Send + Sync>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                if let Ok((client, _)) = accepted {
                    let born = *state.borrow();
                    connections.spawn(carry(client, state.clone(), born, filter()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until either side ends it or it is cut.
async fn carry(client: TcpStream, mut state: watch::Receiver<State>, born: State, filter: Filter) {
    let mut cut = state.clone();
    let both = async {
        // A paused network does not complete a handshake either; the client's own is the kernel's.
        if state.wait_for(|state| state.flow == Flow::Open).await.is_err() {
            return;
        }
        let connect = TcpStream::connect((Ipv4Addr::LOCALHOST, born.upstream));
        let Ok(Ok(server)) = tokio::time::timeout(CONNECT_WAIT, connect).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let as_is: Filter = Box::new(<[u8]>::to_vec);
        tokio::select! {
            () = pump(from_client, to_server, state.clone(), born, as_is) => {}
            () = pump(from_server, to_client, state.clone(), born, filter) => {}
        }
    };
    tokio::select! {
        () = both => {}
        _ = cut.wait_for(|state| state.flow == Flow::Cut || state.cuts != born.cuts) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    born: State,
    mut filter: Filter,
) {
    let flows = |state: &State| state.flow == Flow::Open && state.forgets == born.forgets;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let n = from.read(&mut buffer).await.unwrap_or(0);
        // The end of a connection does not pass a paused network either.
        if state.wait_for(flows).await.is_err() || n == 0 {
            return;
        }
        if to.write_all(&filter(&buffer[..n])).await.is_err() {
            return;
        }
    }
}
