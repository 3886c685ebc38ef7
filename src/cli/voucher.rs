//! Vouchers: the operator makes them, teams turn them into credits.

use clap::Subcommand;
use serde_json::json;

use super::{
    call::Call,
    output::{Answer, Column},
    problem::Failure,
};

const MADE: &[Column] = &[("ID", "id"), ("CODE", "code")];
const VOUCHERS: &[Column] = &[
    ("ID", "id"),
    ("AMOUNT", "amount"),
    ("USES", "uses"),
    ("OF", "most_uses"),
    ("TEAM", "team"),
    ("VALID UNTIL", "valid_until"),
    ("REVOKED", "revoked_at"),
    ("NOTE", "note"),
];
const REDEEMED: &[Column] = &[
    ("VOUCHER", "voucher"),
    ("AMOUNT", "amount"),
    ("MEMBER", "member"),
    ("REDEEMED", "redeemed_at"),
    ("EXPIRES", "expires_at"),
];

/// Commands about vouchers.
#[derive(Debug, Subcommand)]
pub(crate) enum VoucherCommand {
    /// Make vouchers and show their codes, this once; for the site's operator
    Mint {
        /// Credits that each is worth, such as 10
        amount: String,
        /// Until when the codes can be redeemed, such as 2027-01-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        valid_until: String,
        /// How many to make
        #[arg(long)]
        count: Option<u32>,
        /// For how many days the credits are good; for ever if not given
        #[arg(long, value_name = "DAYS")]
        credit_days: Option<u32>,
        /// How many teams may redeem each; one if not given
        #[arg(long, value_name = "TEAMS")]
        most_uses: Option<u32>,
        /// The only team that may redeem them, by id or slug
        #[arg(long = "for", value_name = "TEAM")]
        only: Option<String>,
        /// What they are for
        #[arg(long, default_value = "")]
        note: String,
    },
    /// List vouchers, for the site's operator
    Ls,
    /// End a voucher, for the site's operator; credits that it brought stay
    Revoke {
        /// Voucher, by id
        id: String,
    },
    /// Turn a code into credits of the team's pool
    Redeem {
        /// The code, such as 7K2M-9QXA-0B4T-ZR5H
        code: String,
    },
    /// List the vouchers that the team redeemed
    Redeemed,
}

impl VoucherCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let client = &call.client;
        match self {
            Self::Mint { amount, valid_until, count, credit_days, most_uses, only, note } => {
                let body = json!({
                    "amount": amount, "valid_until": valid_until, "count": count, "credit_days": credit_days,
                    "most_uses": most_uses, "team": only, "note": note,
                });
                Ok(Answer::List(client.post(&["vouchers"], body).await?, MADE))
            }
            Self::Ls => Ok(Answer::List(client.list(&["vouchers"], &[], usize::MAX).await?, VOUCHERS)),
            Self::Revoke { id } => {
                client.post(&["vouchers", &id, "revoke"], json!({})).await.map(Answer::One)
            }
            Self::Redeem { code } => {
                let path = &["teams", call.team()?, "vouchers", "redeem"];
                client.post(path, json!({ "code": code })).await.map(Answer::One)
            }
            Self::Redeemed => {
                let path = &["teams", call.team()?, "vouchers"];
                Ok(Answer::List(client.list(path, &[], usize::MAX).await?, REDEEMED))
            }
        }
    }
}
