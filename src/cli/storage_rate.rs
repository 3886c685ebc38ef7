//! What storage costs, for the operator.

use clap::Subcommand;
use serde_json::json;

use super::{
    call::Call,
    output::{Answer, Column},
    problem::Failure,
};
use crate::model::storage::StorageKind;

const RATES: &[Column] = &[
    ("KIND", "kind"),
    ("REGION", "region"),
    ("CREDITS/GIB H", "price_per_gib_hour"),
    ("NANO/MIB H", "nano_per_mib_hour"),
];

/// Commands about what storage costs.
#[derive(Debug, Subcommand)]
pub(crate) enum StorageRateCommand {
    /// Set what a gibibyte costs for an hour; what is stored costs it from the next measurement on
    Set {
        /// What is stored: drive, snapshot, or stopped for the disk of a stopped instance
        kind: StorageKind,
        /// Credits for one gibibyte and hour; 0 for nothing
        price: String,
        /// Region; every region without a rate of its own if not given
        #[arg(long, default_value = "")]
        region: String,
    },
    /// List what storage costs
    Ls,
}

impl StorageRateCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        match self {
            Self::Set { kind, price, region } => {
                let body = json!({ "kind": kind, "region": region, "price_per_gib_hour": price });
                call.client.put(&["storage-rates"], body, None).await.map(Answer::One)
            }
            Self::Ls => Ok(Answer::List(call.client.get(&["storage-rates"], &[]).await?, RATES)),
        }
    }
}
