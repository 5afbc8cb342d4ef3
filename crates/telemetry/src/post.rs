//! One request to a collector: OTLP over gRPC or HTTP, with a body that is encoded already.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::BufMut as _;
use flate2::{Compression, write::GzEncoder};
use opentelemetry_http::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::TelemetryError;
use crate::destination::{Destination, Protocol};

/// Method of the service that takes spans.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// For how long a body is sent again: less than what the end of a process waits.
const PATIENCE: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What a collector is told about who sends.
const NAME: &str = concat!("sipdo/", env!("CARGO_PKG_VERSION"));

/// The collector that spans go to.
#[derive(Debug)]
pub(crate) struct Post {
    way: Way,
    url: String,
    gzip: bool,
    headers: HeaderMap,
    patience: Duration,
    /// Whether the last body was not taken.
    failing: AtomicBool,
}

/// A client that connects with its first request.
#[derive(Debug)]
pub(crate) enum Way {
    Grpc(Channel),
    Http(reqwest::Client),
}

/// Why a body was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// The collector cannot be reached, or cannot take it now: the same body may be sent again.
    ForNow,
    /// It is refused.
    Ever,
}

impl NotTaken {
    /// As the specification of OTLP parts the statuses of HTTP.
    fn of_http(error: &reqwest::Error) -> Self {
        match error.status().map(|status| status.as_u16()) {
            None | Some(429 | 502 | 503 | 504) => Self::ForNow,
            Some(_) => Self::Ever,
        }
    }

    /// As it parts those of gRPC.
    fn of_grpc(status: &Status) -> Self {
        match status.code() {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
            // What the client itself says of a connection that broke.
            | Code::Unknown => Self::ForNow,
            _ => Self::Ever,
        }
    }
}

fn unusable(error: impl std::fmt::Display) -> TelemetryError {
    TelemetryError::Exporter(error.to_string())
}

impl Way {
    /// # Errors
    /// A URL or a certificate that cannot be used; no runtime.
    pub fn new(to: &Destination) -> Result<Self, TelemetryError> {
        tokio::runtime::Handle::try_current().map_err(|_| TelemetryError::NoRuntime)?;
        // An error only says that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        match to.protocol {
            Protocol::Grpc => grpc(to).map(Self::Grpc),
            Protocol::HttpProtobuf => http(to).map(Self::Http),
        }
    }
}

fn grpc(to: &Destination) -> Result<Channel, TelemetryError> {
    let endpoint = Endpoint::from_shared(to.url.clone()).map_err(unusable)?;
    let mut endpoint = endpoint.user_agent(NAME).map_err(unusable)?;
    if to.url.starts_with("https://") {
        let mut tls = ClientTlsConfig::new();
        tls = match &to.authority {
            Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
            None => tls.with_native_roots(),
        };
        if let Some((certificate, key)) = &to.identity {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        endpoint = endpoint.tls_config(tls).map_err(unusable)?;
    }
    Ok(endpoint.connect_lazy())
}

fn http(to: &Destination) -> Result<reqwest::Client, TelemetryError> {
    let _: reqwest::Url = to.url.parse().map_err(unusable)?;
    let mut client = reqwest::Client::builder().user_agent(NAME).timeout(to.patience);
    if let Some(path) = &to.authority {
        client = client.tls_certs_only(reqwest::Certificate::from_pem_bundle(&read(path)?).map_err(unusable)?);
    }
    if let Some((certificate, key)) = &to.identity {
        let both = [read(certificate)?, read(key)?].concat();
        client = client.identity(reqwest::Identity::from_pem(&both).map_err(unusable)?);
    }
    client.build().map_err(unusable)
}

fn read(path: &Path) -> Result<Vec<u8>, TelemetryError> {
    std::fs::read(path).map_err(|error| unusable(format_args!("{}: {error}", path.display())))
}

impl Post {
    /// Prepares a client.
    ///
    /// # Errors
    /// A URL, a certificate or a header that cannot be used; no runtime.
    pub fn new(to: &Destination) -> Result<Self, TelemetryError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &to.headers {
            let name: HeaderName = name.parse().map_err(unusable)?;
            let mut value: HeaderValue = value.parse().map_err(unusable)?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self {
            way: Way::new(to)?,
            url: to.url.clone(),
            gzip: to.gzip,
            headers,
            patience: to.patience,
            failing: AtomicBool::new(false),
        })
    }

    /// Sends one body, and again while the collector cannot take it for now; where it did not take the one before, once.
    /// Returns how many of its spans the collector refused although it took the rest.
    pub async fn send(&self, body: Bytes) -> Result<u64, NotTaken> {
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            let sent = self.once(body.clone()).await;
            let again = sent == Err(NotTaken::ForNow) && begun.elapsed() + pause <= PATIENCE;
            if !again || self.failing.load(Ordering::Relaxed) {
                self.failing.store(sent.is_err(), Ordering::Relaxed);
                return sent;
            }
            tokio::time::sleep(pause).await;
            pause = pause * 3 / 2;
        }
    }

    async fn once(&self, body: Bytes) -> Result<u64, NotTaken> {
        let sent = async {
            match &self.way {
                Way::Grpc(channel) => self.call(channel.clone(), body).await,
                Way::Http(client) => self.post(client, body).await,
            }
        };
        let sent = tokio::time::timeout(self.patience, sent).await;
        let reply = sent.map_err(|_| NotTaken::ForNow)??;
        // Its words are not shown, as those of an error: nobody knows what a collector writes into them.
        let partial = reply.partial_success.unwrap_or_default();
        Ok(partial.rejected_spans.try_into().unwrap_or_default())
    }

    async fn post(&self, client: &reqwest::Client, body: Bytes) -> Result<ExportTraceServiceResponse, NotTaken> {
        let mut request = client.post(&self.url).headers(self.headers.clone());
        request = request.header(CONTENT_TYPE, "application/x-protobuf");
        request = match self.gzip {
            true => request.header(CONTENT_ENCODING, "gzip").body(packed(&body)?),
            false => request.body(body),
        };
        let reply = request.send().await.and_then(reqwest::Response::error_for_status);
        let reply = reply.map_err(|error| NotTaken::of_http(&error))?;
        // A collector that answers in words of its own has taken it all the same.
        let words = reply.bytes().await.unwrap_or_default();
        Ok(ExportTraceServiceResponse::decode(words).unwrap_or_default())
    }

    async fn call(&self, channel: Channel, body: Bytes) -> Result<ExportTraceServiceResponse, NotTaken> {
        let mut client = tonic::client::Grpc::new(channel);
        if self.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client.ready().await.map_err(|_| NotTaken::ForNow)?;
        let mut request = Request::new(body);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
        let reply = client.unary(request, PathAndQuery::from_static(EXPORT), AsItIs).await;
        reply
            .map(tonic::Response::into_inner)
            .map_err(|status| NotTaken::of_grpc(&status))
    }
}

fn packed(body: &[u8]) -> Result<Vec<u8>, NotTaken> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(body).map_err(|_| NotTaken::Ever)?;
    out.finish().map_err(|_| NotTaken::Ever)
}

/// Requests as bytes.
#[derive(Debug, Clone, Copy)]
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for AsItIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for AsItIs {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, reply: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        Ok(Some(Self::Item::decode(reply).unwrap_or_default()))
    }
}
