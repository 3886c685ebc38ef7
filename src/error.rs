//! The one error that services give to doors: what a client may read, and apart from it what only the log may.
//!
//! Rooms have typed errors of their own and turn them into this one. `kind` decides the status at the HTTP door and
//! the exit code at the CLI; `code` is stable and names a page in `docs/errors/`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{ids::DecisionId, money::Credits};

/// A result whose error a client may see.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of failure: doors translate it, nothing else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Unreadable input: broken JSON, an unknown field, a wrong type (400).
    Malformed,
    /// Readable input that cannot be meant: a limit, a format, a contradiction (422).
    Invalid,
    /// Nobody is signed in, or the token is no longer good (401).
    Unauthenticated,
    /// Signed in, but the policy or a limit says no (403).
    Refused,
    /// There is no such thing, or not for you (404).
    NotFound,
    /// The state of things does not allow it now (409).
    Conflict,
    /// The `If-Match` version is no longer the present one (412).
    Stale,
    /// The change needs an `If-Match` (428).
    PreconditionRequired,
    /// The body is larger than its limit (413).
    TooLarge,
    /// The media type is not one that is understood here (415).
    UnsupportedMedia,
    /// Too many attempts (429).
    Throttled,
    /// Not now, but trying again is right (503).
    Unavailable,
    /// A fault of ours (500).
    Internal,
}

/// A field of the input that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON pointer to the field, or the name of the query parameter or header.
    pub pointer: String,
    /// What is wrong with it and what would be right.
    pub detail: String,
}

/// One limit of a refusal: its highest value, what is used, what was asked for. Money and counts are decimal texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LimitUse {
    /// The limit's name, such as `gpus` or `credits`.
    pub name: String,
    /// The highest allowed value; absent when there is no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// How much of it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<String>,
    /// How much was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<String>,
}

/// A request that would lift a reason, filled in: it only has to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RequestOffer {
    /// The HTTP method.
    pub method: String,
    /// The path on this server.
    pub path: String,
    /// The body.
    #[schema(value_type = Object)]
    pub body: serde_json::Value,
}

/// One reason why a policy said no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Denial {
    /// The id of the policy that decided, such as `plat/quota-gpus`.
    pub policy: String,
    /// The reason in a sentence.
    pub advice: String,
    /// The limit that binds, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitUse>,
    /// Who can lift it, such as `team owner or admin`.
    pub lifted_by: String,
    /// What to send to ask them for it, when there is somebody to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestOffer>,
}

/// A failure, told to the client by [`Error::detail`] and to the log by [`Error::inside`].
pub struct Error {
    /// What sort of failure it is.
    pub kind: Kind,
    /// Stable code in kebab case; `docs/errors/<code>.md` explains it.
    pub code: &'static str,
    /// What happened, why, and what to do next, for the client.
    pub detail: String,
    /// The wrong fields, for bad input.
    pub fields: Vec<FieldError>,
    /// The reasons of a refusal.
    pub denials: Vec<Denial>,
    /// The recorded decision behind a refusal.
    pub decision: Option<DecisionId>,
    /// Seconds after which trying again makes sense.
    pub retry_after_seconds: Option<u32>,
    /// What only the log may read.
    pub inside: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// The recorded answer of an earlier request with the same idempotency key, which takes this one's place.
    pub replay: Option<Box<Replay>>,
}

/// An answer that was given before and is given again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The HTTP status of the first answer.
    pub status: u16,
    /// The JSON body of the first answer.
    pub body: String,
}

impl Error {
    /// A failure of `kind` with its code and the sentence for the client.
    pub fn new(kind: Kind, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            code,
            detail: detail.into(),
            fields: Vec::new(),
            denials: Vec::new(),
            decision: None,
            retry_after_seconds: None,
            inside: None,
            replay: None,
        }
    }

    /// A fault of ours: the client learns only that it was one.
    pub fn internal(inside: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let told = "the server failed; nothing was changed. Try again, and give the operator the request id";
        Self { inside: Some(inside.into()), ..Self::new(Kind::Internal, "internal", told) }
    }

    /// There is no such `noun`, or the caller may not know of it: the two look alike on purpose.
    pub fn not_found(noun: &str) -> Self {
        Self::new(Kind::NotFound, "not-found", format!("there is no such {noun} here, or you may not see it"))
    }

    /// Input with these wrong fields.
    pub fn invalid(fields: Vec<FieldError>) -> Self {
        let names: Vec<&str> = fields.iter().map(|f| f.pointer.as_str()).collect();
        let detail = format!("not acceptable: {}", names.join(", "));
        Self { fields, ..Self::new(Kind::Invalid, "invalid-input", detail) }
    }

    /// Input with one wrong field.
    pub fn field(pointer: &str, detail: impl Into<String>) -> Self {
        Self::invalid(vec![FieldError { pointer: pointer.to_owned(), detail: detail.into() }])
    }

    /// A refusal by policy, with all its reasons.
    pub fn refused(denials: Vec<Denial>) -> Self {
        let detail = match denials.first() {
            Some(first) => format!("{}; this can be lifted by: {}", first.advice, first.lifted_by),
            None => "no policy permits this".to_owned(),
        };
        Self { denials, ..Self::new(Kind::Refused, "refused", detail) }
    }

    /// A conflict with the present state of things.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, detail)
    }

    /// The answer that the first request with this idempotency key got.
    pub fn replayed(replay: Replay) -> Self {
        let told = "an earlier request with this idempotency key was answered already";
        Self { replay: Some(Box::new(replay)), ..Self::new(Kind::Conflict, "idempotency-replay", told) }
    }

    /// Adds what only the log may read.
    #[must_use]
    pub fn with_inside(mut self, inside: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.inside = Some(inside.into());
        self
    }

    /// Says after how many seconds to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}: {}", self.kind, self.code, self.detail)?;
        for field in &self.fields {
            write!(f, "; {}: {}", field.pointer, field.detail)?;
        }
        for denial in &self.denials {
            write!(f, "; {}: {}", denial.policy, denial.advice)?;
        }
        match &self.inside {
            Some(inside) => write!(f, " (inside: {inside:?})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<crate::money::Error> for Error {
    fn from(error: crate::money::Error) -> Self {
        Self::new(Kind::Invalid, "amount-out-of-range", error.to_string())
    }
}

/// Collects every wrong field of an input before refusing it, so that a client mends all at once.
#[derive(Debug, Default)]
pub struct Findings(Vec<FieldError>);

impl Findings {
    /// Nothing found yet.
    pub fn new() -> Self {
        Self::default()
    }
    /// Notes a wrong field unless `fine`.
    pub fn check(&mut self, fine: bool, pointer: &str, detail: impl Into<String>) {
        if !fine {
            self.0.push(FieldError { pointer: pointer.to_owned(), detail: detail.into() });
        }
    }
    /// Refuses a text that is shorter than `min` or longer than `max` characters, or holds control characters.
    pub fn text(&mut self, text: &str, pointer: &str, min: usize, max: usize) {
        let length = text.chars().count();
        let fits = (min..=max).contains(&length);
        self.check(fits, pointer, format!("{min} to {max} characters, got {length}"));
        self.check(!text.chars().any(|c| c.is_control() && c != '\n'), pointer, "no control characters");
    }
    /// Refuses an amount that is not above zero.
    pub fn positive(&mut self, amount: Credits, pointer: &str) {
        self.check(amount.is_positive(), pointer, format!("an amount above 0, got {amount}"));
    }
    /// All fine, or the error that names every wrong field.
    pub fn done(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::invalid(self.0)) }
    }
}
