//! An example: the first gibibytes of every drive, stopped disk and snapshot are free; instances cost the list price.
//!
//! Configuration: `{"included_gib": 50}`. A unit of storage is a mebibyte.

use muster_plugin::{
    Charge, NanoCredits, PlannedUse, PluginError, RateContext, RateOutput, Tariff, UsageRecord,
    cumulative::{self, HOUR, bad_config, bad_input},
};

struct StorageIncluded;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    included_gib: u16,
}

impl Tariff for StorageIncluded {
    fn rate(context: RateContext, records: Vec<UsageRecord>) -> Result<RateOutput, PluginError> {
        let config = Config::read(&context.config)?;
        let mut charges = Vec::with_capacity(records.len());
        for (record, usage) in (0..).zip(&records) {
            let (line, price) = config.per_hour(&context, usage.sku, usage.quantity)?;
            let amount = cumulative::charge(usage, |elapsed| cumulative::prorate(price, elapsed, 1))?;
            charges.push(Charge { record, line, amount });
        }
        Ok(RateOutput { lines: vec!["usage".into(), "storage".into()], charges })
    }

    fn quote(context: RateContext, planned: Vec<PlannedUse>) -> Result<Vec<NanoCredits>, PluginError> {
        let config = Config::read(&context.config)?;
        let hour = |usage: &PlannedUse| {
            let (_, price) = config.per_hour(&context, usage.sku, usage.quantity)?;
            cumulative::prorate(price, HOUR, 1)
        };
        planned.iter().map(hour).collect()
    }
}

impl Config {
    fn read(text: &str) -> Result<Self, PluginError> {
        let refused = || bad_config(r#"expected {"included_gib": 0 to 65535}"#);
        let (config, end) = serde_json_core::from_str::<Self>(text).map_err(|_| refused())?;
        let whole = text.get(end..).unwrap_or_default().trim().is_empty();
        if whole { Ok(config) } else { Err(refused()) }
    }

    /// The line that use comes under, and nano-credits of an hour.
    fn per_hour(&self, context: &RateContext, sku: u32, quantity: u32) -> Result<(u32, i128), PluginError> {
        let sku = context.skus.get(sku as usize).ok_or_else(|| bad_input(format!("there is no sku {sku}")))?;
        let (line, paid) = match sku.kind.as_str() {
            "instance" => (0, quantity),
            _ => (1, quantity.saturating_sub(u32::from(self.included_gib) * 1_024)),
        };
        Ok((line, i128::from(sku.unit_price) * i128::from(paid)))
    }
}

muster_plugin::export!(StorageIncluded);
