//! One request over HTTP and its reply, for every provider: sizes are bounded, and what goes wrong is said without the URL.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};
use serde::Serialize;

use crate::address::AddressRefused;
use crate::price::usd_to_nano;
use crate::retry::asked;
use crate::text::scrub;
use crate::wire::Failure;

/// Most bytes of an error's body that are read.
const ERROR_BYTES: usize = 16 * 1024;

/// A reply of success, read.
pub(crate) struct Received {
    pub(crate) body: Vec<u8>,
    pub(crate) content_type: String,
    /// What a gateway says in its headers that the request cost, in 10⁻⁹ USD.
    pub(crate) gateway_cost: Option<u64>,
}

/// The header in which LiteLLM's proxy tells what a request cost, in USD.
const COST_HEADER: &str = "x-litellm-response-cost";

/// Sends a JSON body and reads the reply, at most `limit` bytes of it. `begun` becomes true when the reply begins to come.
pub(crate) async fn post(
    http: &Client,
    url: &Url,
    headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    body: &impl Serialize,
    (limit, begun): (usize, &AtomicBool),
) -> Result<Received, Failure> {
    let body = serde_json::to_vec(body)
        .map_err(|error| Failure::Forbidden(format!("the request cannot be written as JSON: {error}")))?;
    let mut request = http
        .post(url.clone())
        .header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.body(body).send().await.map_err(failure)?;
    begun.store(true, Ordering::Relaxed);
    let response = success(response).await?;
    let content_type = content_type(&response);
    let cost = response
        .headers()
        .get(COST_HEADER)
        .and_then(|value| value.to_str().ok());
    let gateway_cost = cost.and_then(|text| text.trim().parse().ok()).and_then(usd_to_nano);
    Ok(Received {
        body: read(response, limit).await?,
        content_type,
        gateway_cost,
    })
}

/// Passes a reply of success on; any other becomes a failure with the beginning of its body.
pub(crate) async fn success(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let asked = asked(response.headers(), std::time::SystemTime::now());
    // What cannot be read of an error's body does not change which error it is.
    let body = read_some(response, ERROR_BYTES)
        .await
        .map(|(bytes, _)| bytes)
        .unwrap_or_default();
    Err(Failure::Status {
        status: status.as_u16(),
        asked,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// The whole body, if it is no longer than `limit` bytes.
pub(crate) async fn read(response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    match read_some(response, limit).await? {
        (bytes, true) => Ok(bytes),
        (_, false) => Err(Failure::TooLong(limit)),
    }
}

/// The first `limit` bytes of the body, and whether that was all.
async fn read_some(mut response: Response, limit: usize) -> Result<(Vec<u8>, bool), Failure> {
    let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(announced.min(limit));
    while let Some(chunk) = response.chunk().await.map_err(failure)? {
        if bytes.len() + chunk.len() > limit {
            bytes.extend_from_slice(chunk.get(..limit - bytes.len()).unwrap_or_default());
            return Ok((bytes, false));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes, true))
}

fn content_type(response: &Response) -> String {
    let value = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    crate::text::clip(value, 60)
}

/// What an error of the HTTP client means. Its own words are not used: they hold the URL.
pub(crate) fn failure(error: reqwest::Error) -> Failure {
    let mut innermost: &(dyn std::error::Error + 'static) = &error;
    while let Some(cause) = innermost.source() {
        if let Some(problem) = certificate_problem(cause) {
            return Failure::Forbidden(tls_advice(&problem));
        }
        if let Some(refused) = cause.downcast_ref::<AddressRefused>() {
            return Failure::Forbidden(refused.to_string());
        }
        innermost = cause;
    }
    let cause = if error.source().is_some() {
        scrub(&innermost.to_string(), None)
    } else {
        String::new()
    };
    if let Some(words) = proxy_advice(&cause, |name| std::env::var(name).ok()) {
        return Failure::Forbidden(words);
    }
    if error.is_connect() {
        return Failure::Unreachable(format!("cannot connect: {cause}"));
    }
    if error.is_builder() {
        return Failure::Forbidden(format!("the request cannot be built: {cause}"));
    }
    Failure::Lost(format!(
        "the connection was lost before the whole answer had come: {cause}"
    ))
}

/// What would help against a certificate that is not accepted.
fn tls_advice(problem: &str) -> String {
    let says = |words: &[&str]| words.iter().any(|word| problem.contains(word));
    let advice = if says(&["CaUsedAsEndEntity", "CA used as an end-entity"]) {
        "the server shows the certificate of an authority as its own, which is refused even where it is trusted; \
         give the server a certificate that such an authority has signed (CA:FALSE, with its host name)"
    } else if says(&["Expired", "expired", "NotValidYet", "not valid yet"]) {
        "renew the certificate, or set the clock of this machine"
    } else if says(&["NotValidForName", "not valid for name"]) {
        "use the host name in base_url that the certificate names"
    } else {
        "for a private authority name its certificate in SSL_CERT_FILE; a self-signed certificate of the server itself does not do: \
         make an authority, and sign the server's certificate with it"
    };
    format!("its TLS certificate is not accepted ({problem}): {advice}")
}

/// Variables that set a proxy.
const PROXY_VARIABLES: [&str; 6] = [
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

/// What is wrong with a proxy of the environment that the client cannot use.
fn proxy_advice(cause: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    if !cause.contains("scheme") && !cause.contains("socks") {
        return None;
    }
    let is_http = |value: &str| value.starts_with("http://") || value.starts_with("https://") || !value.contains("://");
    let name = PROXY_VARIABLES
        .iter()
        .find(|name| variable(name).is_some_and(|value| !value.is_empty() && !is_http(&value)))?;
    Some(format!(
        "the environment variable {name} names a proxy that is not an HTTP proxy, and only http:// and https:// proxies are supported; \
         unset it, or list this host in NO_PROXY"
    ))
}

/// What is wrong with a peer's certificate, if that is the cause. I/O errors hold it, one inside another, without naming
/// it as their source.
fn certificate_problem(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut inner = cause.downcast_ref::<std::io::Error>()?.get_ref()?;
    while let Some(further) = inner.downcast_ref::<std::io::Error>() {
        inner = further.get_ref()?;
    }
    match inner.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(problem) => Some(problem.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_on_certificates_and_proxies_fits_the_problem() {
        assert!(tls_advice("Other(OtherError(CaUsedAsEndEntity))").contains("signed"));
        assert!(tls_advice("certificate expired").contains("clock"));
        assert!(tls_advice("UnknownIssuer").contains("SSL_CERT_FILE"));
        let socks = |name: &str| (name == "ALL_PROXY").then(|| "socks5://me:secret@host:1".to_owned());
        let words = proxy_advice("unsupported scheme socks5", socks).unwrap();
        assert!(words.contains("ALL_PROXY") && !words.contains("secret"), "{words}");
        assert_eq!(
            proxy_advice("unsupported scheme", |_| Some("http://host:1".into())),
            None
        );
        assert_eq!(proxy_advice("connection refused", socks), None);
    }

    #[test]
    fn a_certificate_problem_is_found_however_deep() {
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let wrapped = std::io::Error::other(std::io::Error::new(std::io::ErrorKind::InvalidData, bad));
        assert_eq!(certificate_problem(&wrapped).as_deref(), Some("Expired"));
        assert_eq!(certificate_problem(&std::io::Error::other("else")), None);
    }
}
