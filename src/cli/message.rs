//! Messages about a team's money: the alerts that make them, and the webhooks that get them.

use clap::Subcommand;
use serde_json::json;

use super::{
    call::Call,
    output::{Answer, Column},
    problem::Failure,
};

const ALERTS: &[Column] = &[
    ("ID", "id"),
    ("METRIC", "metric"),
    ("SUBJECT", "subject"),
    ("THRESHOLD", "threshold"),
    ("ARMED", "armed"),
    ("FIRED", "fired_at"),
    ("CREATED", "created_at"),
];
const WEBHOOKS: &[Column] = &[
    ("ID", "id"),
    ("URL", "url"),
    ("KINDS", "kinds"),
    ("ACTIVE", "active"),
    ("CREATED BY", "created_by"),
    ("CREATED", "created_at"),
];
const DELIVERIES: &[Column] = &[
    ("MESSAGE", "message"),
    ("KIND", "kind"),
    ("STATE", "state"),
    ("TRIES", "tries"),
    ("NEXT", "next_at"),
    ("LAST ERROR", "last_error"),
    ("WRITTEN", "written_at"),
];
/// How many items are shown when no number is given.
const MOST: &str = "100";

/// Commands about messages.
#[derive(Debug, Subcommand)]
pub(crate) enum MessageCommand {
    /// Figures of the team's money that you want to hear of
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Where the team's messages are sent
    #[command(subcommand)]
    Webhook(WebhookCommand),
}

/// Commands about alerts.
#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Be told when a figure crosses a threshold
    Add {
        /// Figure: balance, runway_hours or budget_percent
        metric: String,
        /// Credits, hours or percent
        threshold: String,
        /// The member whose wallet, or the budget, by id; the team's pool if not given
        #[arg(long)]
        subject: Option<String>,
    },
    /// List alerts
    Ls,
    /// Delete an alert
    Rm {
        /// Alert, by id
        alert: String,
    },
}

/// Commands about webhooks.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Have the team's messages sent to a URL; the secret that signs them is shown once
    Add {
        /// Where to, such as https://hooks.example.org/muster
        url: String,
        /// Beginning of the kinds of messages that are wanted, such as budget.; all if none is given
        #[arg(long = "kind", value_name = "KIND")]
        kinds: Vec<String>,
    },
    /// List webhooks
    Ls,
    /// Show a webhook
    Show {
        /// Webhook, by id
        webhook: String,
    },
    /// Change a webhook: where it sends to, what it wants, whether it rests
    Set {
        /// Webhook, by id
        webhook: String,
        /// Where to
        #[arg(long)]
        url: Option<String>,
        /// Beginning of the kinds of messages that are wanted, such as budget.
        #[arg(long = "kind", value_name = "KIND")]
        kinds: Option<Vec<String>>,
        /// Let it get messages, or rest
        #[arg(long)]
        active: Option<bool>,
    },
    /// Delete a webhook
    Rm {
        /// Webhook, by id
        webhook: String,
    },
    /// List messages for a webhook, the latest first
    Deliveries {
        /// Webhook, by id
        webhook: String,
        /// Only those that stand here: waiting, delivered or dead
        #[arg(long)]
        state: Option<String>,
        /// Most messages to show
        #[arg(long, default_value = MOST)]
        limit: usize,
    },
    /// Send a message that was given up again
    Retry {
        /// Webhook, by id
        webhook: String,
        /// Message, by id
        message: String,
    },
    /// Send a test message now and say what became of it
    Test {
        /// Webhook, by id
        webhook: String,
    },
}

impl MessageCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        match self {
            Self::Alert(command) => command.run(call).await,
            Self::Webhook(command) => command.run(call).await,
        }
    }
}

impl AlertCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        let alerts = &["teams", team, "alerts"];
        match self {
            Self::Add { metric, threshold, subject } => {
                let body = json!({ "metric": metric, "threshold": threshold, "subject": subject });
                client.post(alerts, body).await.map(Answer::One)
            }
            Self::Ls => Ok(Answer::List(client.list(alerts, &[], usize::MAX).await?, ALERTS)),
            Self::Rm { alert } => {
                client.delete(&["teams", team, "alerts", &alert]).await?;
                Ok(Answer::Done(format!("Alert {alert} is deleted.")))
            }
        }
    }
}

impl WebhookCommand {
    async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        let webhooks = &["teams", team, "webhooks"];
        match self {
            Self::Add { url, kinds } => {
                client.post(webhooks, json!({ "url": url, "kinds": kinds })).await.map(Answer::One)
            }
            Self::Ls => Ok(Answer::List(client.list(webhooks, &[], usize::MAX).await?, WEBHOOKS)),
            Self::Show { webhook } => {
                client.get(&["teams", team, "webhooks", &webhook], &[]).await.map(Answer::One)
            }
            Self::Set { webhook, url, kinds, active } => {
                let body = json!({ "url": url, "kinds": kinds, "active": active });
                client.patch(&["teams", team, "webhooks", &webhook], body).await.map(Answer::One)
            }
            Self::Rm { webhook } => {
                client.delete(&["teams", team, "webhooks", &webhook]).await?;
                Ok(Answer::Done(format!("Webhook {webhook} is deleted.")))
            }
            Self::Deliveries { webhook, state, limit } => {
                let path = &["teams", team, "webhooks", &webhook, "deliveries"];
                let found = client.list(path, &[("state", state)], limit).await?;
                Ok(Answer::List(found, DELIVERIES))
            }
            Self::Retry { webhook, message } => {
                let path = &["teams", team, "webhooks", &webhook, "deliveries", &message, "retry"];
                client.post(path, json!({})).await.map(Answer::One)
            }
            Self::Test { webhook } => {
                let path = &["teams", team, "webhooks", &webhook, "test"];
                let told = client.post(path, json!({})).await?;
                let taken = told["delivered"] == json!(true);
                let answer = Answer::One(told);
                Ok(if taken { answer } else { Answer::Alarm(Box::new(answer)) })
            }
        }
    }
}
