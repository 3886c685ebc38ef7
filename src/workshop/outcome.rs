//! What a plugin answered to a question, in the form in which it is compared and shown.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Stand,
    cases::{Amount, Question},
};
use crate::{
    ledger::rating::exceeds_quote,
    model::price::{PlannedUse, RateContext, UsageRecord},
    money::NanoCredits,
    plugins::{Error, Plugin, Spent},
};

/// The charges of each record by line, those of nothing left out.
pub(super) type Charges = Vec<BTreeMap<String, Amount>>;

/// What `records` cost.
pub(super) async fn charges(
    stand: &Stand,
    plugin: &Arc<Plugin>,
    context: &RateContext,
    records: &[UsageRecord],
) -> (Result<Charges, Error>, Spent) {
    let (answer, spent) = stand.plugins.rate_watched(plugin, context, records).await;
    let told = answer.map(|lines| {
        let mut charges = vec![BTreeMap::new(); records.len()];
        for line in lines {
            let place = usize::try_from(line.record).ok().and_then(|place| charges.get_mut(place));
            if let Some(charge) = place.filter(|_| line.amount != NanoCredits::ZERO) {
                charge.insert(line.line, Amount(line.amount));
            }
        }
        charges
    });
    (told, spent)
}

/// The sum of charges for each line.
pub(super) fn by_line(charges: &[BTreeMap<String, Amount>]) -> Result<BTreeMap<String, Amount>, String> {
    let mut sums: BTreeMap<String, Amount> = BTreeMap::new();
    for (line, amount) in charges.iter().flatten() {
        let sum = sums.entry(line.clone()).or_default();
        *sum = plus(*sum, *amount)?;
    }
    Ok(sums)
}

/// The sum of charges.
pub(super) fn total(charges: &[BTreeMap<String, Amount>]) -> Result<Amount, String> {
    charges.iter().flat_map(BTreeMap::values).try_fold(Amount::default(), |sum, amount| plus(sum, *amount))
}

fn plus(one: Amount, other: Amount) -> Result<Amount, String> {
    one.0.plus(other.0).map(Amount).map_err(|error| error.to_string())
}

/// The first charge that is above what was quoted for its segment, which the server would not take: it would charge the
/// quoted rate and alarm.
pub(super) async fn above_quote(
    stand: &Stand,
    plugin: &Arc<Plugin>,
    question: &Question,
    charges: &Charges,
) -> Result<Option<String>, Error> {
    let mut quoted: BTreeMap<(u32, u32, u32, i64), NanoCredits> = BTreeMap::new();
    for (number, (record, charge)) in question.records.iter().zip(charges).enumerate() {
        let UsageRecord { sku, member, quantity, segment_start: start, .. } = *record;
        let key = (sku, member, quantity, start.as_micros());
        let per_hour = match quoted.get(&key) {
            Some(per_hour) => *per_hour,
            None => {
                let planned = [PlannedUse { sku, member, quantity, start }];
                let context = RateContext { now: start, ..question.context.clone() };
                let per_hour = stand.plugins.quote(plugin, &context, &planned).await?.per_hour;
                quoted.insert(key, per_hour);
                per_hour
            }
        };
        let cost = total(std::slice::from_ref(charge)).map_err(Error::BadOutput)?;
        if exceeds_quote(cost.0, per_hour, record.span()) {
            return Ok(Some(format!(
                "record {number} costs {cost} for {}, and {per_hour} an hour were quoted: the server would charge the \
                 quoted rate, and alarm",
                record.span()
            )));
        }
    }
    Ok(None)
}

/// Charges as a person writes them.
pub(super) fn shown(charges: &BTreeMap<String, Amount>) -> String {
    let lines: Vec<String> = charges.iter().map(|(line, amount)| format!("{line}: {amount}")).collect();
    format!("{{ {} }}", lines.join(", "))
}
