//! The default price: list price × quantity × time, less an optional discount for all.
//!
//! Configuration: `{}` or `{"discount_percent": 0..=100}`.

use muster_plugin::{
    Charge, NanoCredits, PlannedUse, PluginError, RateContext, RateOutput, Tariff, UsageRecord,
    cumulative::{self, bad_config, bad_input},
};

struct ListPrice;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    discount_percent: u8,
}

impl Tariff for ListPrice {
    fn rate(context: RateContext, records: Vec<UsageRecord>) -> Result<RateOutput, PluginError> {
        let kept = kept_percent(&context)?;
        let charge = |(record, usage): (u32, &UsageRecord)| {
            let per_hour = per_hour(&context, usage.sku, usage.quantity, kept)?;
            let amount = cumulative::charge(usage, |elapsed| cumulative::prorate(per_hour, elapsed, 100))?;
            Ok(Charge { record, line: 0, amount })
        };
        let charges = (0..).zip(&records).map(charge).collect::<Result<_, PluginError>>()?;
        Ok(RateOutput { lines: vec!["usage".into()], charges })
    }

    fn quote(context: RateContext, planned: Vec<PlannedUse>) -> Result<Vec<NanoCredits>, PluginError> {
        let kept = kept_percent(&context)?;
        let hour = |usage: &PlannedUse| {
            let per_hour = per_hour(&context, usage.sku, usage.quantity, kept)?;
            cumulative::prorate(per_hour, cumulative::HOUR, 100)
        };
        planned.iter().map(hour).collect()
    }
}

/// The hundredths of the list price that are paid.
fn kept_percent(context: &RateContext) -> Result<u8, PluginError> {
    let refused = || bad_config("the configuration is {} or {\"discount_percent\": 0 to 100}");
    let (config, end) = serde_json_core::from_str::<Config>(&context.config).map_err(|_| refused())?;
    let rest = context.config.get(end..).unwrap_or_default();
    if !rest.trim().is_empty() {
        return Err(refused());
    }
    100u8.checked_sub(config.discount_percent).ok_or_else(refused)
}

/// Nano-credits times 100 that `quantity` units cost for one hour.
fn per_hour(context: &RateContext, sku: u32, quantity: u32, kept: u8) -> Result<i128, PluginError> {
    let sku = context.skus.get(sku as usize).ok_or_else(|| bad_input(format!("there is no sku {sku}")))?;
    Ok(i128::from(sku.unit_price) * i128::from(quantity) * i128::from(kept))
}

muster_plugin::export!(ListPrice);
