//! Money: credits, bills, the books.

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::{
    call::Call,
    charge::ChargeCommand,
    output::{Answer, Column, write_bytes},
    price::PriceCommand,
    problem::Failure,
    top_up::TopUpCommand,
    voucher::VoucherCommand,
};

const TRANSACTIONS: &[Column] = &[
    ("AT", "occurred_at"),
    ("KIND", "kind"),
    ("MEMBER", "member"),
    ("INSTANCE", "instance"),
    ("REASON", "reason"),
    ("ACTOR", "actor"),
    ("ID", "id"),
];
const LOTS: &[Column] = &[
    ("ID", "id"),
    ("MEMBER", "member"),
    ("CATEGORY", "category"),
    ("AMOUNT", "amount"),
    ("LEFT", "left"),
    ("HELD", "held"),
    ("CAME IN", "effective_at"),
    ("EXPIRES", "expires_at"),
];
const BILLS: &[Column] = &[
    ("MEMBER", "member"),
    ("TYPE", "type"),
    ("INSTANCE", "instance"),
    ("FROM", "from"),
    ("TO", "to"),
    ("QUANTITY", "quantity"),
    ("AMOUNT", "amount"),
];
/// How many items are shown when no number is given.
pub(super) const MOST: &str = "100";

/// Commands about money.
#[derive(Debug, Subcommand)]
pub(crate) enum CreditCommand {
    /// Credits of the team and its members
    #[command(subcommand)]
    Credits(CreditsCommand),
    /// Credits bought for the team
    #[command(subcommand)]
    TopUp(TopUpCommand),
    /// Codes that teams turn into credits
    #[command(subcommand)]
    Voucher(VoucherCommand),
    /// Show what was charged
    Bill {
        /// Only this member, by id
        #[arg(long)]
        member: Option<String>,
        /// Only this type of usage
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
        /// Whose bills: your own, or those of all members if you may
        #[arg(long, value_enum)]
        view: Option<View>,
        /// Most lines to show
        #[arg(long, default_value = MOST)]
        limit: usize,
    },
    /// Single charges: explained, computed again, corrected
    #[command(subcommand)]
    Charge(ChargeCommand),
    /// The price versions of the team and of the site
    #[command(subcommand)]
    Price(PriceCommand),
    /// The books
    #[command(subcommand)]
    Ledger(LedgerCommand),
}

/// Whose things a list shows.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum View {
    /// Those of all members.
    Admin,
    /// Your own.
    #[value(name = "self")]
    Own,
}

impl View {
    /// The word in a query.
    pub(crate) fn word(self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Own => "self".to_owned(),
        }
    }
}

