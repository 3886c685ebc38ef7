//! Budgets: how much of the money a team, a member or an API key may use up.

use clap::Subcommand;
use serde_json::json;

use super::{
    call::Call,
    credit::View,
    output::{Answer, Column},
    problem::Failure,
};

const BUDGETS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("SCOPE", "scope"),
    ("SUBJECT", "subject"),
    ("PERIOD", "period"),
    ("CEILING", "ceiling"),
    ("SPENT", "present.spent"),
    ("RESERVED", "present.reserved"),
    ("LEFT", "present.left"),
    ("PERCENT", "present.percent"),
    ("RESETS", "present.resets_at"),
    ("REACTION", "reaction"),
    ("ACTIVE", "active"),
];

/// Commands about budgets.
#[derive(Debug, Subcommand)]
pub(crate) enum BudgetCommand {
    /// Make a budget of the team, of a member or of an API key
    Add {
        /// Name within the team
        name: String,
        /// Credits that may be used up, such as 100
        ceiling: String,
        /// Only what this member uses, by id
        #[arg(long, value_name = "MEMBER", conflicts_with = "key")]
        member: Option<String>,
        /// Only what this API key launched, by id
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        /// Use it up once, not anew in every month
        #[arg(long)]
        once: bool,
        /// When it is used up: alert, deny (refuse launches) or drain (stop what runs, too)
        #[arg(long, default_value = "deny")]
        reaction: String,
        /// Percentages at which the team is told
        #[arg(long = "at", value_name = "PERCENT", value_delimiter = ',', default_value = "80,100")]
        thresholds: Vec<u8>,
    },
    /// List budgets and what was used of them
    Ls {
        /// Whose budgets: your own, or all of them if you may
        #[arg(long, value_enum)]
        view: Option<View>,
    },
    /// Show a budget
    Show {
        /// Budget, by id
        budget: String,
    },
    /// Change a budget
    Set {
        /// Budget, by id
        budget: String,
        /// Name within the team
        #[arg(long)]
        name: Option<String>,
        /// Credits that may be used up
        #[arg(long)]
        ceiling: Option<String>,
        /// When it is used up: alert, deny or drain
        #[arg(long)]
        reaction: Option<String>,
        /// Percentages at which the team is told
        #[arg(long = "at", value_name = "PERCENT", value_delimiter = ',')]
        thresholds: Option<Vec<u8>>,
        /// Let a budget that has ended count again, or not
        #[arg(long)]
        active: Option<bool>,
    },
    /// End a budget: it counts and binds no longer
    End {
        /// Budget, by id
        budget: String,
    },
}

impl BudgetCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        let budgets = &["teams", team, "budgets"];
        match self {
            Self::Add { name, ceiling, member, key, once, reaction, thresholds } => {
                let scope = match (&member, &key) {
                    (Some(_), _) => "member",
                    (None, Some(_)) => "api_key",
                    (None, None) => "team",
                };
                let body = json!({
                    "name": name, "scope": scope, "subject": member.or(key), "ceiling": ceiling,
                    "period": if once { "once" } else { "monthly" }, "reaction": reaction,
                    "thresholds": thresholds,
                });
                client.post(budgets, body).await.map(Answer::One)
            }
            Self::Ls { view } => {
                let query = [("view", view.map(View::word))];
                Ok(Answer::List(client.list(budgets, &query, usize::MAX).await?, BUDGETS))
            }
            Self::Show { budget } => {
                client.get(&["teams", team, "budgets", &budget], &[]).await.map(Answer::One)
            }
            Self::Set { budget, name, ceiling, reaction, thresholds, active } => {
                let body = json!({
                    "name": name, "ceiling": ceiling, "reaction": reaction, "thresholds": thresholds,
                    "active": active,
                });
                client.patch(&["teams", team, "budgets", &budget], body).await.map(Answer::One)
            }
            Self::End { budget } => {
                client.delete(&["teams", team, "budgets", &budget]).await?;
                Ok(Answer::Done(format!("Budget {budget} has ended.")))
            }
        }
    }
}
