//! Every failure of the HTTP door as `application/problem+json` (RFC 9457), from services, extractors, fallbacks,
//! timeouts and panics alike.
//!
//! A [`Problem`] travels as an empty response with the error in its extensions; [`render`], the outermost layer, writes
//! the body, because only there the request id is known for every kind of failure.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::{
    error::{Denial, Error, FieldError, Kind},
    ids::{DecisionId, RequestId},
};

/// A service's error on its way to the client.
#[derive(Debug)]
pub(super) struct Problem(pub Error);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// The body of every failure.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(super) struct ProblemBody {
    /// Where the code is explained.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, why, and what to do next.
    pub detail: String,
    /// Stable code; clients branch on this.
    pub code: String,
    /// The request, for the operator's log.
    pub request_id: String,
    /// The wrong fields, for bad input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// The reasons, for a refusal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<Denial>,
    /// The recorded decision behind a refusal, to be asked about later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DecisionId>,
}

/// The status that a kind of failure is shown as.
pub(super) const fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Malformed => StatusCode::BAD_REQUEST,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Refused => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Stale => StatusCode::PRECONDITION_FAILED,
        Kind::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = status_of(self.0.kind).into_response();
        response.extensions_mut().insert(Arc::new(self.0));
        response
    }
}

/// The outermost layer: gives the request its id, and every failure its body.
pub(super) async fn render(request: RequestId, mut incoming: Request, next: Next) -> Response {
    incoming.extensions_mut().insert(request);
    let (method, path) = (incoming.method().clone(), incoming.uri().path().to_owned());
    let mut response = next.run(incoming).await;
    let told = response.extensions_mut().remove::<Arc<Error>>();
    let status = response.status();
    let own_body = response.headers().contains_key(header::CONTENT_TYPE) && told.is_none();
    let mut response = match told {
        Some(error) => write(&error, request, &method, &path),
        // Failures that axum or a layer made: an unknown path, a wrong method, a panic that was caught.
        None if (status.is_client_error() || status.is_server_error()) && !own_body => {
            let mut made = write(&error_of(status, &method, &path), request, &method, &path);
            if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
                made.headers_mut().insert(header::ALLOW, allow);
            }
            made
        }
        None => response,
    };
    if let Ok(value) = HeaderValue::from_str(&request.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

fn error_of(status: StatusCode, method: &Method, path: &str) -> Error {
    match status {
        StatusCode::NOT_FOUND => Error::new(Kind::NotFound, "not-found", format!("there is no route {path}")),
        StatusCode::METHOD_NOT_ALLOWED => {
            let told = format!("{path} does not take {method}; the Allow header lists what it takes");
            Error::new(Kind::Malformed, "method-not-allowed", told)
        }
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Error::internal(format!("a layer answered {status}")),
    }
}

/// The error for a body over its limit.
pub(super) fn too_large() -> Error {
    let told =
        "the body is larger than this server takes; `limits.body_bytes` and `limits.plugin_bytes` set it";
    Error::new(Kind::TooLarge, "body-too-large", told)
}

fn write(error: &Error, request: RequestId, method: &Method, path: &str) -> Response {
    if let Some(replay) = &error.replay {
        let status = StatusCode::from_u16(replay.status).unwrap_or(StatusCode::OK);
        let headers = [(header::CONTENT_TYPE, "application/json"), (IDEMPOTENCY_REPLAYED, "true")];
        return (status, headers, replay.body.clone()).into_response();
    }
    let status = match error.code {
        "method-not-allowed" => StatusCode::METHOD_NOT_ALLOWED,
        _ => status_of(error.kind),
    };
    match error.kind {
        Kind::Internal => tracing::error!(%request, %method, path, ?error, "request failed"),
        Kind::Unavailable => tracing::warn!(%request, %method, path, ?error, "request put off"),
        _ => tracing::debug!(%request, %method, path, ?error, "request refused"),
    }
    let body = ProblemBody {
        kind: format!("urn:muster:error:{}", error.code),
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        status: status.as_u16(),
        detail: error.detail.clone(),
        code: error.code.to_owned(),
        request_id: request.to_string(),
        errors: error.fields.clone(),
        denials: error.denials.clone(),
        decision: error.decision,
    };
    let text = serde_json::to_string(&body).unwrap_or_else(|_| "{}".to_owned());
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if let Some(seconds) = error.retry_after_seconds {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Set on an answer that was given before.
pub(super) const IDEMPOTENCY_REPLAYED: header::HeaderName =
    header::HeaderName::from_static("idempotency-replayed");
