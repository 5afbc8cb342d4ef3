//! The admin pages over HTTP: `/livez` and `/readyz` say how the process is, `/metrics` is what Prometheus reads.

use axum::Router;
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::routing::get;
use sipdo_telemetry::metrics;
use std::future::ready;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The answer of `/livez` or `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// 200, with this word.
    Good(&'static str),
    /// 503, with the reason.
    Bad(&'static str),
}

/// The admin pages of this process, served until this is dropped.
#[derive(Debug)]
pub struct AdminPages(JoinHandle<()>);

impl AdminPages {
    /// Serves the pages on `listener`. `live` says whether the process is still of use, `ready` whether it can work now; both are
    /// called at each request.
    pub fn serve<L, R>(listener: TcpListener, live: L, ready: R) -> Self
    where
        L: Fn() -> Health + Clone + Send + Sync + 'static,
        R: Fn() -> Health + Clone + Send + Sync + 'static,
    {
        let pages = pages(live, ready);
        AdminPages(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, pages).await {
                tracing::error!(%error, "the admin pages failed");
            }
        }))
    }
}

impl Drop for AdminPages {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn pages<L, R>(live: L, is_ready: R) -> Router
where
    L: Fn() -> Health + Clone + Send + Sync + 'static,
    R: Fn() -> Health + Clone + Send + Sync + 'static,
{
    let metrics = || ready(([(CONTENT_TYPE, metrics::PAGE_TYPE)], metrics::page()));
    Router::new()
        .route("/livez", get(move || ready(answer(live()))))
        .route("/readyz", get(move || ready(answer(is_ready()))))
        .route("/metrics", get(metrics))
}

fn answer(health: Health) -> (StatusCode, String) {
    match health {
        Health::Good(word) => (StatusCode::OK, format!("{word}\n")),
        Health::Bad(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    async fn page(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn each_page_is_asked_anew_at_each_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let joined = Arc::new(AtomicBool::new(false));
        let state = Arc::clone(&joined);
        let is_ready = move || match state.load(Ordering::Relaxed) {
            true => Health::Good("ready"),
            false => Health::Bad("joining"),
        };
        let pages = AdminPages::serve(listener, || Health::Good("alive"), is_ready);
        let live = page(address, "/livez").await;
        assert!(live.starts_with("HTTP/1.0 200") && live.ends_with("alive\n"), "{live}");
        let early = page(address, "/readyz").await;
        assert!(
            early.starts_with("HTTP/1.0 503") && early.ends_with("joining\n"),
            "{early}"
        );
        joined.store(true, Ordering::Relaxed);
        let later = page(address, "/readyz").await;
        assert!(
            later.starts_with("HTTP/1.0 200") && later.ends_with("ready\n"),
            "{later}"
        );
        let metrics = page(address, "/metrics").await;
        assert!(
            metrics.starts_with("HTTP/1.0 200") && metrics.contains(metrics::PAGE_TYPE),
            "{metrics}"
        );
        drop(pages);
    }
}
