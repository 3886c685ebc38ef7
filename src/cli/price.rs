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
    /// Show what a past span would have cost by another price; nothing is charged
    Replay {
        /// Plugin, by id
        plugin: String,
        /// Configuration: JSON text, or @PATH of a file with it
        #[arg(long, default_value = "{}")]
        config: String,
        /// As the price of this product, by id or name; of all others if not given
        #[arg(long)]
        product: Option<String>,
        /// Beginning of the span, such as 2026-10-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        from: String,
        /// End of the span, such as 2026-11-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        to: String,
    },
    /// List what was replayed
    Replays,
    /// Go back to the price before the present one
    Rollback {
        /// The price of this product, by id or name; of all others if not given
        #[arg(long)]
        product: Option<String>,
        /// To the version with this number
        #[arg(long)]
        number: Option<u32>,
    },
}

const REPLAYS: &[Column] = &[
    ("ID", "id"),
    ("DIGEST", "digest"),
    ("PRODUCT", "product"),
    ("FROM", "from"),
    ("TO", "to"),
    ("INTERVALS", "intervals"),
    ("BEFORE", "before"),
    ("AFTER", "after"),
    ("DIFFERENCE", "difference"),
    ("FAILED", "failed"),
    ("CREATED BY", "created_by"),
    ("CREATED", "created_at"),
];

impl PriceCommand {
    pub(crate) async fn run(self, call: &Call) -> Result<Answer, Failure> {
        let site = match &self {
            Self::Ls { site } | Self::Activate { site, .. } => *site,
            Self::Replay { .. } | Self::Replays | Self::Rollback { .. } => false,
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
            Self::Replay { plugin, config, product, from, to } => {
                let body = json!({
                    "plugin": plugin, "config": json_argument(&config)?, "product": product, "from": from, "to": to,
                });
                let told = call.client.post(&["teams", call.team()?, "price-replays"], body).await?;
                let page = replay_page(&told);
                Ok(Answer::Page(told, page))
            }
            Self::Replays => {
                let replays = ["teams", call.team()?, "price-replays"];
                Ok(Answer::List(call.client.list(&replays, &[], usize::MAX).await?, REPLAYS))
            }
            Self::Rollback { product, number } => {
                let back = ["teams", call.team()?, "prices", "rollback"];
                call.client
                    .post(&back, json!({ "product": product, "number": number }))
                    .await
                    .map(Answer::One)
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

/// A replay for people.
fn replay_page(told: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let of = |name: &str| text(&told[name]);
    let percent = match told["increase_percent"].as_i64() {
        Some(percent) => format!("{percent:+} %"),
        None => "it was free".to_owned(),
    };
    let mut page = format!(
        "{} to {}\n{} intervals of {} segments\n\n  before      {}\n  after       {}\n  difference  {} ({percent})\n",
        of("from"),
        of("to"),
        of("intervals"),
        of("segments"),
        of("before"),
        of("after"),
        of("difference"),
    );
    let lists = [("By member", "members", "account"), ("By product", "products", "product")];
    for (head, list, name) in lists {
        page += &format!("\n{head}\n");
        for one in told[list].as_array().into_iter().flatten() {
            page +=
                &format!("  {:<24} {} -> {}\n", text(&one[name]), text(&one["before"]), text(&one["after"]));
        }
    }
    let largest = told["largest"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !largest.is_empty() {
        page += "\nLargest changes\n";
    }
    for one in largest {
        let lines = one["lines"].as_object().into_iter().flatten();
        let lines: Vec<String> = lines.map(|(line, nano)| format!("{line} {} nano", text(nano))).collect();
        let (segment, product) = (text(&one["segment"]), text(&one["product"]));
        let (before, after) = (text(&one["before"]), text(&one["after"]));
        page += &format!("  {segment} {product}: {before} -> {after} ({})\n", lines.join(", "));
    }
    if told["failed"].as_u64().unwrap_or(0) > 0 {
        let why = text(&told["failed_because"]);
        page += &format!("\n{} intervals have no answer and are in no sum: {why}\n", of("failed"));
    }
    page
}
