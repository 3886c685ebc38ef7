//! What went wrong, as a person at a terminal reads it, and the exit code that a script reads.

use std::{collections::BTreeSet, fmt::Write as _};

use rust_decimal::Decimal;
use serde::Deserialize;

use super::{output, request::command_of};
use crate::error::{Denial, FieldError};

/// Exit codes; `muster help` documents them.
pub(crate) mod code {
    /// Anything that has no code of its own.
    pub(crate) const FAILURE: u8 = 1;
    /// Nobody is signed in.
    pub(crate) const SIGNED_OUT: u8 = 3;
    /// A policy or a limit says no.
    pub(crate) const REFUSED: u8 = 4;
    /// There is no such thing.
    pub(crate) const NOT_FOUND: u8 = 5;
    /// The state of things does not allow it now.
    pub(crate) const CONFLICT: u8 = 6;
    /// The input cannot be meant.
    pub(crate) const INVALID: u8 = 7;
    /// Not now; trying again is right.
    pub(crate) const UNAVAILABLE: u8 = 8;
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server said so.
    Problem(Box<Problem>),
    /// The server did not answer.
    Unreachable {
        /// Where it was looked for.
        server: String,
        /// What the network said.
        cause: String,
        /// The idempotency key of the request, when repeating it needs one.
        key: Option<String>,
    },
    /// There is no token to ask with.
    SignedOut,
    /// An argument that cannot be meant.
    Invalid(String),
    /// Anything else on this side.
    Here(String),
}

impl Failure {
    /// A failure on this side while doing `what`.
    pub(crate) fn here(what: impl std::fmt::Display, cause: impl std::fmt::Display) -> Self {
        Self::Here(format!("{what}: {cause}"))
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Problem(problem) => match problem.status {
                400 | 413 | 415 | 422 => code::INVALID,
                401 => code::SIGNED_OUT,
                403 => code::REFUSED,
                404 => code::NOT_FOUND,
                409 | 412 | 428 => code::CONFLICT,
                429 | 502..=504 => code::UNAVAILABLE,
                _ => code::FAILURE,
            },
            Self::Unreachable { .. } => code::UNAVAILABLE,
            Self::SignedOut => code::SIGNED_OUT,
            Self::Invalid(_) => code::INVALID,
            Self::Here(_) => code::FAILURE,
        }
    }

    /// The whole message, with a line end.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Problem(problem) => problem.render(),
            Self::Unreachable { server, cause, key } => {
                let mut text = format!(
                    "no answer from {server}: {cause}\nIs the server running there? `muster serve` starts one, \
                     --server names another.\n"
                );
                if let Some(key) = key {
                    let _ = writeln!(
                        text,
                        "It may have been done all the same. The same command with --idempotency-key {key} does it \
                         once at most."
                    );
                }
                text
            }
            Self::SignedOut => {
                "not signed in\n`muster login ACCOUNT` signs in; MUSTER_TOKEN carries a token or an API key.\n".into()
            }
            Self::Invalid(text) | Self::Here(text) => format!("{text}\n"),
        }
    }
}

/// An answer in the form `application/problem+json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    /// The HTTP status.
    pub(crate) status: u16,
    /// What sort of failure.
    title: String,
    /// What happened, why, and the way out.
    detail: String,
    /// The stable code.
    pub(crate) code: String,
    /// What the operator finds in the log.
    request_id: String,
    /// Why a policy said no.
    denials: Vec<Denial>,
    /// The recorded decision behind a refusal.
    decision: Option<String>,
    /// The wrong fields.
    errors: Vec<FieldError>,
    /// Seconds after which trying again makes sense.
    pub(crate) retry_after_seconds: Option<u32>,
}

impl Problem {
    /// Reads an answer; one in another form keeps its beginning as the detail.
    pub(crate) fn read(status: u16, body: &str) -> Self {
        let read = serde_json::from_str::<Self>(body).ok();
        let mut problem = read.filter(|problem| !problem.detail.is_empty() || !problem.title.is_empty());
        if let Some(problem) = &mut problem {
            problem.status = status;
        }
        problem.unwrap_or_else(|| Self {
            status,
            detail: format!("the server answered {status}: {}", body.chars().take(300).collect::<String>()),
            ..Self::default()
        })
    }

