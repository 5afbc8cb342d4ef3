//! One request to a collector: OTLP over gRPC or HTTP, with a body that is encoded already.

use std::time::Duration;

use bytes::{Buf as _, BufMut as _};
use opentelemetry_http::Bytes;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::settings::Destination;
use crate::{Protocol, TelemetryError};

/// Method of the service that takes spans.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// The collector that spans go to.
#[derive(Debug)]
pub(crate) struct Post {
    way: Way,
    headers: HeaderMap,
    patience: Duration,
}

#[derive(Debug)]
enum Way {
    Grpc(Channel),
    Http(reqwest::Client, reqwest::Url),
}

/// It was not taken.
#[derive(Debug)]
pub(crate) struct NotTaken;

impl Post {
    /// Prepares a client; it connects with the first request.
    pub fn new(to: &Destination, protocol: Protocol) -> Result<Self, TelemetryError> {
        let unusable = |error: &dyn std::fmt::Display| TelemetryError::Exporter(error.to_string());
        // An error only says that a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let way = match protocol {
            Protocol::Grpc => {
                let mut endpoint = Endpoint::from_shared(to.url.clone()).map_err(|error| unusable(&error))?;
                if to.url.starts_with("https://") {
                    let tls = ClientTlsConfig::new().with_native_roots();
                    endpoint = endpoint.tls_config(tls).map_err(|error| unusable(&error))?;
                }
                Way::Grpc(endpoint.connect_lazy())
            }
            Protocol::HttpProtobuf => {
                let client = reqwest::Client::builder().build().map_err(|error| unusable(&error))?;
                Way::Http(client, to.url.parse().map_err(|error| unusable(&error))?)
            }
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &to.headers {
            let name: HeaderName = name.parse().map_err(|error| unusable(&error))?;
            let mut value: HeaderValue = value.parse().map_err(|error| unusable(&error))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        Ok(Self {
            way,
            headers,
            patience: to.patience,
        })
    }

    /// Sends one body.
    pub async fn send(&self, body: Bytes) -> Result<(), NotTaken> {
        let sent = async {
            match &self.way {
                Way::Grpc(channel) => self.call(channel.clone(), body).await,
                Way::Http(client, url) => {
                    let request = client.post(url.clone()).headers(self.headers.clone());
                    let request = request.header(CONTENT_TYPE, "application/x-protobuf").body(body);
                    let reply = request.send().await.map_err(|_| NotTaken)?;
                    reply.error_for_status().map(drop).map_err(|_| NotTaken)
                }
            }
        };
        tokio::time::timeout(self.patience, sent).await.map_err(|_| NotTaken)?
    }

    async fn call(&self, channel: Channel, body: Bytes) -> Result<(), NotTaken> {
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|_| NotTaken)?;
        let mut request = Request::new(body);
        *request.metadata_mut() = MetadataMap::from_headers(self.headers.clone());
        let reply = client.unary(request, PathAndQuery::from_static(EXPORT), AsItIs).await;
        reply.map(drop).map_err(|_| NotTaken)
    }
}

/// Messages as bytes.
#[derive(Debug, Clone, Copy)]
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Bytes;
    type Decode = ();
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
    type Item = ();
    type Error = Status;

    fn decode(&mut self, reply: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        reply.advance(reply.remaining());
        Ok(Some(()))
    }
}
