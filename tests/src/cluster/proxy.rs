//! A TCP proxy between one process and the server: passes everything on, later, or not at all, or cuts the connection.

use anyhow::Result;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// What a proxy does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes it on.
    Open,
    /// Passes each piece on after this time.
    Delay(Duration),
    /// Takes it and passes nothing on: the connection stays, and nobody hears anything.
    Drop,
    /// Breaks every connection and lets none through.
    Cut,
}

/// A proxy; it ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    task: AbortHandle,
}

impl Proxy {
    /// A proxy on a free port of this machine for the server at `target`.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Open);
        let task = tokio::spawn(accept(listener, target, modes)).abort_handle();
        Ok(Proxy { address, mode, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves so from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Whether there is no connection.
    pub fn is_idle(&self) -> bool {
        // Whoever accepts connections listens too, and each connection.
        self.mode.receiver_count() <= 1
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, modes: watch::Receiver<Mode>) {
    // Dropped with this task, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(connect(client, target, modes.clone()));
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// One connection, until either side ends it or it is cut.
async fn connect(client: TcpStream, target: SocketAddr, mut modes: watch::Receiver<Mode>) {
    if *modes.borrow() == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, modes.clone()) => {}
        () = pass(from_server, to_client, modes.clone()) => {}
        _ = modes.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, modes: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        let mode = *modes.borrow();
        if let Mode::Delay(time) = mode {
            tokio::time::sleep(time).await;
        }
        let Some(piece) = buffer.get(..size).filter(|_| mode != Mode::Drop) else {
            continue;
        };
        if to.write_all(piece).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        address
    }

    async fn says(stream: &mut TcpStream, word: &[u8], within: Duration) -> bool {
        stream.write_all(word).await.unwrap();
        let mut heard = vec![0; word.len()];
        let read = tokio::time::timeout(within, stream.read_exact(&mut heard)).await;
        matches!(read, Ok(Ok(_))) && heard == word
    }

    #[tokio::test]
    async fn passes_drops_and_cuts() {
        let proxy = Proxy::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(says(&mut stream, b"one", Duration::from_secs(10)).await);
        proxy.set(Mode::Drop);
        assert!(!says(&mut stream, b"two", Duration::from_millis(100)).await);
        proxy.set(Mode::Open);
        assert!(
            says(&mut stream, b"six", Duration::from_secs(10)).await,
            "what was dropped stays dropped, the rest passes"
        );
        proxy.set(Mode::Cut);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "the connection is gone");
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(
            refused.read(&mut [0; 1]).await.unwrap_or(0),
            0,
            "and no other is let through"
        );
    }
}
