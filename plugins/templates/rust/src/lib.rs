//! A percentage of the list price.

use muster_plugin::{
    Charge, NanoCredits, PlannedUse, PluginError, RateContext, RateOutput, Tariff, UsageRecord,
    cumulative::{self, HOUR, bad_config, bad_input},
};

struct Price;

/// The configuration. What it does not know it refuses, so that no typing error costs money.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    percent: u8,
}

impl Config {
    fn read(text: &str) -> Result<Self, PluginError> {
        let refused = || bad_config("expected {\"percent\": 0 to 100}");
        let (config, end) = serde_json_core::from_str::<Self>(text).map_err(|_| refused())?;
        let whole = text.get(end..).unwrap_or_default().trim().is_empty();
        if whole && config.percent <= 100 { Ok(config) } else { Err(refused()) }
    }

    /// Hundredths of nano-credits that `quantity` units cost for an hour.
    fn per_hour(&self, context: &RateContext, sku: u32, quantity: u32) -> Result<i128, PluginError> {
        let sku = context.skus.get(sku as usize).ok_or_else(|| bad_input("there is no such sku"))?;
        Ok(i128::from(sku.unit_price) * i128::from(quantity) * i128::from(self.percent))
    }
}

impl Tariff for Price {
    /// What use costs. Each record is an interval of a segment, and costs R(to) − R(from), where R is what the segment
    /// has cost since its start: so the intervals add up, however they are cut.
    fn rate(context: RateContext, records: Vec<UsageRecord>) -> Result<RateOutput, PluginError> {
        let config = Config::read(&context.config)?;
        let mut charges = Vec::with_capacity(records.len());
        for (record, usage) in (0..).zip(&records) {
            let per_hour = config.per_hour(&context, usage.sku, usage.quantity)?;
            let amount = cumulative::charge(usage, |elapsed| cumulative::prorate(per_hour, elapsed, 100))?;
            charges.push(Charge { record, line: 0, amount });
        }
        Ok(RateOutput { lines: vec!["usage".into()], charges })
    }

    /// What an hour will cost at most. Credits are held for it, and a charge above it is not taken.
    fn quote(context: RateContext, planned: Vec<PlannedUse>) -> Result<Vec<NanoCredits>, PluginError> {
        let config = Config::read(&context.config)?;
        let hour = |usage: &PlannedUse| {
            cumulative::prorate(config.per_hour(&context, usage.sku, usage.quantity)?, HOUR, 100)
        };
        planned.iter().map(hour).collect()
    }
}

muster_plugin::export!(Price);
