//! Requests: members ask for credits or limits, those who run the team decide, and the operator for whole teams.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{
    call::Call,
    output::{Answer, Column},
    problem::Failure,
    quota::{limit_set, limits_said},
};
use crate::error::RequestOffer;

const REQUESTS: &[Column] = &[
    ("ID", "id"),
    ("TEAM", "team"),
    ("MEMBER", "member"),
    ("KIND", "kind"),
    ("STATE", "state"),
    ("WANTED", "wanted"),
    ("UNTIL", "until"),
    ("GIVEN", "given"),
    ("REASON", "reason"),
    ("ANSWER", "answer"),
    ("EXPIRES", "expires_at"),
];

/// Commands about requests.
#[derive(Debug, Subcommand)]
pub(crate) enum RequestCommand {
    /// List requests, the latest first: your own, or those of all members if you may decide
    Ls {
        /// Only those that stand here: open, approved, refused, cancelled or expired
        #[arg(long)]
        state: Option<String>,
        /// Only those for this: credits, quota or team_quota
        #[arg(long, conflicts_with = "site")]
        kind: Option<String>,
        /// Only this member's, by id
        #[arg(long, conflicts_with = "site")]
        member: Option<String>,
        /// Those that all teams sent to the site's operator
        #[arg(long)]
        site: bool,
        /// Most requests to show
        #[arg(long, default_value = "100")]
        limit: usize,
    },
    /// Show a request
    Show {
        /// Request, by id
        id: String,
    },
    /// Ask those who run the team for credits
    Credits {
        /// How many, such as 20
        amount: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// When the request is over if nobody has decided; in 14 days if not given
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// Ask for higher limits: gpus=4, spend_per_hour=20
    Quota {
        /// Limit and value
        #[arg(required = true, value_name = "LIMIT=VALUE")]
        limits: Vec<String>,
        /// Why
        #[arg(long)]
        reason: String,
        /// Until when they are needed; for good if not given
        #[arg(long, value_name = "TIME", conflicts_with = "whole_team")]
        until: Option<String>,
        /// Ask the site's operator for what the whole team may hold
        #[arg(long)]
        whole_team: bool,
        /// When the request is over if nobody has decided; in 14 days if not given
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// Give what was asked for, or a part of it
    Approve {
        /// Request, by id
        id: String,
        /// Credits to give; all that were asked for if not given
        #[arg(long, value_name = "CREDITS")]
        amount: Option<String>,
        /// Limits to give, such as gpus=2; all that were asked for if none is given
        #[arg(value_name = "LIMIT=VALUE")]
        limits: Vec<String>,
        /// Until when the limits hold; as asked for if not given
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// What to say to it
        #[arg(long, default_value = "")]
        note: String,
        /// A team's request to the site's operator
        #[arg(long)]
        site: bool,
    },
    /// Do not give what was asked for
    Refuse {
        /// Request, by id
        id: String,
        /// Why
        #[arg(long)]
        note: String,
        /// A team's request to the site's operator
        #[arg(long)]
        site: bool,
    },
    /// Take a request back
    Cancel {
        /// Request, by id
        id: String,
    },
}

impl RequestCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let client = &call.client;
        match self {
            Self::Ls { state, site: true, limit, .. } => {
                listed(client.list(&["requests"], &[("state", state)], limit).await?)
            }
            Self::Ls { state, kind, member, limit, .. } => {
                let query = [("state", state), ("kind", kind), ("member", member)];
                listed(client.list(&["teams", call.team()?, "requests"], &query, limit).await?)
            }
            Self::Show { id } => {
                client.get(&["teams", call.team()?, "requests", &id], &[]).await.map(Answer::One)
            }
            Self::Credits { amount, reason, expires_at } => {
                let body = json!({
                    "kind": "credits", "amount": amount, "reason": reason, "expires_at": expires_at,
                });
                client.post(&["teams", call.team()?, "requests"], body).await.map(Answer::One)
            }
            Self::Quota { limits, reason, whole_team: true, expires_at, .. } => {
                let limits = limits_of(&limits)?;
                let body = json!({ "limits": limits, "reason": reason, "expires_at": expires_at });
                client.post(&["teams", call.team()?, "quota-requests"], body).await.map(Answer::One)
            }
            Self::Quota { limits, reason, until, expires_at, .. } => {
                let body = json!({
                    "kind": "quota", "limits": limits_of(&limits)?, "reason": reason, "until": until,
                    "expires_at": expires_at,
                });
                client.post(&["teams", call.team()?, "requests"], body).await.map(Answer::One)
            }
            Self::Approve { id, amount, limits, until, note, site } => {
                let limits = if limits.is_empty() { Value::Null } else { limits_of(&limits)? };
                let body = json!({ "amount": amount, "limits": limits, "until": until, "note": note });
                decide(call, site, &id, "approve", body).await
            }
            Self::Refuse { id, note, site } => {
                decide(call, site, &id, "refuse", json!({ "note": note })).await
            }
            Self::Cancel { id } => decide(call, false, &id, "cancel", json!({})).await,
        }
    }
}