    fn render(&self) -> String {
        let said = if self.detail.is_empty() { &self.title } else { &self.detail };
        let mut text = format!("{said}\n");
        if !self.denials.is_empty() {
            let rows = self.denials.iter().map(denial_row).collect();
            let heads = ["POLICY", "LIMIT", "MAX", "USED", "ASKED", "LEFT", "LIFTED BY", "REASON"];
            let _ = writeln!(text, "\n{}", output::table(&heads, rows));
        }
        let offers = self.denials.iter().filter_map(|denial| command_of(denial.request.as_ref()?));
        let offers: BTreeSet<String> = offers.collect();
        if !offers.is_empty() {
            let _ = writeln!(text, "\nAsk for it:");
        }
        for offer in offers {
            let _ = writeln!(text, "  {offer}");
        }
        if let Some(decision) = &self.decision {
            let _ = writeln!(text, "`muster why {decision}` says more.");
        }
        for field in &self.errors {
            let _ = writeln!(text, "  {}: {}", field.pointer, field.detail);
        }
        if let Some(seconds) = self.retry_after_seconds {
            let _ = writeln!(text, "Try again in {seconds} s.");
        }
        if !self.code.is_empty() {
            let _ = write!(text, "code {}", self.code);
            let _ = match self.request_id.as_str() {
                "" => writeln!(text),
                request => writeln!(text, ", request {request}"),
            };
        }
        text
    }
}

fn denial_row(denial: &Denial) -> Vec<String> {
    let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let [name, max, used, asked, left] = match &denial.limit {
        Some(limit) => [
            limit.name.clone(),
            shown(&limit.max),
            shown(&limit.used),
            shown(&limit.requested),
            shown(&left(limit.max.as_deref(), limit.used.as_deref())),
        ],
        None => ["-"; 5].map(str::to_owned),
    };
    vec![denial.policy.clone(), name, max, used, asked, left, denial.lifted_by.clone(), denial.advice.clone()]
}

/// What is left of a limit; never below nothing, since a limit may be lowered under what is held.
fn left(max: Option<&str>, used: Option<&str>) -> Option<String> {
    let (max, used): (Decimal, Decimal) = (max?.parse().ok()?, used?.parse().ok()?);
    Some(max.checked_sub(used)?.max(Decimal::ZERO).normalize().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_each_limit_what_is_left_of_it_and_who_lifts_it() {
        let body = r#"{"type": "https://muster.invalid/errors/refused", "title": "Refused", "status": 403,
            "detail": "the team holds 4 of 4 GPUs; this can be lifted by: team owner or admin", "code": "refused",
            "request_id": "req_1", "denials": [
            {"policy": "plat/quota-gpus", "advice": "GPUs held at once", "lifted_by": "team owner or admin",
             "limit": {"name": "gpus", "max": "4", "used": "4", "requested": "1"}},
            {"policy": "plat/money", "advice": "the wallet is too low", "lifted_by": "whoever assigns credits",
             "limit": {"name": "credits", "max": "12.50", "used": "2.25", "requested": "20"}},
            {"policy": "team/night", "advice": "no launches at night", "lifted_by": "team owner"}]}"#;
        let failure = Failure::Problem(Box::new(Problem::read(403, body)));
        assert_eq!(failure.exit_code(), code::REFUSED);
        insta::assert_snapshot!(failure.render());
    }

    #[test]
    fn bad_input_names_each_field() {
        let body = r#"{"title": "Invalid", "status": 422, "detail": "not acceptable: /name, /unit_qty",
            "code": "invalid-input", "request_id": "req_2", "errors": [
            {"pointer": "/name", "detail": "1 to 64 characters, got 0"},
            {"pointer": "/unit_qty", "detail": "a whole number above 0"}]}"#;
        let failure = Failure::Problem(Box::new(Problem::read(422, body)));
        assert_eq!(failure.exit_code(), code::INVALID);
        insta::assert_snapshot!(failure.render());
    }

    #[test]
    fn a_proxy_that_answers_in_html_is_still_told() {
        let failure = Failure::Problem(Box::new(Problem::read(502, "<html>bad gateway</html>")));
        assert_eq!(failure.exit_code(), code::UNAVAILABLE);
        assert_eq!(failure.render(), "the server answered 502: <html>bad gateway</html>\n");
    }

    #[test]
    fn a_post_without_an_answer_tells_how_to_repeat_it_safely() {
        let key = Some("k1".to_owned());
        let failure = Failure::Unreachable { server: "http://h".into(), cause: "refused".into(), key };
        assert_eq!(failure.exit_code(), code::UNAVAILABLE);
        assert!(failure.render().contains("--idempotency-key k1"));
    }
}
