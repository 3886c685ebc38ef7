//! An example: the list price by day, a share of it at night, on two lines.
//!
//! Configuration: `{"from_hour": 22, "to_hour": 6, "percent": 60}`, hours of the day in UTC. The night may
//! span midnight. It shows that a price which depends on the time of day is still a total that grows with
//! time.

use muster_plugin::{
    Charge, NanoCredits, PlannedUse, PluginError, RateContext, RateOutput, Sku, Tariff, UsageRecord,
    cumulative::{self, HOUR, bad_config, bad_input},
};

struct NightRate;

const DAY: i64 = 24 * HOUR;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Night {
    from_hour: u8,
    to_hour: u8,
    percent: u8,
}

impl Tariff for NightRate {
    fn rate(context: RateContext, records: Vec<UsageRecord>) -> Result<RateOutput, PluginError> {
        let night = Night::read(&context.config)?;
        let mut charges = Vec::with_capacity(records.len() * 2);
        for (record, usage) in (0..).zip(&records) {
            let list = i128::from(sku(&context, usage.sku)?.unit_price) * i128::from(usage.quantity) * 100;
            let reduced = list / 100 * i128::from(night.percent);
            let start = usage.segment_start;
            let at_night = |elapsed| night.until(start + elapsed) - night.until(start);
            let day = cumulative::charge(usage, |t| cumulative::prorate(list, t - at_night(t), 100))?;
            let dark = cumulative::charge(usage, |t| cumulative::prorate(reduced, at_night(t), 100))?;
            charges.push(Charge { record, line: 0, amount: day });
            charges.push(Charge { record, line: 1, amount: dark });
        }
        Ok(RateOutput { lines: vec!["day".into(), "night".into()], charges })
    }

    /// The price by day: a hold must last for the dearer hours too.
    fn quote(context: RateContext, planned: Vec<PlannedUse>) -> Result<Vec<NanoCredits>, PluginError> {
        Night::read(&context.config)?;
        let hour = |usage: &PlannedUse| {
            let list = i128::from(sku(&context, usage.sku)?.unit_price) * i128::from(usage.quantity);
            cumulative::prorate(list, HOUR, 1)
        };
        planned.iter().map(hour).collect()
    }
}

impl Night {
    fn read(config: &str) -> Result<Self, PluginError> {
        let refused = || bad_config(r#"expected {"from_hour": 0-23, "to_hour": 0-23, "percent": 0-100}"#);
        let (night, end) = serde_json_core::from_str::<Night>(config).map_err(|_| refused())?;
        let whole = config.get(end..).unwrap_or_default().trim().is_empty();
        let fits = night.from_hour < 24 && night.to_hour < 24 && night.percent <= 100;
        if whole && fits { Ok(night) } else { Err(refused()) }
    }

    /// Microseconds of night between the epoch and `time`.
    fn until(&self, time: i64) -> i64 {
        let (from, to) = (i64::from(self.from_hour) * HOUR, i64::from(self.to_hour) * HOUR);
        let (days, today) = (time.div_euclid(DAY), time.rem_euclid(DAY));
        if from <= to {
            days * (to - from) + (today.clamp(from, to) - from)
        } else {
            let dark = DAY - from + to;
            days * dark + today.min(to) + (today.max(from) - from)
        }
    }
}

fn sku(context: &RateContext, index: u32) -> Result<&Sku, PluginError> {
    context.skus.get(index as usize).ok_or_else(|| bad_input(format!("there is no sku {index}")))
}

muster_plugin::export!(NightRate);
