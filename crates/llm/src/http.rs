//! One request over HTTP and its reply, for every provider: sizes are bounded, and what goes wrong is said without the URL.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};

use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Client, Response, Url};
use serde::Serialize;

use crate::address::AddressRefused;
use crate::retry::retry_after;
use crate::text::scrub;
use crate::wire::Failure;

/// Most bytes of an error's body that are read.
const ERROR_BYTES: usize = 16 * 1024;

/// Sends a JSON body and reads the reply, at most `limit` bytes of it, with its content type. `begun` becomes true when the reply begins
/// to come.
pub(crate) async fn post(
    http: &Client,
    url: &Url,
    headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    body: &impl Serialize,
    (limit, begun): (usize, &AtomicBool),
) -> Result<(Vec<u8>, String), Failure> {
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
    Ok((read(response, limit).await?, content_type))
}

/// Passes a reply of success on; any other becomes a failure with the beginning of its body.
pub(crate) async fn success(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = retry_after(response.headers(), std::time::SystemTime::now());
    // What cannot be read of an error's body does not change which error it is.
    let body = read_some(response, ERROR_BYTES)
        .await
        .map(|(bytes, _)| bytes)
        .unwrap_or_default();
    Err(Failure::Status {
        status: status.as_u16(),
        retry_after,
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
            return Failure::Forbidden(format!(
                "its TLS certificate is not accepted ({problem}); for a private authority set SSL_CERT_FILE"
            ));
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
    fn a_certificate_problem_is_found_however_deep() {
        let bad = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let wrapped = std::io::Error::other(std::io::Error::new(std::io::ErrorKind::InvalidData, bad));
        assert_eq!(certificate_problem(&wrapped).as_deref(), Some("Expired"));
        assert_eq!(certificate_problem(&std::io::Error::other("else")), None);
    }
}
