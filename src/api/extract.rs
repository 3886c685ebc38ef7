//! What a handler asks of a request: who calls, the body, the path, the query, the expected version.
//!
//! Each extractor fails as a [`Problem`], with a pointer to the field where there is one.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, Method, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{problem::Problem, problem::too_large};
use crate::{
    app::App,
    error::{Error, FieldError, Kind},
    ids::RequestId,
    op::{Actor, Idempotency, Op},
};

type State = Arc<App>;

/// The caller of a request without a body.
pub(super) struct Caller(pub Op);

impl FromRequestParts<State> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &State) -> Result<Self, Problem> {
        let actor = app.authenticate(bearer(&parts.headers)?).await?;
        let mut op = op(app, parts, actor);
        if parts.method == Method::POST {
            op.idempotency = idempotency(app, parts, &op.actor, &[])?;
        }
        Ok(Self(op))
    }
}

/// The caller of a request, and its JSON body.
pub(super) struct Sent<T> {
    /// The operation.
    pub op: Op,
    /// The body.
    pub body: T,
}

impl<T: DeserializeOwned> FromRequest<State> for Sent<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &State) -> Result<Self, Problem> {
        let (parts, bytes) = whole(request, app).await?;
        let json = parts.headers.get(header::CONTENT_TYPE).is_some_and(|value| {
            let value = value.as_bytes();
            value.eq_ignore_ascii_case(b"application/json") || value.starts_with(b"application/json;")
        });
        if !json {
            let told = "send the body as `Content-Type: application/json`";
            return Err(Error::new(Kind::UnsupportedMedia, "unsupported-media-type", told).into());
        }
        let actor = app.authenticate(bearer(&parts.headers)?).await?;
        let mut op = op(app, &parts, actor);
        op.idempotency = idempotency(app, &parts, &op.actor, &bytes)?;
        let deepest = parts.extensions.get::<Deepest>().map_or(0, |deepest| deepest.0);
        Ok(Self { op, body: parse(&bytes, deepest)? })
    }
}

/// The caller of a request, and its WebAssembly body.
pub(super) struct Uploaded {
    /// The operation.
    pub op: Op,
    /// The body.
    pub bytes: Bytes,
}

impl FromRequest<State> for Uploaded {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &State) -> Result<Self, Problem> {
        if request.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind != "application/wasm") {
            let told = "send the component as `Content-Type: application/wasm`";
            return Err(Error::new(Kind::UnsupportedMedia, "unsupported-media-type", told).into());
        }
        let (parts, bytes) = whole(request, app).await?;
        let actor = app.authenticate(bearer(&parts.headers)?).await?;
        let mut op = op(app, &parts, actor);
        op.idempotency = idempotency(app, &parts, &op.actor, &bytes)?;
        Ok(Self { op, bytes })
    }
}

/// A message of somebody who has no account here: its body as it came, and its headers, for whoever can prove it.
pub(super) struct Foreign {
    /// The operation; nobody's.
    pub op: Op,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub bytes: Bytes,
}

impl FromRequest<State> for Foreign {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &State) -> Result<Self, Problem> {
        let (parts, bytes) = whole(request, app).await?;
        let op = op(app, &parts, Actor::Anonymous);
        Ok(Self { op, headers: parts.headers, bytes })
    }
}

async fn whole(request: Request, app: &State) -> Result<(Parts, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let bytes = Bytes::from_request(Request::from_parts(parts.clone(), body), app).await;
    bytes.map(|bytes| (parts, bytes)).map_err(|_| Problem(too_large()))
}

/// The deepest nesting of a body (`limits.json_depth`); the router lays it beside every request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deepest(pub(super) usize);

/// Whether brackets nest deeper than that; text in quotes does not count.
fn too_deep(bytes: &[u8], deepest: usize) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > deepest {
            return true;
        }
    }
    false
}

