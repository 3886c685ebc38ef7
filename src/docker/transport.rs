//! Connections to Docker engines, kept open between calls: one handshake serves many calls.
//!
//! Over `tcp` only the host's own authority is trusted, never the operating system's; a public authority must
//! not be able to vouch for a host.

use std::{future::poll_fn, path::Path, pin::Pin, sync::Arc, time::Duration};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures_util::future::BoxFuture;
use hyper::body::{Body as _, Incoming};
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

/// What carries one request to the engine.
type Carrier = Arc<dyn Fn(BollardRequest) -> BoxFuture<'static, Sent> + Send + Sync>;
type Sent = std::result::Result<hyper::Response<Incoming>, bollard::errors::Error>;

/// A connection: the client's, and the bare one under it.
pub(super) struct Line {
    /// The client.
    pub(super) docker: Docker,
    send: Carrier,
    /// What stands before the path of a bare request.
    base: String,
}

impl Line {
    fn new(base: String, send: Carrier) -> Result<Self> {
        let carrier = send.clone();
        let docker = Docker::connect_with_custom_transport(
            move |request| carrier(request),
            Some(base.as_str()),
            CLIENT_SECONDS,
            API_DEFAULT_VERSION,
        )?;
        Ok(Self { docker, send, base })
    }

    /// The bytes of a bare GET, for the answers that the client reads only from the newest engines.
    pub(super) async fn get(&self, path: &str) -> Result<Vec<u8>> {
        let request = hyper::Request::get(format!("{}{path}", self.base));
        let request = request
            .body(bollard::body_full(Vec::new().into()))
            .map_err(|error| Error::new(Trouble::Endpoint, error.to_string()))?;
        let answer = (self.send)(request).await?;
        let (status, mut body) = (answer.status(), answer.into_body());
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let frame = frame.map_err(|error| Error::new(Trouble::Unreachable, error.to_string()))?;
            bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
        if status.is_success() {
            return Ok(bytes);
        }
        Err(Error::from_answer(status.as_u16(), &String::from_utf8_lossy(&bytes)))
    }
}

/// An engine behind a unix socket.
pub(super) fn unix(socket: &Path) -> Result<Line> {
    let client = pooled(hyperlocal::UnixConnector);
    let socket = socket.to_owned();
    let send = move |mut request: BollardRequest| {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        *request.uri_mut() = hyperlocal::Uri::new(&socket, &path).into();
        let client = client.clone();
        let sent = async move { client.request(request).await.map_err(bollard::errors::Error::from) };
        Box::pin(sent) as BoxFuture<'static, Sent>
    };
    Line::new("http://docker".to_owned(), Arc::new(send))
}

/// An engine at `authority`, with mutual TLS.
pub(super) fn tcp(authority: &str, documents: &TlsDocuments) -> Result<Line> {
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
        let sent = async move { client.request(request).await.map_err(bollard::errors::Error::from) };
        Box::pin(sent) as BoxFuture<'static, Sent>
    };
    Line::new(format!("https://{authority}"), Arc::new(send))
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
