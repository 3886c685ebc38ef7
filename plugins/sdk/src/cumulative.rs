//! Prices as functions of time: an interval costs `R(to) − R(from)`, so the intervals of a segment add up
//! exactly to the price of the whole, however it is cut.

use crate::{PluginError, UsageRecord};

/// Microseconds in one hour.
pub const HOUR: i64 = 3_600_000_000;

/// What `record` costs, given the total cost of its segment as a function of the microseconds since it began.
///
/// # Errors
/// `bad-input` when the record's times are out of order, and whatever `total` refuses.
pub fn charge(
    record: &UsageRecord,
    total: impl Fn(i64) -> Result<i64, PluginError>,
) -> Result<i64, PluginError> {
    let since = |time: i64| time.checked_sub(record.segment_start).filter(|elapsed| *elapsed >= 0);
    match (since(record.from), since(record.to)) {
        (Some(from), Some(to)) if from < to => Ok(total(to)? - total(from)?),
        _ => Err(bad_input("a record's times are not in the order segment-start, from, to")),
    }
}

/// `per_hour × elapsed ÷ (one hour × scale)`, a half to the even neighbour; exact in between.
///
/// `per_hour` is in nano-credits times `scale`, `elapsed` in microseconds; a scale of 100 lets a percentage
/// in without a rounding of its own.
///
/// # Errors
/// `bad-input` when a number is negative, the scale is 0, or the amount is 2^53 nano-credits or more.
pub fn prorate(per_hour: i128, elapsed: i64, scale: u32) -> Result<i64, PluginError> {
    let refused = || bad_input("the amount is not below 2^53 nano-credits");
    let product = u128::try_from(per_hour)
        .ok()
        .zip(u128::try_from(elapsed).ok())
        .and_then(|(price, time)| price.checked_mul(time))
        .ok_or_else(refused)?;
    let unit = u128::from(scale) * HOUR.unsigned_abs() as u128;
    if unit == 0 {
        return Err(refused());
    }
    let whole = product / unit;
    // One division of 128 bits is most of the work; a remainder would be another.
    let rest = product - whole * unit;
    let up = rest * 2 > unit || (rest * 2 == unit && whole % 2 == 1);
    i64::try_from(whole + u128::from(up)).ok().filter(|amount| *amount < 1 << 53).ok_or_else(refused)
}

/// An error about the records or the context.
pub fn bad_input(message: impl Into<String>) -> PluginError {
    PluginError { code: "bad-input".into(), message: message.into() }
}

/// An error about the configuration: say which key is wrong and what would be right.
pub fn bad_config(message: impl Into<String>) -> PluginError {
    PluginError { code: "bad-config".into(), message: message.into() }
}
