//! Months: statements, credit notes, and files for bookkeepers.

use clap::{Subcommand, ValueEnum};
use serde_json::Value;

use super::{
    call::Call,
    credit::View,
    output::{Answer, Column, table, write_bytes},
    problem::Failure,
};
use crate::{digest::Digest, ledger::statement::canonical, money::Credits};

const STATEMENTS: &[Column] = &[
    ("MONTH", "month"),
    ("STATE", "state"),
    ("NUMBER", "number"),
    ("OPENING", "opening"),
    ("CLOSING", "closing"),
    ("CLOSED AT", "issued_at"),
    ("DIGEST", "digest"),
];
const CREDIT_NOTES: &[Column] = &[
    ("NUMBER", "number"),
    ("MONTH", "month"),
    ("AMOUNT", "amount"),
    ("MEMBER", "member"),
    ("TRANSACTION", "transaction"),
    ("REASON", "reason"),
    ("ISSUED", "issued_at"),
];

/// Commands about months.
#[derive(Debug, Subcommand)]
pub(crate) enum MonthCommand {
    /// The team's months: what came in, what went out, what was used
    #[command(subcommand)]
    Statement(StatementCommand),
    /// Differences to months that were closed before
    #[command(subcommand)]
    CreditNote(CreditNoteCommand),
    /// Costs for programs that compare clouds
    #[command(subcommand)]
    Costs(CostsCommand),
}

/// Commands about statements.
#[derive(Debug, Subcommand)]
pub(crate) enum StatementCommand {
    /// List months, the latest first
    Ls {
        /// The whole team's, or your own part
        #[arg(long, value_enum, default_value = "admin")]
        view: View,
    },
    /// Show a month, and check that it adds up
    Show {
        /// Month, such as 2026-11
        month: String,
        /// The whole team's, or your own part
        #[arg(long, value_enum, default_value = "admin")]
        view: View,
    },
    /// Print a month for programs
    Export {
        /// Month, such as 2026-11
        month: String,
        /// csv: all transactions and charges; json: the document that the digest is of
        #[arg(long, value_enum, default_value = "csv")]
        form: ExportForm,
        /// The whole team's, or your own part
        #[arg(long, value_enum, default_value = "admin")]
        view: View,
    },
}

/// Commands about credit notes.
#[derive(Debug, Subcommand)]
pub(crate) enum CreditNoteCommand {
    /// List credit notes, the latest first
    Ls {
        /// The whole team's, or your own
        #[arg(long, value_enum, default_value = "admin")]
        view: View,
    },
}

/// Commands about costs.
#[derive(Debug, Subcommand)]
pub(crate) enum CostsCommand {
    /// Print a month's costs as a FOCUS 1.2 file
    Export {
        /// Month, such as 2026-11
        #[arg(long)]
        month: String,
        /// The whole team's, or your own
        #[arg(long, value_enum, default_value = "admin")]
        view: View,
    },
}

/// What a month is printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportForm {
    /// All transactions and charges, one a line.
    Csv,
    /// The document that the digest is of.
    Json,
}

impl MonthCommand {
    /// Asks the server.
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        match self {
            Self::Statement(command) => command.run(call).await,
            Self::CreditNote(CreditNoteCommand::Ls { view }) => {
                let query = [("view", Some(view.word()))];
                let found = client.list(&["teams", team, "credit-notes"], &query, usize::MAX).await?;
                Ok(Answer::List(found, CREDIT_NOTES))
            }
            Self::Costs(CostsCommand::Export { month, view }) => {
                let query = [("month", Some(month)), ("view", Some(view.word()))];
                client.copy(&["teams", team, "costs"], &query, write_bytes).await?;
                Ok(Answer::Written)
            }
        }
    }
}

impl StatementCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        match self {
            Self::Ls { view } => {
                let query = [("view", Some(view.word()))];
                let found = client.list(&["teams", team, "statements"], &query, usize::MAX).await?;
                Ok(Answer::List(found, STATEMENTS))
            }
            Self::Show { month, view } => {
                let query = [("view", Some(view.word()))];
                let found = client.get(&["teams", team, "statements", &month], &query).await?;
                let shown = Shown::of(&found);
                let answer = Answer::Page(found, shown.text);
                Ok(if shown.fine { answer } else { Answer::Alarm(Box::new(answer)) })
            }
            Self::Export { month, form, view } => {
                let path = ["teams", team, "statements", &month];
                match form {
                    ExportForm::Csv => {
                        let query = [("view", Some(view.word())), ("form", Some("csv".to_owned()))];
                        client.copy(&path, &query, write_bytes).await?;
                        Ok(Answer::Written)
                    }
                    ExportForm::Json => {
                        let found = client.get(&path, &[("view", Some(view.word()))]).await?;
                        let part = ["statement", "own"].iter().map(|part| &found[*part]);
                        let part = part.into_iter().find(|part| !part.is_null());
                        Ok(Answer::Text(canonical(part.unwrap_or(&Value::Null))))
                    }
                }
            }
        }
    }
}

