//! Prices: those of a team and those of the site.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    call::Call,
    output::{Answer, Column},
    problem::Failure,
};

const PRICES: &[Column] = &[
    ("ID", "id"),
    ("NUMBER", "number"),
    ("OF SITE", "of_site"),
    ("PRODUCT", "product"),
    ("ACTIVE", "active"),
    ("EFFECTIVE", "effective_at"),
    ("DIGEST", "digest"),
    ("CONFIG", "config"),
    ("CREATED BY", "created_by"),
    ("CREATED", "created_at"),
];

/// Commands about prices.
#[derive(Debug, Subcommand)]
pub(crate) enum PriceCommand {
    /// List price versions
    Ls {
        /// Those of the site, for its operator
        #[arg(long)]
        site: bool,
    },
    /// Make a plugin with a configuration the team's price
    Activate {
        /// Plugin, by id
        plugin: String,
        /// Configuration: JSON text, or @PATH of a file with it
        #[arg(long, default_value = "{}")]
        config: String,
        /// Only for this product, by id or name; for all others if not given
        #[arg(long)]
        product: Option<String>,
        /// From this time on, such as 2027-01-01T00:00:00Z; at once if not given
        #[arg(long, value_name = "TIME")]
        effective_at: Option<String>,
        /// Make it the price of the whole site, for its operator
        #[arg(long)]
        site: bool,
    },
}

impl PriceCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let site = match &self {
            Self::Ls { site } | Self::Activate { site, .. } => *site,
        };
        let prices = if site { vec!["prices"] } else { vec!["teams", call.team()?, "prices"] };
        match self {
            Self::Ls { .. } => Ok(Answer::List(call.client.list(&prices, &[], usize::MAX).await?, PRICES)),
            Self::Activate { plugin, config, product, effective_at, .. } => {
                let body = json!({
                    "plugin": plugin, "config": json_argument(&config)?, "product": product,
                    "effective_at": effective_at,
                });
                call.client.post(&prices, body).await.map(Answer::One)
            }
        }
    }
}

/// JSON given as text or as `@PATH`.
pub(super) fn json_argument(text: &str) -> Result<Value, Failure> {
    let text = match text.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|error| Failure::here(path, error))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| Failure::Invalid(format!("--config: expected JSON: {error}")))
}