/// Reads strict JSON; a failure points at the field.
fn parse<T: DeserializeOwned>(bytes: &[u8], deepest: usize) -> Result<T, Error> {
    if too_deep(bytes, deepest) {
        let told = format!("the body nests deeper than {deepest} levels (`limits.json_depth`)");
        return Err(Error::new(Kind::Malformed, "malformed-json", told));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let pointer = pointer_of(error.path());
        let inner = error.into_inner();
        let (code, what) = if inner.is_data() {
            let unknown = inner.to_string().starts_with("unknown field");
            (if unknown { "unknown-field" } else { "wrong-type" }, "does not fit")
        } else {
            ("malformed-json", "is not JSON")
        };
        let detail = format!("the body {what}: {inner}");
        let field = FieldError { pointer, detail: inner.to_string() };
        Error { fields: vec![field], ..Error::new(Kind::Malformed, code, detail) }
    })?;
    reader.end().map_err(|error| {
        let told = format!("the body goes on after the JSON value: {error}");
        Error::new(Kind::Malformed, "malformed-json", told)
    })?;
    Ok(value)
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => format!("/{index}"),
        Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
        Segment::Enum { variant } => format!("/{variant}"),
        Segment::Unknown => String::new(),
    };
    path.iter().map(step).collect()
}

fn op(app: &App, parts: &Parts, actor: Actor) -> Op {
    let mut op = app.op(actor);
    if let Some(request) = parts.extensions.get::<RequestId>() {
        op.request = *request;
    }
    op
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    token.map(Some).ok_or_else(|| {
        let told = "send `Authorization: Bearer <token>` with a session token or an API key";
        Error::new(Kind::Unauthenticated, "unauthenticated", told)
    })
}

fn idempotency(app: &App, parts: &Parts, actor: &Actor, body: &[u8]) -> Result<Option<Idempotency>, Error> {
    let Some(value) = parts.headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    let fine = (1..=128).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    if !fine {
        return Err(Error::field("Idempotency-Key", "1 to 128 printable ASCII characters without spaces"));
    }
    let path =
        parts.extensions.get::<axum::extract::OriginalUri>().map_or(parts.uri.path(), |uri| uri.path());
    let principal = match actor {
        Actor::Key { member, .. } | Actor::Member { member, .. } => member.to_string(),
        other => other.name(),
    };
    let query = parts.uri.query().unwrap_or_default();
    Ok(Some(Idempotency {
        key: key.to_owned(),
        scope: format!("{principal} {} {path}", parts.method),
        // Bodies can hold passwords: what is kept of them must not be a digest that anybody could compute.
        digest: app.fingerprint(&[query.as_bytes(), b"\0", body].concat()),
    }))
}

/// The parameters of the path; one that cannot be read names nothing, so it is not found.
pub(super) struct At<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<State> for At<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &State) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, app).await;
        path.map(|Path(value)| Self(value)).map_err(|_| Problem(Error::not_found("thing")))
    }
}

/// The parameters of the query string.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<State> for Asked<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &State) -> Result<Self, Problem> {
        let query = Query::<T>::from_request_parts(parts, app).await;
        query.map(|Query(value)| Self(value)).map_err(|error| {
            let field = FieldError { pointer: "query".to_owned(), detail: error.body_text() };
            let told = "the query string cannot be read";
            Problem(Error { fields: vec![field], ..Error::new(Kind::Malformed, "malformed-query", told) })
        })
    }
}

/// The version that a change expects, from `If-Match: "v7"`.
pub(super) struct Expected(pub i64);

impl FromRequestParts<State> for Expected {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else {
            let told =
                "read the thing first and send its ETag as `If-Match`, so that no other change is lost";
            return Err(Error::new(Kind::PreconditionRequired, "precondition-required", told).into());
        };
        let version = value
            .to_str()
            .ok()
            .and_then(|text| text.strip_prefix("\"v").and_then(|rest| rest.strip_suffix('"'))?.parse().ok());
        version
            .map(Self)
            .ok_or_else(|| Error::field("If-Match", "the ETag as it was read, such as \"v7\"").into())
    }
}

/// The ETag of a version.
pub(super) fn etag(version: i64) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"v{version}\""))]
}