/// What a kind of transaction is called in a statement; one that has no name here is shown as it is.
fn kind_name(kind: &str) -> &str {
    match kind {
        "top_up" => "top-ups",
        "grant" => "grants",
        "voucher" => "vouchers",
        "goodwill" => "goodwill",
        "assign" => "assigned to members, within the team",
        "reclaim" => "taken back from members, within the team",
        "capture" => "charges",
        "correction" => "corrections of charges",
        "reversal" => "reversals",
        "refund" => "refunds",
        "expire" => "expired",
        "lend" => "lent",
        "settle" => "debts paid",
        other => other,
    }
}

/// A month for people.
struct Shown {
    text: String,
    /// Whether everything adds up.
    fine: bool,
}

impl Shown {
    fn of(found: &Value) -> Self {
        let mut shown = Self { text: String::new(), fine: true };
        let word = |key: &str| found[key].as_str().unwrap_or("-").to_owned();
        let statement = &found["statement"];
        shown.line(&format!("Statement of {}, {}", word("month"), word("state")));
        if statement.is_null() {
            shown.usage(&found["own"]);
            return shown;
        }
        let said = |key: &str| statement[key].as_str().unwrap_or("-").to_owned();
        let span = format!("{} to {} ({})", said("start_at"), said("end_at"), said("time_zone"));
        shown.line(&format!("  {span}, {} transactions", statement["transactions"]));
        if let Some(digest) = found["digest"].as_str() {
            shown.line(&format!("  number {}, closed {}", statement["number"], word("issued_at")));
            shown.digest(statement, digest);
        }
        shown.lines(statement);
        shown.check(statement);
        shown.line(&format!(
            "owed: {} at the beginning, {} at the end",
            said("owed_opening"),
            said("owed_closing")
        ));
        shown.usage(&statement["usage"]);
        shown.notes(&statement["credit_notes"]);
        shown
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn digest(&mut self, statement: &Value, digest: &str) {
        let same = Digest::of(canonical(statement).as_bytes()).to_string() == digest;
        self.fine &= same;
        let verdict = if same { "ok" } else { "WRONG: this is not the document that was closed" };
        self.line(&format!("  digest {digest}: {verdict}"));
    }

    fn lines(&mut self, statement: &Value) {
        let cell = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let blank = String::new;
        let mut rows =
            vec![vec!["opening".to_owned(), blank(), blank(), blank(), cell(&statement["opening"])]];
        for line in statement["lines"].as_array().into_iter().flatten() {
            let late = if line["late"] == true { ", of closed months" } else { "" };
            rows.push(vec![
                format!("{}{late}", kind_name(line["kind"].as_str().unwrap_or("-"))),
                line["transactions"].to_string(),
                cell(&line["in"]),
                cell(&line["out"]),
                blank(),
            ]);
        }
        rows.push(vec!["closing".to_owned(), blank(), blank(), blank(), cell(&statement["closing"])]);
        let table = table(&["", "COUNT", "IN", "OUT", "BALANCE"], rows);
        self.line(&format!("\n{table}\n"));
    }

    /// The line that a bookkeeper looks for; computed here, not believed.
    fn check(&mut self, statement: &Value) {
        let amount = |value: &Value| value.as_str().and_then(|text| text.parse::<Credits>().ok());
        let of = |key: &str| amount(&statement[key]);
        let sum = |key: &str| {
            let lines = statement["lines"].as_array()?;
            lines.iter().try_fold(Credits::ZERO, |sum, line| sum.plus(amount(&line[key])?).ok())
        };
        let figures = || Some([of("opening")?, of("in")?, of("out")?, of("closing")?]);
        let Some([opening, incoming, outgoing, closing]) = figures() else {
            self.fine = false;
            return self.line("check: the statement has no figures: WRONG");
        };
        let adds_up = opening.plus(incoming).and_then(|sum| sum.minus(outgoing)) == Ok(closing);
        let of_lines = sum("in") == Some(incoming) && sum("out") == Some(outgoing);
        self.fine &= adds_up && of_lines;
        let verdict = if adds_up && of_lines { "ok" } else { "WRONG" };
        self.line("check: opening + in - out = closing");
        self.line(&format!("       {opening} + {incoming} - {outgoing} = {closing}: {verdict}"));
    }

    fn usage(&mut self, usage: &Value) {
        let cell = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        self.line(&format!("\nUsed: {} in {} charges", cell(&usage["total"]), usage["charges"]));
        let mut rows = Vec::new();
        for (head, key) in [("member", "by_member"), ("kind", "by_kind"), ("product", "by_product")] {
            for line in usage[key].as_array().into_iter().flatten() {
                rows.push(vec![format!("  {head}"), cell(&line["name"]), cell(&line["amount"])]);
            }
        }
        if !rows.is_empty() {
            let table = table(&["  BY", "NAME", "AMOUNT"], rows);
            self.line(&table);
        }
    }

    fn notes(&mut self, notes: &Value) {
        let cell = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let notes = notes.as_array().into_iter().flatten();
        let rows: Vec<Vec<String>> = notes
            .map(|note| {
                let number = format!("  {}", note["number"]);
                vec![number, cell(&note["month"]), cell(&note["amount"]), cell(&note["reason"])]
            })
            .collect();
        if !rows.is_empty() {
            let table = table(&["  NUMBER", "CORRECTS", "AMOUNT", "REASON"], rows);
            self.line(&format!("\nCredit notes:\n{table}"));
        }
    }
}
