//! How long calls take, and how that compares with the list price: the same, built in, and as a component.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::{Error, Result, Stand, Subject, stand::Admitted};
use crate::{
    ledger::rating::at_rate,
    model::price::{PlannedUse, RateContext, Sku, UsageRecord},
    money::NanoCredits,
    plugins::{self, Spent, default_price},
    time::{HOUR, Timestamp},
};

/// A list price.
const PRICE: NanoCredits = NanoCredits::from_nanos(1_999_999_999);

/// One kind of call, measured.
#[derive(Debug, Serialize)]
pub struct Measure {
    /// The call.
    pub call: &'static str,
    /// Its records.
    pub records: usize,
    /// Units of fuel.
    pub fuel: u64,
    /// The most memory of an instance, in bytes.
    pub memory_bytes: usize,
    /// Median time on a fresh instance, in nanoseconds.
    pub median_nanos: u64,
    /// The same call of the list price as a component.
    pub list_price_nanos: u64,
    /// The list price computed by the server itself.
    pub native_nanos: u64,
}

/// Measures a quote, one record and a full batch, `rounds` times each, in turns with what they are compared with.
///
/// # Errors
/// [`Error::Refused`] with what the plugin says when it gives no answer.
pub async fn measure(
    stand: &Stand,
    subject: &Subject,
    config: Option<String>,
    rounds: u32,
) -> Result<Vec<Measure>> {
    let admitted = stand.admit(subject).await?;
    let list_price = stand.admit_bytes(bytes::Bytes::from_static(default_price())).await?;
    let config = config.unwrap_or_else(|| admitted.default_config());
    let mut measures = Vec::new();
    for (call, records) in [("quote", 0), ("rate", 1), ("rate", 1_000)] {
        let (mut own, mut built_in, mut native) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = Spent::default();
        for _ in 0..rounds.max(1) {
            last = ask(stand, &admitted, &config, records).await?;
            own.push(last.took);
            built_in.push(ask(stand, &list_price, "{}", records).await?.took);
            native.push(natively(records)?);
        }
        measures.push(Measure {
            call,
            records: records.max(1),
            fuel: last.fuel,
            memory_bytes: last.memory_bytes,
            median_nanos: median(own),
            list_price_nanos: median(built_in),
            native_nanos: median(native),
        });
    }
    Ok(measures)
}

/// A quote where there are no records.
async fn ask(stand: &Stand, admitted: &Admitted, config: &str, records: usize) -> Result<Spent> {
    let context = context(config);
    let refused = |error: plugins::Error| Error::Refused(error.to_string());
    let (answer, spent) = if records == 0 {
        let planned = [PlannedUse { sku: 0, member: 0, quantity: 8, start: Timestamp::from_micros(0) }];
        let (answer, spent) = stand.plugins.quote_watched(&admitted.plugin, &context, &planned).await;
        (answer.map(drop), spent)
    } else {
        let usage: Vec<UsageRecord> = hours(records).collect();
        let (answer, spent) = stand.plugins.rate_watched(&admitted.plugin, &context, &usage).await;
        (answer.map(drop), spent)
    };
    answer.map_err(refused)?;
    Ok(spent)
}

/// The list price of the same records without a plugin.
fn natively(records: usize) -> Result<Duration> {
    let usage: Vec<UsageRecord> = hours(records.max(1)).collect();
    let began = Instant::now();
    for record in &usage {
        let cost = at_rate(PRICE, record.segment_start, record.from, record.to);
        std::hint::black_box(cost.map_err(|error| Error::Here(error.to_string()))?);
    }
    Ok(began.elapsed())
}

fn hours(count: usize) -> impl Iterator<Item = UsageRecord> {
    let hour = |number: i64| Timestamp::from_micros(number * HOUR);
    (0..).take(count).map(move |number| UsageRecord {
        sku: 0,
        member: 0,
        quantity: 8,
        segment_start: hour(0),
        from: hour(number),
        to: hour(number + 1),
    })
}

fn context(config: &str) -> RateContext {
    let sku = Sku {
        name: "gpu".to_owned(),
        kind: "instance".to_owned(),
        region: "lab".to_owned(),
        instance_type: "gpu".to_owned(),
        accelerator: "h100".to_owned(),
        unit_price: PRICE,
    };
    RateContext {
        team: "team".to_owned(),
        config: config.to_owned(),
        now: Timestamp::from_micros(1_000 * HOUR),
        skus: vec![sku],
        members: vec!["somebody".to_owned()],
    }
}

fn median(mut times: Vec<Duration>) -> u64 {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    u64::try_from(middle.as_nanos()).unwrap_or(u64::MAX)
}
