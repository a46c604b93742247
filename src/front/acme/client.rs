//! The HTTP client that talks to the authority.

use std::fmt;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, Response};
use bytes::{Bytes, BytesMut};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use reqwest::{Certificate, Client};

use crate::front::outgoing;

/// The same client as for everything else that is asked of others.
#[derive(Debug)]
pub struct Web(Client);

impl Web {
    /// Believes an authority by the roots in `directory_ca`, without it by those of the system.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// A sentence: `directory_ca` cannot be used, or the host has no usable TLS.
    pub fn new(directory_ca: Option<&Path>) -> Result<Self, String> {
        let mut builder = outgoing::builder().timeout(TIMEOUT);
        if let Some(file) = directory_ca {
            builder = builder.tls_certs_only(roots(file)?);
        }
        let client = builder.build();
        client.map(Self).map_err(|error| format!("no TLS: {error}"))
    }
}

fn roots(file: &Path) -> Result<Vec<Certificate>, String> {
    let unusable = |error: &dyn fmt::Display| format!("{} cannot be used: {error}", file.display());
    let text = fs::read(file).map_err(|e| unusable(&e))?;
    let roots = Certificate::from_pem_bundle(&text).map_err(|e| unusable(&e))?;
    match roots.is_empty() {
        true => Err(unusable(&"it holds no certificate")),
        false => Ok(roots),
    }
}

impl HttpClient for Web {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(exchange(client, request))
    }
}

async fn exchange(
    client: Client,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, Error> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await;
    let body = body.map_err(|error| Error::Other(error.into()))?;
    let asked = client
        .request(parts.method, parts.uri.to_string())
        .headers(parts.headers)
        .body(body);
    let failed = |error: reqwest::Error| Error::Other(error.into());
    let mut answer = asked.send().await.map_err(failed)?;
    let mut bytes = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > MAX_ANSWER_LEN {
            return Err(Error::Str("an answer of a reasonable length"));
        }
        bytes.extend_from_slice(&chunk);
    }
    let mut response = Response::new(());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    let (parts, ()) = response.into_parts();
    Ok(BytesResponse {
        parts,
        body: Box::new(bytes.freeze()),
    })
}

/// Of one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes; chains have some thousand.
const MAX_ANSWER_LEN: usize = 1 << 20;
