//! The audit log: looked through, exported, checked.

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    call::Call,
    output::{self, Answer, Column},
    problem::Failure,
};

const EVENTS: &[Column] = &[
    ("AT", "at"),
    ("BY", "actor"),
    ("ACTION", "action"),
    ("TARGET", "target"),
    ("OUTCOME", "outcome"),
    ("REQUEST", "request"),
    ("ID", "id"),
];

/// Commands about the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List events, the latest first
    Ls {
        #[command(flatten)]
        wanted: Wanted,
        /// Most events to show
        #[arg(long, default_value = "100")]
        limit: usize,
    },
    /// Write events to standard output, the oldest first
    Export {
        #[command(flatten)]
        wanted: Wanted,
        /// Form: ndjson or csv
        #[arg(long, default_value = "ndjson")]
        form: String,
    },
    /// Check the log against its chain of digests; exit code 1 if it was tampered with
    Verify {
        /// The head that an earlier check told; the chain must still pass it
        #[arg(long, value_name = "NUMBER:DIGEST")]
        noted: Option<String>,
        /// The site's own log, for its operator
        #[arg(long)]
        site: bool,
    },
}

/// Which events.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// Only what this user, member, API key or part of the server did
    #[arg(long)]
    actor: Option<String>,
    /// Only this action, such as CreateInstance
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to this, by id
    #[arg(long)]
    target: Option<String>,
    /// Only what was done, or refused
    #[arg(long, value_name = "done|refused")]
    outcome: Option<String>,
    /// Only what this member did, in person or by a key, or what was done to them; by id
    #[arg(long)]
    member: Option<String>,
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// The site's own log, for its operator
    #[arg(long)]
    site: bool,
}

impl Wanted {
    fn query(self) -> [(&'static str, Option<String>); 7] {
        [
            ("actor", self.actor),
            ("action", self.action),
            ("target", self.target),
            ("outcome", self.outcome),
            ("member", self.member),
            ("from", self.from),
            ("to", self.to),
        ]
    }
}

fn path(call: &Call, site: bool) -> Result<Vec<&str>, Failure> {
    Ok(if site { vec!["audit"] } else { vec!["teams", call.team()?, "audit"] })
}

impl AuditCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        match self {
            Self::Ls { wanted, limit } => {
                let path = path(call, wanted.site)?;
                Ok(Answer::List(call.client.list(&path, &wanted.query(), limit).await?, EVENTS))
            }
            Self::Export { wanted, form } => {
                let mut path = path(call, wanted.site)?;
                path.push("export");
                let mut query = wanted.query().to_vec();
                query.push(("form", Some(form)));
                call.client.copy(&path, &query, output::write_bytes).await?;
                Ok(Answer::Written)
            }
            Self::Verify { noted, site } => {
                let mut path = path(call, site)?;
                path.push("verify");
                let report = call.client.get(&path, &[("noted", noted)]).await?;
                let sound = report["ok"] == json!(true);
                let answer = Answer::One(report);
                Ok(if sound { answer } else { Answer::Alarm(Box::new(answer)) })
            }
        }
    }
}
