//! A client of the API, with the token that a coordinator may demand.

use anyhow::Result;
use sipdo_protocol::pb::run_service_client::RunServiceClient;
use std::{fs, net::SocketAddr};
use tempfile::NamedTempFile;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};

/// A client of one coordinator.
pub type Client = RunServiceClient<InterceptedService<Channel, Bearer>>;

/// Puts the token on every call, where there is one.
#[derive(Debug, Clone, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A token, and the file that holds it, outside of the cluster's folder.
#[derive(Debug)]
pub(crate) struct Token {
    pub bearer: Bearer,
    pub file: NamedTempFile,
}

impl Token {
    pub fn new(token: &str) -> Result<Self> {
        let file = NamedTempFile::new()?;
        fs::write(file.path(), token)?;
        let bearer = Bearer(Some(format!("Bearer {token}").parse()?));
        Ok(Token { bearer, file })
    }
}

/// A client of the coordinator at this address.
///
/// # Errors
/// It does not answer.
pub async fn connect(api: SocketAddr) -> Result<Client> {
    connect_with(api, Bearer::default()).await
}

pub(crate) async fn connect_with(api: SocketAddr, token: Bearer) -> Result<Client> {
    let channel = Channel::from_shared(format!("http://{api}"))?.connect().await?;
    Ok(RunServiceClient::with_interceptor(channel, token)
        .max_decoding_message_size(256 << 20)
        .max_encoding_message_size(256 << 20))
}
