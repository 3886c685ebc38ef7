//! Webhooks: the only room that sends messages to addresses which somebody else chose.
//!
//! A message is a CloudEvent in JSON, signed as Standard Webhooks say. It goes to public addresses, and to what the
//! operator allows; a name is resolved here, and the connection goes to the very addresses that were checked, so that a
//! name cannot mean one machine when it is checked and another when it is called. Redirects and proxies are not
//! followed, and what is answered is not read.

mod resolver;
mod signing;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{Client, Url, header, redirect};
use serde::Serialize;

use self::resolver::{Checked, resolve};
pub use self::signing::Secret;
use crate::{model::destination::Allowed, time::Timestamp};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest address of a webhook, in bytes.
const LONGEST_URL: usize = 2_000;

/// Sends messages.
pub struct Sender {
    allowed: Arc<Allowed>,
    client: OnceLock<Result<Client, String>>,
}

/// A message: a CloudEvent 1.0. What is absent here is the same in all of them.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Message<'a> {
    specversion: &'static str,
    /// Its id, the same in every try.
    pub id: &'a str,
    /// Whose message it is, as a URL.
    pub source: &'a str,
    /// What it tells, such as `budget.threshold`.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// When it was written.
    pub time: Timestamp,
    datacontenttype: &'static str,
    /// What it says.
    pub data: &'a serde_json::Value,
}

impl<'a> Message<'a> {
    /// A message.
    pub fn new(
        id: &'a str,
        source: &'a str,
        kind: &'a str,
        time: Timestamp,
        data: &'a serde_json::Value,
    ) -> Self {
        Self { specversion: "1.0", id, source, kind, time, datacontenttype: "application/json", data }
    }
}

fn client(allowed: Arc<Allowed>) -> Result<Client, String> {
    // A second call finds the first one's provider in place, which is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder()
        .timeout(PATIENCE)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .dns_resolver(Checked::new(allowed))
        .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
        .build();
    client.map_err(|error| format!("no HTTP client: {}", innermost(&error)))
}

impl Sender {
    /// A sender that also reaches what `allowed` names.
    pub fn new(allowed: Allowed) -> Self {
        Self { allowed: Arc::new(allowed), client: OnceLock::new() }
    }

    /// Made when the first message is sent: reading all certificates of the system takes a while.
    fn client(&self) -> Result<&Client, String> {
        self.client.get_or_init(|| client(self.allowed.clone())).as_ref().map_err(Clone::clone)
    }

    /// Checks whether messages may go to `url`, as far as can be told without sending one.
    ///
    /// # Errors
    /// Why not, and what would be right.
    pub async fn check(&self, url: &str) -> Result<(), String> {
        let url = self.target(url)?;
        let host = url.host_str().unwrap_or_default();
        if address_of(host).is_none() {
            resolve(&self.allowed, host).await?;
        }
        Ok(())
    }

    /// Sends a message once; the status of the answer.
    ///
    /// # Errors
    /// Why it did not arrive: any answer but a success is a failure too.
    pub async fn send(
        &self,
        url: &str,
        secret: &Secret,
        message: &Message<'_>,
        now: Timestamp,
    ) -> Result<u16, String> {
        let url = self.target(url)?;
        let client = self.client()?;
        let body = serde_json::to_vec(message).map_err(|error| error.to_string())?;
        let seconds = now.as_micros().div_euclid(crate::time::SECOND).to_string();
        let signature = secret.sign(message.id, &seconds, &body)?;
        let request = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/cloudevents+json")
            .header("webhook-id", message.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature)
            .body(body);
        let answer = request.send().await.map_err(|error| {
            if error.is_timeout() {
                return format!("no answer within {} seconds", PATIENCE.as_secs());
            }
            innermost(&error)
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(status.as_u16());
        }
        let redirected = if status.is_redirection() { ", and redirects are not followed" } else { "" };
        Err(format!("answered with status {}{redirected}", status.as_u16()))
    }

    /// The URL, unless its form or an address in it is not for messages.
    fn target(&self, text: &str) -> Result<Url, String> {
        let wanted = format!("a URL such as https://hooks.example.org/muster, at most {LONGEST_URL} bytes");
        let url = Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https") && url.has_host() && text.len() <= LONGEST_URL
        });
        let url = url.ok_or(wanted)?;
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err("a URL without user, password and fragment: messages are signed instead".to_owned());
        }
        let host = url.host_str().unwrap_or_default();
        match address_of(host) {
            Some(address) if !self.allowed.names_host(host) && !self.allowed.admits(address) => {
                Err(refused(host))
            }
            _ => Ok(url),
        }
    }
}

/// The address that a host is, if it is none by name.
fn address_of(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// What is told of a host with addresses that messages do not go to.
fn refused(host: &str) -> String {
    format!("{host} is not on the public internet; the operator can allow it with the setting webhooks.allow")
}

/// The cause that says something: the outer ones only repeat the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
