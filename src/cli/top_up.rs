//! Credits bought for a team, by hand, by a provider, or by themselves when the pool runs low.

use clap::Subcommand;
use serde_json::json;

use super::{
    call::Call,
    output::{Answer, Column},
    problem::Failure,
};

const TOP_UPS: &[Column] = &[
    ("ID", "id"),
    ("AMOUNT", "amount"),
    ("PROVIDER", "provider"),
    ("STATE", "state"),
    ("REFUNDED", "refunded"),
    ("NOTE", "note"),
    ("ASKED BY", "requested_by"),
    ("DECIDED BY", "decided_by"),
    ("CREATED", "created_at"),
];

/// Commands about top-ups.
#[derive(Debug, Subcommand)]
pub(crate) enum TopUpCommand {
    /// Ask for a top-up of the team
    Ask {
        /// Credits, such as 100
        amount: String,
        /// Who takes the payment; the operator, by hand, if not given
        #[arg(long)]
        provider: Option<String>,
        /// What the operator should know, such as an invoice number
        #[arg(long, default_value = "")]
        note: String,
    },
    /// List top-ups
    Ls,
    /// Confirm that a top-up was paid, for the site's operator
    Confirm {
        /// Top-up, by id
        id: String,
    },
    /// Refuse a top-up, which has failed then, for the site's operator
    Refuse {
        /// Top-up, by id
        id: String,
    },
    /// Give unused credits of a top-up back to whoever paid, for the site's operator
    Refund {
        /// Top-up, by id
        id: String,
        /// Credits, such as 12.5
        amount: String,
        /// Why
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Note that whoever paid took the money back, for the site's operator
    Dispute {
        /// Top-up, by id
        id: String,
        /// What happened
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Top-ups that the server asks for when the pool runs low
    #[command(subcommand)]
    Auto(AutoCommand),
}

/// Commands about automatic top-ups.
#[derive(Debug, Subcommand)]
pub(crate) enum AutoCommand {
    /// Show when and how the pool is filled up by itself
    Show,
    /// Fill the pool up by itself
    Set {
        /// Fill it up when it has less than this
        #[arg(long, value_name = "CREDITS")]
        threshold: String,
        /// Fill it up to this
        #[arg(long, value_name = "CREDITS")]
        target: String,
        /// Who takes the payments; with `manual` the operator gets a request
        #[arg(long, default_value = "manual")]
        provider: String,
        /// The most in a day
        #[arg(long, value_name = "CREDITS")]
        day_cap: String,
        /// The most in a month
        #[arg(long, value_name = "CREDITS")]
        month_cap: String,
        /// The least time between two
        #[arg(long, value_name = "SECONDS")]
        min_gap_seconds: Option<u32>,
    },
    /// Fill the pool up by itself no more
    Off,
}

impl TopUpCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        let top_ups = &["teams", team, "top-ups"];
        match self {
            Self::Ask { amount, provider, note } => {
                let body = json!({ "amount": amount, "provider": provider, "note": note });
                client.post(top_ups, body).await.map(Answer::One)
            }
            Self::Ls => Ok(Answer::List(client.list(top_ups, &[], usize::MAX).await?, TOP_UPS)),
            Self::Confirm { id } => {
                client.post(&["teams", team, "top-ups", &id, "confirm"], json!({})).await.map(Answer::One)
            }
            Self::Refuse { id } => {
                client.post(&["teams", team, "top-ups", &id, "refuse"], json!({})).await.map(Answer::One)
            }
            Self::Refund { id, amount, note } => {
                let body = json!({ "amount": amount, "note": note });
                client.post(&["teams", team, "top-ups", &id, "refund"], body).await.map(Answer::One)
            }
            Self::Dispute { id, note } => {
                let body = json!({ "note": note });
                client.post(&["teams", team, "top-ups", &id, "dispute"], body).await.map(Answer::One)
            }
            Self::Auto(command) => command.run(call).await,
        }
    }
}

impl AutoCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        let setting = &["teams", team, "auto-top-up"];
        match self {
            Self::Show => client.get(setting, &[]).await.map(Answer::One),
            Self::Set { threshold, target, provider, day_cap, month_cap, min_gap_seconds } => {
                let etag = match client.get_versioned(setting).await {
                    Ok(present) => present.etag,
                    // There is none yet.
                    Err(Failure::Problem(problem)) if problem.code == "not-found" => {
                        Some("\"v0\"".to_owned())
                    }
                    Err(failure) => return Err(failure),
                };
                let body = json!({
                    "threshold": threshold, "target": target, "provider": provider, "day_cap": day_cap,
                    "month_cap": month_cap, "min_gap_seconds": min_gap_seconds,
                });
                client.put(setting, body, etag.as_deref()).await.map(Answer::One)
            }
            Self::Off => {
                client.delete_versioned(setting).await?;
                Ok(Answer::Done("The pool is filled up by itself no more.".into()))
            }
        }
    }
}
