//! A candidate beside a team's live policies: started from a folder, looked at, stopped.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    call::Call,
    output::Answer,
    policy::{At, list_of, said},
    policy_files::Folder,
    problem::Failure,
};

/// Commands about a candidate that runs beside the live policies.
#[derive(Debug, Subcommand)]
pub(crate) enum ShadowCommand {
    /// Ask the folder's policies beside the live ones for a while, about all that happens
    Start {
        #[command(flatten)]
        at: At,
        /// For how many hours, at most 720
        #[arg(long, default_value_t = 168)]
        hours: u32,
        /// Why, for whoever looks at what came of it
        #[arg(long)]
        reason: String,
    },
    /// Show what came of it so far, or of the last one
    Show,
    /// End it before its time; what came of it stays
    Stop,
}

impl ShadowCommand {
    /// Runs the command.
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, path) = (&call.client, ["teams", call.team()?, "policies:shadow"]);
        let shadow = match self {
            Self::Start { at, hours, reason } => {
                super::policy::checked(&at.folder, false)?;
                let folder = Folder::read(&at.folder)?;
                let body = json!({ "text": folder.text, "hours": hours, "reason": reason });
                client.post(&path, body).await?
            }
            Self::Show => client.get(&path, &[]).await?,
            Self::Stop => client.delete(&path).await?,
        };
        let page = page(&shadow);
        Ok(Answer::Page(shadow, page))
    }
}

fn page(shadow: &Value) -> String {
    let state = match shadow["ending"].as_str() {
        None => format!("runs beside version {} until {}", shadow["base"], said(&shadow["ends_at"])),
        Some("over") => format!("ran until its end, {}", said(&shadow["ended_at"])),
        Some(ending) => format!("was {ending} at {}", said(&shadow["ended_at"])),
    };
    let mut page = format!("Candidate {} {state}: {}\n", shadow["number"], said(&shadow["reason"]));
    let _ = writeln!(
        page,
        "{} decisions asked since {}: {} would be refused, {} would be allowed.",
        shadow["asked"],
        said(&shadow["started_at"]),
        shadow["refused"],
        shadow["allowed"]
    );
    for (field, told) in [
        ("failed", "could not be answered; published, it would refuse them"),
        ("left_out", "were not asked, because there were too many at once"),
    ] {
        if shadow[field].as_i64().is_some_and(|count| count > 0) {
            let _ = writeln!(page, "{} {told}.", shadow[field]);
        }
    }
    for difference in list_of(&shadow["differences"]) {
        let policies: Vec<&str> = list_of(&difference["policies"]).iter().filter_map(Value::as_str).collect();
        let examples: Vec<&str> = list_of(&difference["examples"]).iter().filter_map(Value::as_str).collect();
        let verb = if difference["allows"] == true { "allowed" } else { "refused" };
        let _ = writeln!(
            page,
            "  {}: {} would be {verb} {} times by {}, {} to {}: {}",
            said(&difference["role"]),
            said(&difference["action"]),
            difference["count"],
            policies.join(", "),
            said(&difference["first_at"]),
            said(&difference["last_at"]),
            examples.join(", "),
        );
    }
    page
}
