//! One question, asked from the command line: what a plugin quotes and charges for one use.

use serde::Serialize;

use super::{
    Error, Result, Stand, Subject,
    cases::{Amount, Question, RECORDS, pieces},
    outcome,
};
use crate::{
    model::price::{PlannedUse, RateContext, Sku, UsageRecord},
    money::NanoCredits,
    plugins::Spent,
    time::{Span, Timestamp},
};

/// What is used.
#[derive(Debug, Clone)]
pub struct TrialOptions {
    /// The configuration, JSON text; the manifest's default if there is none.
    pub config: Option<String>,
    /// List price of a unit for an hour.
    pub unit_price: NanoCredits,
    /// What is metered.
    pub kind: String,
    /// Accelerator model, or `none`.
    pub accelerator: String,
    /// Units.
    pub quantity: u32,
    /// When it begins.
    pub from: Timestamp,
    /// How long it lasts.
    pub length: Span,
    /// How long an interval of the meter is.
    pub every: Span,
}

/// What the plugin says.
#[derive(Debug, Serialize)]
pub struct Trial {
    /// The quote for an hour, in credits.
    pub per_hour: String,
    /// Intervals that were rated.
    pub records: usize,
    /// What all of it costs, in credits, by line.
    pub lines: Vec<TrialLine>,
    /// The sum.
    pub total: String,
    /// What the server would do with a charge above the quote, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub above_quote: Option<String>,
    /// Fuel that both calls used.
    pub fuel: u64,
    /// The most memory of an instance, in bytes.
    pub memory_bytes: usize,
    /// The lines that the plugin wrote to the log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

/// A line of the charges.
#[derive(Debug, Serialize)]
pub struct TrialLine {
    /// Its key.
    pub line: String,
    /// Its sum in credits.
    pub amount: String,
}

/// Asks the plugin what one use costs.
///
/// # Errors
/// [`Error::Refused`] with what the plugin says when it gives no answer, the lines of its log with it.
pub async fn try_out(stand: &Stand, subject: &Subject, options: &TrialOptions) -> Result<Trial> {
    let wrong = |what: &str| Error::Input(what.to_owned());
    if options.quantity == 0 || options.length.as_micros() <= 0 || options.every.as_micros() <= 0 {
        return Err(wrong("--quantity, --for and --every are above 0"));
    }
    let (quantity, from, to) = (options.quantity, options.from, options.from + options.length);
    let whole = UsageRecord { sku: 0, member: 0, quantity, segment_start: from, from, to };
    let records: Vec<UsageRecord> = pieces(whole, options.every).take(RECORDS + 1).collect();
    if records.len() > RECORDS {
        return Err(Error::Input(format!(
            "--for and --every give more than {RECORDS} intervals: make --every longer"
        )));
    }
    let admitted = stand.admit(subject).await?;
    let sku = Sku {
        name: "gpu".to_owned(),
        kind: options.kind.clone(),
        region: "lab".to_owned(),
        instance_type: "gpu".to_owned(),
        accelerator: options.accelerator.clone(),
        unit_price: options.unit_price,
    };
    let context = RateContext {
        team: "team".to_owned(),
        config: options.config.clone().unwrap_or_else(|| admitted.default_config()),
        now: to,
        skus: vec![sku],
        members: vec!["somebody".to_owned()],
    };
    let planned = vec![PlannedUse { sku: 0, member: 0, quantity: options.quantity, start: from }];
    let question = Question { context, records, planned };

    let mut all = Spent::default();
    let mut failed = None;
    let plugin = &admitted.plugin;
    let (quoted, spent) = stand.plugins.quote_watched(plugin, &question.context, &question.planned).await;
    all.add(spent);
    let quote = quoted.map_err(|error| failed = Some(format!("no quote: {error}"))).ok();
    let (rated, spent) = outcome::charges(stand, plugin, &question.context, &question.records).await;
    all.add(spent);
    let charges = rated.map_err(|error| failed = Some(error.to_string())).ok();
    let log: Vec<String> = all.log.iter().map(|line| format!("{}: {}", line.level, line.text)).collect();
    let (Some(quote), Some(charges)) = (quote, charges) else {
        let told = log.iter().map(|line| format!("\nlog {line}")).collect::<String>();
        return Err(Error::Refused(failed.unwrap_or_default() + &told));
    };
    let above_quote = outcome::above_quote(stand, plugin, &question, &charges).await;
    let lines = outcome::by_line(&charges).map_err(Error::Refused)?;
    let lines = lines.into_iter().map(|(line, amount)| TrialLine { line, amount: amount.to_string() });
    Ok(Trial {
        per_hour: Amount(quote.per_hour).to_string(),
        records: question.records.len(),
        lines: lines.collect(),
        total: outcome::total(&charges).map_err(Error::Refused)?.to_string(),
        above_quote: above_quote.map_err(|error| Error::Refused(error.to_string()))?,
        fuel: all.fuel,
        memory_bytes: all.memory_bytes,
        log,
    })
}
