//! The least of an HTTP client: one request, one answer.

use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One HTTP/1.0 request; the body of a 2xx answer.
///
/// # Errors
/// Nobody listens, or another answer.
pub async fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    anyhow::ensure!(
        head.contains(" 200 ") || head.contains(" 204 "),
        "{method} {path}: {head}\n{body}"
    );
    Ok(body.to_owned())
}
