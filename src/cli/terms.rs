//! A team's terms of money.

use clap::Subcommand;
use serde_json::json;

use super::{call::Call, output::Answer, problem::Failure};

/// Commands about a team's terms of money.
#[derive(Debug, Subcommand)]
pub(crate) enum TermsCommand {
    /// Show whose credits are spent, when billing begins, and what happens when credits run out
    Terms,
    /// Change the team's terms of money; what is not named stays
    SetTerms {
        /// Whose money a launch spends: wallet or pool
        #[arg(long)]
        spending: Option<String>,
        /// Time zone of the team's months, such as Europe/Berlin
        #[arg(long, value_name = "ZONE")]
        time_zone: Option<String>,
        /// When billing begins: running or pull
        #[arg(long, value_name = "WHEN")]
        billing_starts: Option<String>,
        /// What happens when credits run out: snapshot_stop, stop, pause or continue
        #[arg(long)]
        exhaustion: Option<String>,
        /// Minutes that instances are paid ahead, 10 to 1440; 0 for what the site has
        #[arg(long, value_name = "MINUTES")]
        runway_minutes: Option<u32>,
        /// Minutes that an instance goes on after the first warning, at most the runway; 0 for as long as it is paid
        #[arg(long, value_name = "MINUTES")]
        grace_minutes: Option<u32>,
    },
    /// Say how much the site lends the team at the most, for the site's operator
    CreditLimit {
        /// Credits, 0 for nothing
        credits: String,
    },
}

impl TermsCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let (client, team) = (&call.client, call.team()?);
        let terms = &["teams", team, "terms"];
        match self {
            Self::Terms => client.get(terms, &[]).await.map(Answer::One),
            Self::SetTerms {
                spending,
                time_zone,
                billing_starts,
                exhaustion,
                runway_minutes,
                grace_minutes,
            } => {
                let present = client.get_versioned(terms).await?;
                let (mut body, had) = (json!({}), present.value);
                let said = [
                    ("spending", spending),
                    ("time_zone", time_zone),
                    ("billing_starts", billing_starts),
                    ("exhaustion", exhaustion),
                ];
                for (field, said) in said {
                    body[field] = said.map_or_else(|| had[field].clone(), Into::into);
                }
                for (field, said) in [("runway_minutes", runway_minutes), ("grace_minutes", grace_minutes)] {
                    body[field] = match said {
                        None => had[field].clone(),
                        Some(0) => serde_json::Value::Null,
                        Some(minutes) => minutes.into(),
                    };
                }
                client.put(terms, body, present.etag.as_deref()).await.map(Answer::One)
            }
            Self::CreditLimit { credits } => {
                let body = json!({ "credit_limit": credits });
                client.put(&["teams", team, "credit-limit"], body, None).await.map(Answer::One)
            }
        }
    }
}
