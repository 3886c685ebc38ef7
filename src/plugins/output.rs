//! What a plugin answers is hostile until it was looked at here.

use super::{error::Error, limits::Limits, v1};
use crate::{
    model::price::{ChargeLine, Quote},
    money::NanoCredits,
};

/// Amounts are below this, so that languages whose numbers are doubles handle them exactly.
const AMOUNT_END: i64 = 1 << 53;
/// The most line keys of one answer.
const LINES: usize = 64;
/// The most bytes of a key or a code, and of an error's message.
const KEY_BYTES: usize = 64;
const MESSAGE_BYTES: usize = 1_024;

/// The charges of a batch of `records` records whose first is number `first` of the whole list.
pub(crate) fn charges(
    output: v1::RateOutput,
    records: usize,
    first: usize,
    limits: &Limits,
) -> Result<Vec<ChargeLine>, Error> {
    let refused = |what: String| Error::BadOutput(what);
    if output.lines.len() > LINES {
        return Err(refused(format!("{} lines, at most {LINES} are possible", output.lines.len())));
    }
    if let Some(key) = output.lines.iter().find(|key| !is_key(key)) {
        return Err(refused(format!(
            "the line {} is not of the form [a-z0-9-]{{1,64}}",
            shown(key, KEY_BYTES)
        )));
    }
    let mut taken = vec![0u64; records];
    let mut counts = vec![0usize; records];
    let mut charges = Vec::with_capacity(output.charges.len());
    let mut total = 0i64;
    for charge in &output.charges {
        let record = charge.record as usize;
        let (Some(taken), Some(count)) = (taken.get_mut(record), counts.get_mut(record)) else {
            return Err(refused(format!("a charge for record {record} of {records}")));
        };
        let line = output.lines.get(charge.line as usize);
        let line = line.ok_or_else(|| {
            refused(format!("a charge under line {} of {}", charge.line, output.lines.len()))
        })?;
        let bit = 1u64 << charge.line;
        if *taken & bit != 0 {
            return Err(refused(format!("two charges for record {record} under the line {line}")));
        }
        *taken |= bit;
        *count += 1;
        if *count > limits.charges_per_record {
            let most = limits.charges_per_record;
            return Err(refused(format!(
                "more than {most} charges for record {record} (plugins.charges_per_record)"
            )));
        }
        let amount = amount(charge.amount)?;
        total = total.checked_add(charge.amount).ok_or_else(overflow)?;
        let record = u32::try_from(first + record).map_err(|_| overflow())?;
        charges.push(ChargeLine { record, line: line.clone(), amount });
    }
    match counts.iter().position(|count| *count == 0) {
        Some(record) => Err(refused(format!("no charge for record {record}"))),
        None => Ok(charges),
    }
}

/// The sum of one amount for each of `planned` uses.
pub(crate) fn quote(amounts: &[i64], planned: usize) -> Result<Quote, Error> {
    if amounts.len() != planned {
        return Err(Error::BadOutput(format!("{} amounts for {planned} planned uses", amounts.len())));
    }
    let mut per_hour = NanoCredits::ZERO;
    for nanos in amounts {
        per_hour = per_hour.plus(amount(*nanos)?).map_err(|_| overflow())?;
    }
    Ok(Quote { per_hour })
}

/// What the plugin says about itself, cut to its limits and without control characters.
pub(crate) fn plugin_error(error: &v1::PluginError) -> Error {
    let code = if is_key(&error.code) { error.code.clone() } else { "unreadable-code".to_owned() };
    Error::Plugin { code, message: shown(&error.message, MESSAGE_BYTES) }
}

fn amount(nanos: i64) -> Result<NanoCredits, Error> {
    match nanos {
        0..AMOUNT_END => Ok(NanoCredits::from_nanos(nanos)),
        _ => Err(Error::BadOutput(format!("an amount of {nanos} nano-credits; 0 to 2^53 are possible"))),
    }
}

fn overflow() -> Error {
    Error::BadOutput("the amounts add up to more than a 64-bit number of nano-credits".into())
}

fn is_key(text: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=KEY_BYTES).contains(&text.len()) && text.bytes().all(fine)
}

fn shown(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most.min(text.len()));
    text.get(..end).unwrap_or_default().escape_debug().to_string()
}
