//! Quotas: limits of the team and its members, for good or for a while, and their history.

use clap::Subcommand;
use serde_json::{Map, Value, json};

use super::{
    call::Call,
    output::{Answer, Column},
    problem::Failure,
};

const CHANGES: &[Column] = &[
    ("AT", "at"),
    ("BY", "actor"),
    ("LIMITS", "kind"),
    ("CHANGES", "said"),
    ("UNTIL", "until"),
    ("REASON", "reason"),
    ("REQUEST", "request"),
];

/// Commands about quotas.
#[derive(Debug, Subcommand)]
pub(crate) enum QuotaCommand {
    /// Show the team's quota, or a member's
    Show {
        /// Member, by id
        #[arg(long)]
        member: Option<String>,
    },
    /// Change limits: gpus=4, regions=tw-03,us-1, regions= (none at all), gpus=unset (not said here)
    Set {
        /// Member, by id
        #[arg(long)]
        member: Option<String>,
        /// Until when they hold, for a member; what stands holds again from then on
        #[arg(long, value_name = "TIME", requires = "member")]
        until: Option<String>,
        /// Why; kept in the history
        #[arg(long, default_value = "")]
        reason: String,
        /// Limit and value
        #[arg(required = true, value_name = "LIMIT=VALUE")]
        limits: Vec<String>,
    },
    /// End a member's limits that hold for a while before their time
    End {
        /// Member, by id
        #[arg(long)]
        member: String,
    },
    /// Say what the whole team may hold, owner and admins too; for the site's operator
    Ceiling {
        /// Why; kept in the history
        #[arg(long, default_value = "")]
        reason: String,
        /// Limit and value, such as gpus=16
        #[arg(required = true, value_name = "LIMIT=VALUE")]
        limits: Vec<String>,
    },
    /// Show who changed limits, from what to what, when and why
    History {
        /// Member, by id; the team's defaults and ceiling if not given
        #[arg(long)]
        member: Option<String>,
        /// Most changes to show
        #[arg(long, default_value = "100")]
        limit: usize,
    },
}

impl QuotaCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        match self {
            Self::Show { member } => {
                client.get(&path_of(team, member.as_deref()), &[]).await.map(Answer::One)
            }
            Self::Set { member: Some(member), until: Some(until), reason, limits } => {
                let mut said = Map::new();
                for change in &limits {
                    limit_set(&mut said, change)?;
                }
                let present = client.get_versioned(&path_of(team, Some(&member))).await?;
                let path = &["teams", team, "members", &member, "quota", "temporary"];
                let body = json!({ "limits": said, "until": until, "reason": reason });
                client.put(path, body, present.etag.as_deref()).await.map(Answer::One)
            }
            Self::Set { member, reason, limits, .. } => {
                let path = path_of(team, member.as_deref());
                put(call, &path, &path, "limits", &limits, reason).await
            }
            Self::End { member } => {
                let present = client.get_versioned(&path_of(team, Some(&member))).await?;
                let path = &["teams", team, "members", &member, "quota", "temporary"];
                client.delete_at(path, present.etag.as_deref()).await.map(Answer::One)
            }
            Self::Ceiling { reason, limits } => {
                let path = &["teams", team, "quota", "ceiling"];
                put(call, &path_of(team, None), path, "ceiling", &limits, reason).await
            }
            Self::History { member, limit } => {
                let mut path = path_of(team, member.as_deref());
                path.push("history");
                let mut found = client.list(&path, &[], limit).await?;
                for change in found["items"].as_array_mut().into_iter().flatten() {
                    change["said"] = json!(said_of(&change["changes"]));
                }
                Ok(Answer::List(found, CHANGES))
            }
        }
    }
}

fn path_of<'p>(team: &'p str, member: Option<&'p str>) -> Vec<&'p str> {
    match member {
        Some(member) => vec!["teams", team, "members", member, "quota"],
        None => vec!["teams", team, "quota"],
    }
}

