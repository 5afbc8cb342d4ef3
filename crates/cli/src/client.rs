//! Speaking with a coordinator over gRPC.

use std::{path::Path, time::Duration};

use sipdo_protocol::pb::run_service_client::RunServiceClient;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::failure::{Exit, Failure};

/// Tasks travel with their data, and runs with all their prompts and examples.
const LARGEST_MESSAGE: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// A coordinator's run service, with the token put on every call.
pub type Api = RunServiceClient<InterceptedService<Channel, Bearer>>;

/// Puts `authorization: Bearer ...` on every call, where there is a token.
#[derive(Clone, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    /// The token in a file (its first line), or none.
    ///
    /// # Errors
    /// A file that cannot be read, or that holds no usable token.
    pub fn from_file(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(file) = file else {
            return Ok(Bearer(None));
        };
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("token file {}: {error}", file.display())))?;
        let token = text.lines().next().unwrap_or_default().trim();
        // The parser's own error is left out: it would repeat the token.
        match format!("Bearer {token}").parse::<MetadataValue<Ascii>>() {
            Ok(mut value) if !token.is_empty() => {
                value.set_sensitive(true);
                Ok(Bearer(Some(value)))
            }
            _ => Err(Failure::usage(format!(
                "token file {}: the first line must be a token of printable ASCII characters",
                file.display()
            ))),
        }
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Connects to the coordinator at `url` (`http://host:port`, or `https://` with the system's certificates).
///
/// # Errors
/// A URL that is none; a coordinator that does not answer.
pub async fn connect(url: &str, token: Bearer) -> Result<Api, Failure> {
    let bad = |error: tonic::transport::Error| {
        Failure::usage(format!("coordinator URL {url:?}: {error}")).hint("for example: http://127.0.0.1:7450")
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Failure::usage(format!(
            "coordinator URL {url:?}: it must begin with http:// or https://"
        ))
        .hint("for example: http://127.0.0.1:7450"));
    }
    let mut endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(bad)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_while_idle(true);
    if url.starts_with("https://") {
        endpoint = endpoint
            .tls_config(ClientTlsConfig::new().with_native_roots())
            .map_err(bad)?;
    }
    let channel = endpoint.connect().await.map_err(|error| {
        Failure::new(
            Exit::Unavailable,
            format!("no coordinator answers at {url}: {}", innermost(&error)),
        )
        .hint("`sipdo up` starts a local stack; `sipdo status` shows what is running")
    })?;
    Ok(RunServiceClient::with_interceptor(channel, token)
        .max_decoding_message_size(LARGEST_MESSAGE)
        .max_encoding_message_size(LARGEST_MESSAGE))
}

/// The last cause of an error: the transport's own words say only "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_there_is_exit_code_6_and_says_what_to_do() {
        // Bound and dropped: a port on which surely nobody listens.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let url = format!("http://127.0.0.1:{port}");
        let failure = connect(&url, Bearer::default()).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(
            failure.message.contains(&url) && failure.hint.contains("sipdo up"),
            "{failure}"
        );
        for url in ["::", "localhost:7070", "http://"] {
            let failure = connect(url, Bearer::default()).await.unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{url}: {failure}");
        }
    }

    #[test]
    fn a_token_is_one_line_and_never_repeated_in_errors() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let mut bearer = Bearer::from_file(Some(&file)).unwrap();
        let request = bearer.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer s3cret");
        std::fs::write(&file, "s3cret\u{7f}\n").unwrap();
        let Err(failure) = Bearer::from_file(Some(&file)) else {
            panic!("taken")
        };
        assert!(!failure.message.contains("s3cret"), "{failure}");
    }
}
