//! The client's side of HTTP: one request, one answer or one failure.

use std::{cell::Cell, time::Duration};

use reqwest::{Method, Response, Url, header};
use serde_json::{Value, json};

use super::problem::{Failure, Problem};
use crate::{chance::Chance, config::Secret};

/// Longest wait for an answer: longer than the server lets a request take by default.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for an export: a day.
const FOR_EVER: Duration = Duration::from_secs(86_400);
/// How many items one page of a list carries.
const PAGE: usize = 200;

/// Query parameters; those without a value are left out.
pub(crate) type Query<'q> = &'q [(&'static str, Option<String>)];

/// A server and the token to ask it with.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
    key: String,
    posts: Cell<u32>,
}

/// What a request carries.
enum Body {
    Nothing,
    Json(Value),
    Bytes(Vec<u8>),
}

/// An answer with its version.
#[derive(Debug)]
pub(crate) struct Versioned {
    /// The body.
    pub(crate) value: Value,
    /// The `ETag`, for an `If-Match` later.
    pub(crate) etag: Option<String>,
}

impl Client {
    /// A client of `server`. The first POST carries `key`, or a fresh one from `chance`; later ones add their number.
    pub(crate) fn new(
        server: &str,
        token: Option<Secret>,
        key: Option<String>,
        chance: &dyn Chance,
    ) -> Result<Self, Failure> {
        let base = Url::parse(server).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let wanted = || {
            Failure::Invalid(format!("--server: expected a URL such as http://127.0.0.1:7070, got {server}"))
        };
        let mut base = base.ok_or_else(wanted)?;
        base.path_segments_mut().map_err(|()| wanted())?.pop_if_empty().extend(["api", "v1"]);
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")));
        let http = http.build().map_err(|error| Failure::here("the HTTP client cannot start", error))?;
        let mut fresh = [0; 16];
        chance.fill(&mut fresh);
        Ok(Self { http, base, token, key: key.unwrap_or_else(|| hex::encode(fresh)), posts: Cell::new(0) })
    }

    /// From here on asks with this token, or without any.
    pub(crate) fn speak_as(&mut self, token: Option<Secret>) {
        self.token = token;
    }

    /// The idempotency key of the next POST: a command that is repeated as a whole sends the same ones again.
    fn key_next(&self) -> String {
        let posts = self.posts.get() + 1;
        self.posts.set(posts);
        if posts == 1 { self.key.clone() } else { format!("{}-{posts}", self.key) }
    }

    /// Reads a thing.
    pub(crate) async fn get(&self, path: &[&str], query: Query<'_>) -> Result<Value, Failure> {
        Ok(self.send(Method::GET, path, query, Body::Nothing, None).await?.value)
    }

    /// Reads a thing and its version.
    pub(crate) async fn get_versioned(&self, path: &[&str]) -> Result<Versioned, Failure> {
        self.send(Method::GET, path, &[], Body::Nothing, None).await
    }

    /// Reads a list, page by page, up to `most` items.
    pub(crate) async fn list(&self, path: &[&str], query: Query<'_>, most: usize) -> Result<Value, Failure> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let mut page = query.to_vec();
            page.push(("limit", Some(most.saturating_sub(items.len()).min(PAGE).to_string())));
            page.push(("cursor", cursor));
            let mut answer = self.get(path, &page).await?;
            let found = answer.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take);
            items.extend(found.ok_or_else(|| Failure::Here("the server's list has no items field".into()))?);
            cursor = answer.get("next_cursor").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() || items.len() >= most {
                items.truncate(most);
                return Ok(json!({ "items": items, "next_cursor": cursor }));
            }
        }
    }

    /// Makes a thing or does something, once, however often it is sent. Fields that are null are left out.
    pub(crate) async fn post(&self, path: &[&str], body: Value) -> Result<Value, Failure> {
        Ok(self.send(Method::POST, path, &[], Body::Json(body), None).await?.value)
    }

    /// Does something on the strength of the version `etag`, once.
    pub(crate) async fn post_versioned(
        &self,
        path: &[&str],
        body: Value,
        etag: Option<&str>,
    ) -> Result<Value, Failure> {
        Ok(self.send(Method::POST, path, &[], Body::Json(body), etag).await?.value)
    }

    /// Sends a file.
    pub(crate) async fn post_bytes(
        &self,
        path: &[&str],
        query: Query<'_>,
        bytes: Vec<u8>,
    ) -> Result<Value, Failure> {
        Ok(self.send(Method::POST, path, query, Body::Bytes(bytes), None).await?.value)
    }

    /// Changes fields of a thing as it is now. Fields that are null are left out.
    pub(crate) async fn patch(&self, path: &[&str], body: Value) -> Result<Value, Failure> {
        let present = self.get_versioned(path).await?;
        Ok(self.send(Method::PATCH, path, &[], Body::Json(body), present.etag.as_deref()).await?.value)
    }

    /// Changes fields of the thing `id` of a list whose items cannot be read one by one.
    pub(crate) async fn patch_item(&self, list: &str, id: &str, body: Value) -> Result<Value, Failure> {
        let items = self.list(&[list], &[], usize::MAX).await?;
        let mut items = items["items"].as_array().into_iter().flatten();
        let present = items.find(|item| item["id"] == id || item["name"] == id);
        let (id, etag) = match present {
            Some(item) => (item["id"].as_str().unwrap_or(id), Some(format!("\"v{}\"", item["version"]))),
            // The server says best that there is no such thing.
            None => (id, Some("\"v0\"".to_owned())),
        };
        Ok(self.send(Method::PATCH, &[list, id], &[], Body::Json(body), etag.as_deref()).await?.value)
    }

    /// Puts a thing in the place of the version `etag`.
    pub(crate) async fn put(&self, path: &[&str], body: Value, etag: Option<&str>) -> Result<Value, Failure> {
        Ok(self.send(Method::PUT, path, &[], Body::Json(body), etag).await?.value)
    }

    /// Puts a thing in the place of the version `etag`, with parameters.
    pub(crate) async fn put_with(
        &self,
        path: &[&str],
        query: Query<'_>,
        body: Value,
        etag: Option<&str>,
    ) -> Result<Value, Failure> {
        Ok(self.send(Method::PUT, path, query, Body::Json(body), etag).await?.value)
    }

    /// Takes a thing away.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<Value, Failure> {
        Ok(self.send(Method::DELETE, path, &[], Body::Nothing, None).await?.value)
    }

    /// Takes away a part of the thing that was read at the version `etag`.
    pub(crate) async fn delete_at(&self, path: &[&str], etag: Option<&str>) -> Result<Value, Failure> {
        Ok(self.send(Method::DELETE, path, &[], Body::Nothing, etag).await?.value)
    }

    /// Takes a thing away as it is now.
    pub(crate) async fn delete_versioned(&self, path: &[&str]) -> Result<Value, Failure> {
        let present = self.get_versioned(path).await?;
        Ok(self.send(Method::DELETE, path, &[], Body::Nothing, present.etag.as_deref()).await?.value)
    }

    /// Gives an answer to `to` as it arrives, however long that takes.
    pub(crate) async fn copy(
        &self,
        path: &[&str],
        query: Query<'_>,
        mut to: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let patience = Some(FOR_EVER);
        let mut answer = self.ask(Method::GET, path, query, Body::Nothing, None, patience).await?;
        loop {
            match answer.chunk().await {
                Ok(Some(bytes)) => to(&bytes)?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.unreachable(&error, None)),
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: Query<'_>,
        body: Body,
        etag: Option<&str>,
    ) -> Result<Versioned, Failure> {
        let key = (method == Method::POST).then(|| self.key.clone());
        let answer = self.ask(method, path, query, body, etag, None).await?;
        let etag = header_of(&answer, &header::ETAG);
        let text = answer.text().await.map_err(|error| self.unreachable(&error, key))?;
        // Logs may come as they are; everything else is JSON, or nothing at all.
        let value = if text.is_empty() {
            json!({})
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Ok(Versioned { value, etag })
    }

    /// Sends a request; the answer's head, when it is no failure.
    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: Query<'_>,
        body: Body,
        etag: Option<&str>,
        patience: Option<Duration>,
    ) -> Result<Response, Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        let key = (method == Method::POST).then(|| self.key_next());
        let said = query.iter().filter_map(|(name, value)| Some((*name, value.as_ref()?)));
        let mut request = self.http.request(method, url).query(&said.collect::<Vec<_>>());
        request = request.header(header::ACCEPT, "application/json, application/problem+json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(etag) = etag {
            request = request.header(header::IF_MATCH, etag);
        }
        if let Some(key) = &key {
            request = request.header("idempotency-key", key);
        }
        request = match body {
            Body::Nothing => request,
            Body::Json(mut value) => {
                if let Some(fields) = value.as_object_mut() {
                    fields.retain(|_, field| !field.is_null());
                }
                request.json(&value)
            }
            Body::Bytes(bytes) => request.header(header::CONTENT_TYPE, "application/wasm").body(bytes),
        };
        if let Some(patience) = patience {
            request = request.timeout(patience);
        }
        let key = key.is_some().then(|| self.key.clone());
        let answer = request.send().await.map_err(|error| self.unreachable(&error, key.clone()))?;
        let (status, retry_after) = (answer.status(), header_of(&answer, &header::RETRY_AFTER));
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.map_err(|error| self.unreachable(&error, key))?;
        let mut problem = Problem::read(status.as_u16(), &text);
        problem.retry_after_seconds = retry_after.and_then(|seconds| seconds.parse().ok());
        let signed_out = problem.status == 401 && self.token.is_none();
        Err(if signed_out && problem.code == "unauthenticated" {
            Failure::SignedOut
        } else {
            Failure::Problem(Box::new(problem))
        })
    }

    /// What to say of a server that was lost; `key` makes a repetition of what was sent safe.
    fn unreachable(&self, error: &reqwest::Error, key: Option<String>) -> Failure {
        let server = self.base.origin().ascii_serialization();
        Failure::Unreachable { server, cause: innermost(error), key }
    }
}

fn header_of(answer: &Response, name: &header::HeaderName) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().ok()?.to_owned())
}

/// The cause that says something: the outer ones only repeat the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