async fn decide(call: &Call, site: bool, id: &str, what: &str, body: Value) -> Result<Answer, Failure> {
    let path =
        if site { vec!["requests", id, what] } else { vec!["teams", call.team()?, "requests", id, what] };
    call.client.post(&path, body).await.map(Answer::One)
}

fn limits_of(changes: &[String]) -> Result<Value, Failure> {
    let mut limits = Map::new();
    for change in changes {
        limit_set(&mut limits, change)?;
    }
    Ok(Value::Object(limits))
}

/// A list with what was wanted and given in one cell each.
fn listed(mut found: Value) -> Result<Answer, Failure> {
    for request in found["items"].as_array_mut().into_iter().flatten() {
        request["wanted"] = wanted(request);
        request["given"] = wanted(&request["granted"]);
    }
    Ok(Answer::List(found, REQUESTS))
}

fn wanted(of: &Value) -> Value {
    match (&of["amount"], &of["limits"]) {
        (Value::String(amount), _) => json!(format!("{amount} credits")),
        (_, Value::Object(limits)) => json!(limits_said(limits).join(" ")),
        _ => Value::Null,
    }
}

/// The command that sends a request which a refusal offers.
pub(crate) fn command_of(offer: &RequestOffer) -> Option<String> {
    let path: Vec<&str> = offer.path.strip_prefix("/api/v1/teams/")?.split('/').collect();
    let [team, noun] = path.as_slice() else { return None };
    let body = &offer.body;
    let limits = || Some(limits_said(body["limits"].as_object()?).join(" "));
    let what = match (*noun, body["kind"].as_str()) {
        ("requests", Some("credits")) => format!("credits {}", body["amount"].as_str()?),
        ("requests", Some("quota")) => format!("quota {}", limits()?),
        ("quota-requests", _) => format!("quota --whole-team {}", limits()?),
        _ => return None,
    };
    let reason = body["reason"].as_str()?;
    let words: Vec<String> = what.split(' ').map(quoted).collect();
    Some(format!("muster --team {} request {} --reason {}", quoted(team), words.join(" "), quoted(reason)))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let word: String = word.chars().filter(|c| !c.is_control()).collect();
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_becomes_the_command_to_type() {
        let offer = |noun: &str, body: Value| RequestOffer {
            method: "POST".to_owned(),
            path: format!("/api/v1/teams/team_1/{noun}"),
            body,
        };
        let credits = json!({ "kind": "credits", "amount": "4.5", "reason": "to run cpu in bob's" });
        let shown = command_of(&offer("requests", credits)).unwrap();
        assert_eq!(shown, r"muster --team team_1 request credits 4.5 --reason 'to run cpu in bob'\''s'");
        let quota = json!({ "kind": "quota", "limits": { "gpus": 4, "instances": 2 }, "reason": "x" });
        let shown = command_of(&offer("requests", quota)).unwrap();
        assert_eq!(shown, "muster --team team_1 request quota gpus=4 instances=2 --reason x");
        let whole = json!({ "limits": { "spend_per_hour": "20" }, "reason": "x" });
        let shown = command_of(&offer("quota-requests", whole)).unwrap();
        assert_eq!(shown, "muster --team team_1 request quota --whole-team spend_per_hour=20 --reason x");
        assert_eq!(command_of(&offer("elsewhere", json!({}))), None);
    }
}
