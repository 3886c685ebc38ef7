//! An example: the longer a run lasts, the less its hours cost; each tier is a line of its own.
//!
//! Configuration: `{"until_hours": [24, 168], "percents": [100, 80, 60]}`: the list price up to 24 hours of a run,
//! 80 percent of it up to 168, 60 percent from then on. A run is what lies between the start and the stop of an
//! instance.

use muster_plugin::{
    Charge, NanoCredits, PlannedUse, PluginError, RateContext, RateOutput, Tariff, UsageRecord,
    cumulative::{self, HOUR, bad_config, bad_input},
};

struct Tiered;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Tiers {
    until_hours: [u32; 2],
    percents: [u8; 3],
}

impl Tariff for Tiered {
    fn rate(context: RateContext, records: Vec<UsageRecord>) -> Result<RateOutput, PluginError> {
        let tiers = Tiers::read(&context.config)?;
        let mut charges = Vec::with_capacity(records.len() * 3);
        for (record, usage) in (0..).zip(&records) {
            let list = list_price(&context, usage.sku, usage.quantity)?;
            for (line, (from, to, percent)) in (0..).zip(tiers.all()) {
                // The part of the run that lies in this tier.
                let within = |elapsed: i64| elapsed.clamp(from, to) - from;
                let price = list * i128::from(percent);
                let amount = cumulative::charge(usage, |t| cumulative::prorate(price, within(t), 100))?;
                charges.push(Charge { record, line, amount });
            }
        }
        Ok(RateOutput { lines: vec!["tier-1".into(), "tier-2".into(), "tier-3".into()], charges })
    }

    /// The dearest tier: a hold must last for it.
    fn quote(context: RateContext, planned: Vec<PlannedUse>) -> Result<Vec<NanoCredits>, PluginError> {
        let dearest = Tiers::read(&context.config)?.percents.into_iter().max().unwrap_or_default();
        let hour = |usage: &PlannedUse| {
            let price = list_price(&context, usage.sku, usage.quantity)? * i128::from(dearest);
            cumulative::prorate(price, HOUR, 100)
        };
        planned.iter().map(hour).collect()
    }
}

impl Tiers {
    fn read(config: &str) -> Result<Self, PluginError> {
        let refused = || {
            bad_config(r#"expected {"until_hours": [24, 168], "percents": [100, 80, 60]}: hours that rise, 0 to 100"#)
        };
        let (tiers, end) = serde_json_core::from_str::<Self>(config).map_err(|_| refused())?;
        let whole = config.get(end..).unwrap_or_default().trim().is_empty();
        let [first, second] = tiers.until_hours;
        let fits = first <= second && tiers.percents.iter().all(|percent| *percent <= 100);
        if whole && fits { Ok(tiers) } else { Err(refused()) }
    }

    /// Begin and end of each tier, in microseconds of a run, and its percentage.
    fn all(&self) -> [(i64, i64, u8); 3] {
        let [first, second] = self.until_hours.map(|hours| i64::from(hours) * HOUR);
        let [one, two, three] = self.percents;
        [(0, first, one), (first, second, two), (second, i64::MAX, three)]
    }
}

/// Nano-credits that `quantity` units cost for one hour by the list.
fn list_price(context: &RateContext, sku: u32, quantity: u32) -> Result<i128, PluginError> {
    let sku = context.skus.get(sku as usize).ok_or_else(|| bad_input(format!("there is no sku {sku}")))?;
    Ok(i128::from(sku.unit_price) * i128::from(quantity))
}

muster_plugin::export!(Tiered);