/// Commands about credits.
#[derive(Debug, Subcommand)]
pub(crate) enum CreditsCommand {
    /// Give the team credits, for the site's operator
    Grant {
        /// Credits, such as 12.5
        amount: String,
        /// Why
        #[arg(long, default_value = "")]
        note: String,
        /// When what is unused of them is lost, such as 2027-01-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires_at: Option<String>,
    },
    /// Give credits as an apology, for the site's operator
    Goodwill {
        /// Credits, such as 12.5
        amount: String,
        /// What the apology is for
        #[arg(long)]
        note: String,
        /// Member whose wallet gets them, by id; the team's pool if not given
        #[arg(long)]
        member: Option<String>,
    },
    /// Give up what the team owes, for the site's operator
    WriteOff {
        /// Credits, such as 12.5
        amount: String,
        /// Why
        #[arg(long)]
        note: String,
    },
    /// Move credits from the team's pool to a member
    Assign {
        /// Member, by id
        member: String,
        /// Credits, such as 12.5
        amount: String,
        /// Why
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Move credits from a member back to the team's pool
    Reclaim {
        /// Member, by id
        member: String,
        /// Credits, such as 12.5
        amount: String,
        /// Why
        #[arg(long, default_value = "")]
        note: String,
    },
    /// Show balances
    Balance {
        /// As they were at this moment, such as 2026-11-30T15:00:00Z
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// List where credits came from and until when they are good
    Lots {
        /// Whose lots: those of your wallet, or those of the whole team if you may
        #[arg(long, value_enum)]
        view: Option<View>,
        /// Only those of this member's wallet, by id
        #[arg(long)]
        member: Option<String>,
    },
    /// List transactions, the latest first
    Transactions {
        /// Only this member, by id
        #[arg(long)]
        member: Option<String>,
        /// Most transactions to show
        #[arg(long, default_value = MOST)]
        limit: usize,
    },
}

/// Commands about the books.
#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Check every invariant of the books; exit code 1 if one is broken
    Verify,
    /// Write the books of all teams to the standard output, a line of JSON for each row
    Export {
        /// Everything as it stands, or the transactions in order
        #[arg(long, value_name = "FORM", value_parser = ["dump", "log"])]
        form: String,
    },
}

impl CreditCommand {
    pub(crate) async fn run(self, call: &mut Call) -> Result<Answer, Failure> {
        match self {
            Self::Credits(command) => command.run(call).await,
            Self::TopUp(command) => command.run(call).await,
            Self::Voucher(command) => command.run(call).await,
            Self::Bill { member, kind, view, limit } => {
                let query = [("member", member), ("type", kind), ("view", view.map(View::word))];
                let bills = call.client.list(&["teams", call.team()?, "bills"], &query, limit).await?;
                Ok(Answer::List(bills, BILLS))
            }
            Self::Charge(command) => command.run(call).await,
            Self::Price(command) => command.run(call).await,
            Self::Ledger(LedgerCommand::Export { form }) => {
                let query = [("form", Some(form))];
                call.client.copy(&["ledger", "export"], &query, write_bytes).await?;
                Ok(Answer::Written)
            }
            Self::Ledger(LedgerCommand::Verify) => {
                let found = call.client.get(&["ledger", "verify"], &[]).await?;
                let broken = found["ok"] == json!(false)
                    || found["violations"].as_array().is_some_and(|violations| !violations.is_empty());
                let answer = Answer::One(found);
                Ok(if broken { Answer::Alarm(Box::new(answer)) } else { answer })
            }
        }
    }
}

impl CreditsCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        match self {
            Self::Grant { amount, note, expires_at } => {
                let body = json!({ "amount": amount, "note": note, "expires_at": expires_at });
                client.post(&["teams", team, "credits", "grant"], body).await.map(Answer::One)
            }
            Self::Goodwill { amount, note, member } => {
                let body = json!({ "amount": amount, "note": note, "member": member });
                client.post(&["teams", team, "credits", "goodwill"], body).await.map(Answer::One)
            }
            Self::WriteOff { amount, note } => {
                let body = json!({ "amount": amount, "note": note });
                client.post(&["teams", team, "credits", "write-off"], body).await.map(Answer::One)
            }
            Self::Assign { member, amount, note } => {
                let body = json!({ "member": member, "amount": amount, "note": note });
                client.post(&["teams", team, "credits", "assign"], body).await.map(Answer::One)
            }
            Self::Reclaim { member, amount, note } => {
                let body = json!({ "member": member, "amount": amount, "note": note });
                client.post(&["teams", team, "credits", "reclaim"], body).await.map(Answer::One)
            }
            Self::Balance { at } => {
                client.get(&["teams", team, "balance"], &[("at", at)]).await.map(Answer::One)
            }
            Self::Lots { view, member } => {
                let query = [("view", view.map(View::word)), ("member", member)];
                let lots = client.list(&["teams", team, "lots"], &query, usize::MAX).await?;
                Ok(Answer::List(lots, LOTS))
            }
            Self::Transactions { member, limit } => {
                let found =
                    client.list(&["teams", team, "transactions"], &[("member", member)], limit).await?;
                Ok(Answer::List(found, TRANSACTIONS))
            }
        }
    }
}
