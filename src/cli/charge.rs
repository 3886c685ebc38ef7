//! Charges: listed, explained, computed again, corrected.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    call::Call,
    credit::{MOST, View},
    explain::explanation,
    output::{Answer, Column},
    problem::Failure,
    recompute::recompute,
};
use crate::ledger::{proof::Proof, rating::ChargeId};

const CHARGES: &[Column] = &[
    ("CHARGE", "id"),
    ("MEMBER", "account"),
    ("TYPE", "type"),
    ("FROM", "from"),
    ("TO", "to"),
    ("QUANTITY", "quantity"),
    ("AMOUNT", "amount"),
    ("OWED", "uncovered"),
    ("PROVISIONAL", "parked"),
];

/// Commands about single charges.
#[derive(Debug, Subcommand)]
pub(crate) enum ChargeCommand {
    /// List charges with their ids, the latest first
    Ls {
        /// Only this member, by id
        #[arg(long)]
        member: Option<String>,
        /// Only this type of usage
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// Whose charges: your own, or those of all members if you may
        #[arg(long, value_enum)]
        view: Option<View>,
        /// Most lines to show
        #[arg(long, default_value = MOST)]
        limit: usize,
    },
    /// Show how a charge was computed and who paid it
    Explain {
        /// Charge, by id
        id: ChargeId,
    },
    /// Compute a charge again on this machine; exit code 1 if anything differs
    Verify {
        /// Charge, by id
        id: ChargeId,
        /// Take the proof from this file, as --save wrote it, and ask no server
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
        /// Take the price's component from this file
        #[arg(long, value_name = "FILE", requires = "proof")]
        component: Option<PathBuf>,
        /// Keep the proof and the component in this folder
        #[arg(long, value_name = "DIR", conflicts_with = "proof")]
        save: Option<PathBuf>,
    },
    /// Rate charges again and post the exact difference
    ReRate {
        /// Segment, by id, as `charge explain` tells it
        segment: String,
        /// Only intervals that end after this time
        #[arg(long, value_name = "TIME")]
        from: Option<String>,
        /// Only intervals that begin before this time
        #[arg(long, value_name = "TIME")]
        to: Option<String>,
        /// Price version to rate by, by id; the one they were charged by if not given
        #[arg(long, value_name = "PRICE")]
        price_version: Option<String>,
        /// Why
        #[arg(long)]
        reason: String,
        /// Only show what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Take back what was charged while nothing was used, for the site's operator
    Correct {
        /// Segment, by id, as `charge explain` tells it
        segment: String,
        /// When the use ceased
        #[arg(long, value_name = "TIME")]
        from: String,
        /// When it went on; every interval that lies in between, were it in part, costs nothing
        #[arg(long, value_name = "TIME")]
        to: String,
        /// Why
        #[arg(long)]
        reason: String,
        /// Only show what would change
        #[arg(long)]
        dry_run: bool,
    },
}

impl ChargeCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        match self {
            Self::Ls { member, kind, view, limit } => {
                let query = [("member", member), ("type", kind), ("view", view.map(View::word))];
                let charges = call.client.list(&["teams", call.team()?, "bills"], &query, limit).await?;
                Ok(Answer::List(charges, CHARGES))
            }
            Self::Explain { id } => {
                let name = id.to_string();
                let detail = call.client.get(&["teams", call.team()?, "charges", &name], &[]).await?;
                let proof = proof_read(&proof_fetch(call, id).await?)?;
                Ok(Answer::Text(explanation(&detail, &proof)))
            }
            Self::Verify { id, proof, component, save } => {
                let (proof, component) = match proof {
                    Some(file) => from_files(&file, component.as_deref())?,
                    None => from_server(call, id, save.as_deref()).await?,
                };
                if proof.id != id {
                    return Err(Failure::Invalid(format!(
                        "--proof: this is the proof of {}, not of {id}",
                        proof.id
                    )));
                }
                let found = recompute(&proof, component).await?;
                let equal = found["equal"] == json!(true);
                let answer = Answer::One(found);
                Ok(if equal { answer } else { Answer::Alarm(Box::new(answer)) })
            }
            Self::ReRate { segment, from, to, price_version, reason, dry_run } => {
                let body = json!({
                    "segment": segment, "from": from, "to": to, "price_version": price_version,
                    "reason": reason, "dry_run": dry_run,
                });
                call.client.post(&["teams", call.team()?, "charges", "re-rate"], body).await.map(Answer::One)
            }
            Self::Correct { segment, from, to, reason, dry_run } => {
                let body = json!({
                    "segment": segment, "from": from, "to": to, "reason": reason, "dry_run": dry_run,
                });
                call.client.post(&["teams", call.team()?, "charges", "correct"], body).await.map(Answer::One)
            }
        }
    }
}

async fn proof_fetch(call: &Call, id: ChargeId) -> Result<Value, Failure> {
    call.client.get(&["teams", call.team()?, "charges", &id.to_string(), "proof"], &[]).await
}

fn proof_read(value: &Value) -> Result<Proof, Failure> {
    // From text, because ids are read from text that is borrowed.
    let read = serde_json::from_str(&value.to_string());
    read.map_err(|error| Failure::Invalid(format!("this is no proof of a charge: {error}")))
}

fn from_files(proof: &Path, component: Option<&Path>) -> Result<(Proof, Option<Bytes>), Failure> {
    let here = |path: &Path| {
        let name = path.display().to_string();
        move |error: std::io::Error| Failure::here(name, error)
    };
    let text = std::fs::read_to_string(proof).map_err(here(proof))?;
    let value = serde_json::from_str(&text)
        .map_err(|error| Failure::Invalid(format!("--proof: expected JSON: {error}")))?;
    let read = proof_read(&value)?;
    let component = match component {
        Some(path) => Some(Bytes::from(std::fs::read(path).map_err(here(path))?)),
        None if read.asks_price() => {
            let told =
                "--component: needed to compute this charge; `charge verify ID --save DIR` writes both files";
            return Err(Failure::Invalid(told.to_owned()));
        }
        None => None,
    };
    Ok((read, component))
}

/// Fetches the proof and, where the price has to be asked, its component; keeps both in `save`.
async fn from_server(
    call: &Call,
    id: ChargeId,
    save: Option<&Path>,
) -> Result<(Proof, Option<Bytes>), Failure> {
    let value = proof_fetch(call, id).await?;
    let proof = proof_read(&value)?;
    let component = if proof.asks_price() {
        let path = ["teams", call.team()?, "components", &proof.component_digest];
        let mut bytes = Vec::new();
        let keep = |part: &[u8]| {
            bytes.extend_from_slice(part);
            Ok(())
        };
        call.client.copy(&path, &[], keep).await?;
        Some(Bytes::from(bytes))
    } else {
        None
    };
    if let Some(folder) = save {
        let write = |name: String, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).map_err(|error| Failure::here(path.display(), error))
        };
        std::fs::create_dir_all(folder).map_err(|error| Failure::here(folder.display(), error))?;
        write(format!("{id}.json"), format!("{value:#}\n").as_bytes())?;
        if let Some(component) = &component {
            write(format!("{}.wasm", proof.component_digest), component)?;
        }
    }
    Ok((proof, component))
}
