//! Connections to Docker engines, kept open between calls: one handshake serves many calls.
//!
//! Over `tcp` only the host's own authority is trusted, never the operating system's; a public authority must
//! not be able to vouch for a host.

use std::{path::Path, sync::Arc, time::Duration};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::{
    client::legacy::{Client, connect::Connect, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{Error, Result, Trouble};
use crate::model::host::TlsDocuments;

/// How long a connection may take to open.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// After how long an unused connection is closed.
const IDLE: Duration = Duration::from_secs(30);
/// How many unused connections stay open for one host.
const IDLE_CONNECTIONS: usize = 8;
/// The client's own limit in seconds, out of the way: every call here has its own deadline.
const CLIENT_SECONDS: u64 = 7200;

/// An engine behind a unix socket.
pub(super) fn unix(socket: &Path) -> Result<Docker> {
    let client = pooled(hyperlocal::UnixConnector);
    let socket = socket.to_owned();
    let send = move |mut request: BollardRequest| {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        *request.uri_mut() = hyperlocal::Uri::new(&socket, &path).into();
        let client = client.clone();
        async move { client.request(request).await.map_err(bollard::errors::Error::from) }
    };
    Ok(Docker::connect_with_custom_transport(
        send,
        Some("http://docker"),
        CLIENT_SECONDS,
        API_DEFAULT_VERSION,
    )?)
}

/// An engine at `authority`, with mutual TLS.
pub(super) fn tcp(authority: &str, documents: &TlsDocuments) -> Result<Docker> {
    let mut plain = HttpConnector::new();
    plain.enforce_http(false);
    plain.set_connect_timeout(Some(CONNECT_DEADLINE));
    plain.set_keepalive(Some(Duration::from_secs(15)));
    plain.set_nodelay(true);
    let secure = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls_config(documents)?)
        .https_only()
        .enable_http1()
        .wrap_connector(plain);
    let client = pooled(secure);
    let send = move |request: BollardRequest| {
        let client = client.clone();
        async move { client.request(request).await.map_err(bollard::errors::Error::from) }
    };
    let address = format!("https://{authority}");
    Ok(Docker::connect_with_custom_transport(send, Some(address), CLIENT_SECONDS, API_DEFAULT_VERSION)?)
}

fn pooled<C, B>(connector: C) -> Client<C, B>
where
    C: Connect + Clone + Send + Sync + 'static,
    B: hyper::body::Body<Data: Send> + Send,
{
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(connector)
}

fn tls_config(documents: &TlsDocuments) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for authority in certificates(&documents.ca_pem, "ca_pem")? {
        roots.add(authority).map_err(|error| unusable("ca_pem", &error))?;
    }
    let chain = certificates(&documents.cert_pem, "cert_pem")?;
    let key = PrivateKeyDer::from_pem_slice(documents.key_pem.as_bytes())
        .map_err(|error| unusable("key_pem", &error))?;
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(chain, key))
        .map_err(|error| unusable("cert_pem and key_pem", &error))
}

fn certificates(pem: &str, name: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| unusable(name, &error))?;
    match found.is_empty() {
        true => Err(unusable(name, &"there is no certificate in it")),
        false => Ok(found),
    }
}

fn unusable(name: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(Trouble::Endpoint, format!("{name}: {why}"))
}