/// Reads the limits that are said in `field` of what is at `from`, changes them, and puts them at `to`.
async fn put(
    call: &Call,
    from: &[&str],
    to: &[&str],
    field: &str,
    changes: &[String],
    reason: String,
) -> Result<Answer, Failure> {
    let present = call.client.get_versioned(from).await?;
    let mut limits = present.value.get(field).and_then(Value::as_object).cloned().unwrap_or_default();
    limits.retain(|name, value| limit_kind(name).is_some() && !value.is_null());
    for change in changes {
        limit_set(&mut limits, change)?;
    }
    let query = [("reason", Some(reason).filter(|reason| !reason.is_empty()))];
    let etag = present.etag.as_deref();
    call.client.put_with(to, &query, Value::Object(limits), etag).await.map(Answer::One)
}

/// `gpus 2 to 4, regions - to tw-03`.
fn said_of(changes: &Value) -> String {
    let one = |value: &Value| match value {
        Value::Null => "-".to_owned(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("+"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let changes = changes.as_array().into_iter().flatten();
    let said = changes.map(|change| {
        let limit = change["limit"].as_str().unwrap_or_default();
        format!("{limit} {} to {}", one(&change["from"]), one(&change["to"]))
    });
    said.collect::<Vec<_>>().join(", ")
}

/// What the value of a limit is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LimitKind {
    Names,
    Number,
    Credits,
}

/// The limits that there are, as `model::quota::Limits` has them.
const LIMITS: [(&str, LimitKind); 11] = [
    ("regions", LimitKind::Names),
    ("instance_types", LimitKind::Names),
    ("accelerators", LimitKind::Names),
    ("images", LimitKind::Names),
    ("instances", LimitKind::Number),
    ("gpus", LimitKind::Number),
    ("gpus_per_instance", LimitKind::Number),
    ("snapshots", LimitKind::Number),
    ("network_groups", LimitKind::Number),
    ("storage_gib", LimitKind::Number),
    ("spend_per_hour", LimitKind::Credits),
];

fn limit_kind(name: &str) -> Option<LimitKind> {
    LIMITS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// Limits as they are typed.
pub(crate) fn limits_said(limits: &Map<String, Value>) -> Vec<String> {
    let value = |value: &Value| match value {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    limits.iter().map(|(name, limit)| format!("{name}={}", value(limit))).collect()
}

/// Applies one `limit=value` to what is said.
pub(crate) fn limit_set(limits: &mut Map<String, Value>, change: &str) -> Result<(), Failure> {
    let (name, value) = change.split_once('=').unwrap_or((change, ""));
    let Some(kind) = limit_kind(name).filter(|_| change.contains('=')) else {
        let known = LIMITS.map(|(name, _)| name).join(", ");
        return Err(Failure::Invalid(format!("{change}: expected LIMIT=VALUE with a limit out of {known}")));
    };
    if value == "unset" {
        limits.remove(name);
        return Ok(());
    }
    let value = match kind {
        LimitKind::Names => json!(value.split(',').filter(|name| !name.is_empty()).collect::<Vec<_>>()),
        LimitKind::Number => match value.parse::<u32>() {
            Ok(number) => json!(number),
            Err(_) => return Err(Failure::Invalid(format!("{change}: expected a whole number or unset"))),
        },
        LimitKind::Credits => json!(value),
    };
    limits.insert(name.to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quota::Limits;

    #[test]
    fn the_known_limits_are_those_of_the_model() {
        let mut limits = Map::new();
        for (name, kind) in LIMITS {
            let value = if kind == LimitKind::Names { "a,b" } else { "4" };
            limit_set(&mut limits, &format!("{name}={value}")).unwrap();
        }
        let read: Limits = serde_json::from_value(Value::Object(limits.clone())).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), Value::Object(limits.clone()));
        limit_set(&mut limits, "regions=").unwrap();
        limit_set(&mut limits, "gpus=unset").unwrap();
        assert_eq!(limits["regions"], json!([]));
        assert!(!limits.contains_key("gpus"));
        assert!(limit_set(&mut limits, "gpu=4").is_err());
        assert!(limit_set(&mut limits, "gpus=-1").is_err());
    }
}
