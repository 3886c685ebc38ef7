//! Snapshots: what instances had on their disks, kept on their hosts.

use std::io::BufRead as _;

use clap::Subcommand;
use serde_json::json;

use super::{
    call::Call,
    credit::View,
    output::{self, Answer, Column},
    problem::Failure,
    secret::can_ask,
};

const SNAPSHOTS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("OWNER", "owner"),
    ("INSTANCE", "instance"),
    ("IMAGE", "image_name"),
    ("SIZE BYTES", "size_bytes"),
    ("CAUSE", "cause"),
    ("CREATED", "created_at"),
];

/// Commands about snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// List snapshots: your own and the team's
    Ls {
        /// Whose snapshots: your own and the team's, or those of all members if you may
        #[arg(long, value_enum)]
        view: Option<View>,
    },
    /// Take a snapshot of an instance of yours, running or stopped; its drives are not part of it
    Take {
        /// Instance, by id
        instance: String,
        /// Name for people
        name: String,
        /// A note for people
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Show a snapshot
    Show {
        /// Snapshot, by id
        snapshot: String,
    },
    /// Give a snapshot to the team: every member may launch from it, and the pool pays for it
    Share {
        /// Snapshot, by id
        snapshot: String,
    },
    /// Delete a snapshot for good
    Rm {
        /// Snapshot, by id
        snapshot: String,
        /// Do not ask for the snapshot's name first
        #[arg(long)]
        yes: bool,
    },
}

impl SnapshotCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        match self {
            Self::Ls { view } => {
                let query = [("view", view.map(View::word))];
                let found = client.list(&["teams", team, "snapshots"], &query, usize::MAX).await?;
                Ok(Answer::List(found, SNAPSHOTS))
            }
            Self::Take { instance, name, note } => {
                let path = ["teams", team, "instances", &instance, "snapshots"];
                client.post(&path, json!({ "name": name, "note": note })).await.map(Answer::One)
            }
            Self::Show { snapshot } => {
                client.get(&["teams", team, "snapshots", &snapshot], &[]).await.map(Answer::One)
            }
            Self::Share { snapshot } => {
                let path = ["teams", team, "snapshots", &snapshot, "share"];
                client.post(&path, json!({})).await.map(Answer::One)
            }
            Self::Rm { snapshot, yes } => {
                let path = ["teams", team, "snapshots", &snapshot];
                if !yes {
                    let seen = client.get(&path, &[]).await?;
                    confirm(seen["name"].as_str().unwrap_or_default())?;
                }
                client.delete(&path).await.map(Answer::One)
            }
        }
    }
}

/// Asks for the name of what is to go for good.
fn confirm(name: &str) -> Result<(), Failure> {
    if !can_ask() {
        let told = "this deletes the snapshot for good, and there is nobody to ask; say --yes";
        return Err(Failure::Invalid(told.to_owned()));
    }
    output::tell(&format!("This deletes the snapshot {name} for good. Type its name to go on:"));
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).map_err(|error| Failure::here("standard input", error))?;
    if typed.trim() == name { Ok(()) } else { Err(Failure::Invalid("that is not its name".to_owned())) }
}
