//! What must hold for whatever is used: tried on use by chance, and the smallest use that breaks it is told.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

use super::{
    Stand, Verdict,
    cases::{Amount, Question},
    outcome::{self, Charges},
    shrinking::smaller,
};
use crate::{
    chance::Seeded,
    model::price::{PlannedUse, RateContext, Sku, UsageRecord},
    plugins::{Error, LogLine, Plugin},
    time::{HOUR, Timestamp},
};

/// How often properties are tried when nobody says it.
pub(super) const RUNS: u32 = 100;
/// The most steps towards a smaller use.
const SHRINKS: usize = 200;
/// A quarter of an hour, in which the meter's intervals fit.
const QUARTER: i64 = HOUR / 4;
const DAY: i64 = 24 * HOUR;
/// 2026-01-01T00:00:00Z; use begins within two years of it.
const FIRST_START: i64 = 1_767_225_600_000_000;

/// What a price must have unless its author takes it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Property {
    /// Every use has a price: no trap, no limit, no negative amount, a charge for every record.
    Answers,
    /// The same question has the same answer, on another fresh instance.
    Deterministic,
    /// An interval that is cut costs what the whole costs, on every line, whenever its pieces are rated.
    SplitInvariant,
    /// A record costs the same alone and among others.
    BatchInvariant,
    /// One more unit costs at least as much, but for the rounding of a nano-credit on each line.
    Monotone,
    /// No interval costs more than was quoted.
    WithinQuote,
}

impl Property {
    /// All of them; the first is what the others stand on.
    pub(super) const ALL: [Self; 6] = [
        Self::Answers,
        Self::Deterministic,
        Self::SplitInvariant,
        Self::BatchInvariant,
        Self::Monotone,
        Self::WithinQuote,
    ];

    /// Its name in files of cases.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Deterministic => "deterministic",
            Self::SplitInvariant => "split-invariant",
            Self::BatchInvariant => "batch-invariant",
            Self::Monotone => "monotone",
            Self::WithinQuote => "within-quote",
        }
    }
}

/// A use by chance: one interval of a segment, and where it is cut. Times are microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) sku: u32,
    pub(super) quantity: u32,
    pub(super) start: i64,
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) cuts: Vec<i64>,
}

/// Tries of one plugin with one configuration.
pub(super) struct Trials<'a> {
    pub(super) stand: &'a Stand,
    pub(super) plugin: &'a Arc<Plugin>,
    pub(super) skus: Vec<Sku>,
    pub(super) config: String,
}

/// What breaks a property, and what the plugin wrote meanwhile.
struct Breach {
    what: String,
    log: Vec<LogLine>,
}

impl Trials<'_> {
    /// Tries `wanted`, each on the same sequence of uses.
    pub(super) async fn run(&self, wanted: &[Property], runs: u32, seed: u64) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for property in wanted {
            let dice = Dice(Seeded::new(seed));
            let mut found = None;
            for _ in 0..runs {
                let uses = self.uses(&dice);
                if let Some(breach) = self.breach(*property, &uses).await {
                    found = Some(self.shrunk(*property, uses, breach).await);
                    break;
                }
            }
            let name = format!("property {} ({runs} tries)", property.name());
            let (faults, log) = found.map_or_else(Default::default, |(uses, breach)| {
                let told = format!("{}\nseed {seed}, with\n{}", breach.what, self.told(&uses));
                (vec![told], breach.log)
            });
            verdicts.push(Verdict::new(&name, faults, &log));
        }
        verdicts
    }

    /// Goes on to smaller uses as long as they break the same.
    async fn shrunk(&self, property: Property, mut uses: Vec<Use>, mut breach: Breach) -> (Vec<Use>, Breach) {
        let mut left = SHRINKS;
        'smaller: while left > 0 {
            for candidate in smaller(&uses) {
                left = left.saturating_sub(1);
                if let Some(still) = self.breach(property, &candidate).await {
                    (uses, breach) = (candidate, still);
                    continue 'smaller;
                }
            }
            break;
        }
        (uses, breach)
    }

    /// One to six uses.
    fn uses(&self, dice: &Dice) -> Vec<Use> {
        let count = 1 + dice.below(6);
        (0..count).map(|_| self.one_use(dice)).collect()
    }

    fn one_use(&self, dice: &Dice) -> Use {
        let skus = i64::try_from(self.skus.len()).unwrap_or(1).max(1);
        let quantity = if dice.below(2) == 0 { 1 + dice.below(8) } else { 1 + dice.below(512) };
        let mut start = FIRST_START + dice.below(2 * 365 * DAY);
        let mut from = start + if dice.below(3) == 0 { 0 } else { dice.below(60 * DAY) };
        let length = match dice.below(4) {
            0 => 1 + dice.below(HOUR),
            1 => QUARTER * (1 + dice.below(96)),
            2 => 1 + dice.below(DAY),
            _ => 1 + dice.below(45 * DAY),
        };
        // The meter cuts by the clock on the wall, so most real intervals begin with a quarter of an hour.
        if dice.below(2) == 0 {
            (start, from) = (start / QUARTER * QUARTER, from / QUARTER * QUARTER);
        }
        let to = from + length;
        let mut cuts: Vec<i64> = (0..dice.below(5)).map(|_| from + dice.below(length)).collect();
        cuts.retain(|cut| *cut > from);
        cuts.sort_unstable();
        cuts.dedup();
        let small = |number: i64| u32::try_from(number).unwrap_or(1);
        Use { sku: small(dice.below(skus)), quantity: small(quantity), start, from, to, cuts }
    }

    /// What is wrong with the property on these uses; nothing where the plugin does not answer at all, which is a
    /// breach of [`Property::Answers`] alone.
    async fn breach(&self, property: Property, uses: &[Use]) -> Option<Breach> {
        let whole: Vec<UsageRecord> = uses.iter().map(|one| one.record(one.from, one.to)).collect();
        let (answer, log) = self.ask(&whole).await;
        let charges = match answer {
            Ok(charges) => charges,
            Err(error) => {
                let what = error.to_string();
                return (property == Property::Answers).then_some(Breach { what, log });
            }
        };
        let what = match property {
            Property::Answers => self.unquoted(uses).await,
            Property::Deterministic => self.other_answer(&whole, &charges).await,
            Property::SplitInvariant => self.split(uses, &charges).await,
            Property::BatchInvariant => self.alone(&whole, &charges).await,
            Property::Monotone => self.one_more(uses, &charges).await,
            Property::WithinQuote => self.above_quote(uses).await,
        };
        what.map(|what| Breach { what, log })
    }

    async fn unquoted(&self, uses: &[Use]) -> Option<String> {
        let question = self.question(uses);
        let quote = self.stand.plugins.quote(self.plugin, &question.context, &question.planned).await;
        quote.err().map(|error| format!("no quote: {error}"))
    }

    async fn other_answer(&self, records: &[UsageRecord], charges: &Charges) -> Option<String> {
        match self.ask(records).await.0 {
            Err(error) => Some(format!("asked again: {error}")),
            Ok(again) if again != *charges => Some("asked again, it answers something else".to_owned()),
            Ok(_) => None,
        }
    }

    async fn split(&self, uses: &[Use], charges: &Charges) -> Option<String> {
        for (one, charge) in uses.iter().zip(charges) {
            let mut ends = one.cuts.clone();
            ends.push(one.to);
            let (mut from, mut pieces) = (one.from, Vec::new());
            for end in ends {
                // Each piece is rated when it has ended, as the meter does.
                match self.ask(&[one.record(from, end)]).await.0 {
                    Ok(piece) => pieces.extend(piece),
                    Err(error) => return Some(format!("a piece has no price: {error}")),
                }
                from = end;
            }
            let sums = outcome::by_line(&pieces).unwrap_or_default();
            if sums != *charge {
                let (pieces, whole) = (outcome::shown(&sums), outcome::shown(charge));
                return Some(format!("the pieces cost {pieces}, the whole {whole}"));
            }
        }
        None
    }

    async fn alone(&self, records: &[UsageRecord], charges: &Charges) -> Option<String> {
        for (record, charge) in records.iter().zip(charges) {
            let (alone, among) = match self.ask(std::slice::from_ref(record)).await.0 {
                Ok(alone) => (outcome::by_line(&alone).unwrap_or_default(), charge),
                Err(error) => return Some(format!("alone it has no price: {error}")),
            };
            if alone != *among {
                let (alone, among) = (outcome::shown(&alone), outcome::shown(among));
                return Some(format!("alone it costs {alone}, among others {among}"));
            }
        }
        None
    }

    async fn one_more(&self, uses: &[Use], charges: &Charges) -> Option<String> {
        let more: Vec<UsageRecord> = uses
            .iter()
            .map(|one| UsageRecord { quantity: one.quantity + 1, ..one.record(one.from, one.to) })
            .collect();
        let dearer = match self.ask(&more).await.0 {
            Ok(dearer) => dearer,
            Err(error) => return Some(format!("with one more unit it has no price: {error}")),
        };
        for (one, other) in charges.iter().zip(&dearer) {
            let sum = |charge: &BTreeMap<String, Amount>| outcome::total(std::slice::from_ref(charge)).ok();
            let (Some(cost), Some(more)) = (sum(one), sum(other)) else { continue };
            // Both ends of an interval are rounded, on every line.
            let rounding = i64::try_from(one.len().max(other.len())).unwrap_or(1);
            if more.0.as_nanos() < cost.0.as_nanos() - rounding {
                return Some(format!("it costs {cost}, and {more} with one more unit"));
            }
        }
        None
    }

    async fn above_quote(&self, uses: &[Use]) -> Option<String> {
        let mut question = self.question(uses);
        question.records.clear();
        for one in uses {
            let mut from = one.from;
            for end in one.cuts.iter().chain([&one.to]) {
                question.records.push(one.record(from, *end));
                from = *end;
            }
        }
        let charges = self.ask(&question.records).await.0.ok()?;
        match outcome::above_quote(self.stand, self.plugin, &question, &charges).await {
            Ok(fault) => fault,
            Err(error) => Some(format!("no quote: {error}")),
        }
    }

    /// What records cost, rated when the last of them has ended.
    async fn ask(&self, records: &[UsageRecord]) -> (Result<Charges, Error>, Vec<LogLine>) {
        let now = records.iter().map(|record| record.to).max().unwrap_or(Timestamp::from_micros(0));
        let (answer, spent) = outcome::charges(self.stand, self.plugin, &self.context(now), records).await;
        (answer, spent.log)
    }

    fn question(&self, uses: &[Use]) -> Question {
        let planned = |one: &Use| PlannedUse {
            sku: one.sku,
            member: 0,
            quantity: one.quantity,
            start: Timestamp::from_micros(one.start),
        };
        let now = uses.iter().map(|one| one.start).max().unwrap_or_default();
        let context = self.context(Timestamp::from_micros(now));
        Question { context, records: Vec::new(), planned: uses.iter().map(planned).collect() }
    }

    fn context(&self, now: Timestamp) -> RateContext {
        RateContext {
            team: "team".to_owned(),
            config: self.config.clone(),
            now,
            skus: self.skus.clone(),
            members: vec!["somebody".to_owned()],
        }
    }

    /// Uses as a case writes them.
    fn told(&self, uses: &[Use]) -> String {
        let told = uses.iter().map(|one| {
            let name = usize::try_from(one.sku).ok().and_then(|sku| self.skus.get(sku));
            let name = name.map_or("?", |sku| sku.name.as_str());
            let time = |micros| Timestamp::from_micros(micros);
            let cuts: Vec<String> = one.cuts.iter().map(|cut| time(*cut).to_string()).collect();
            let cuts =
                if cuts.is_empty() { String::new() } else { format!("  # cut at {}", cuts.join(", ")) };
            format!(
                "  - {{ sku: {name}, quantity: {}, start: {}, from: {}, to: {} }}{cuts}",
                one.quantity,
                time(one.start),
                time(one.from),
                time(one.to)
            )
        });
        format!("use:\n{}", told.collect::<Vec<_>>().join("\n"))
    }
}

impl Use {
    fn record(&self, from: i64, to: i64) -> UsageRecord {
        UsageRecord {
            sku: self.sku,
            member: 0,
            quantity: self.quantity,
            segment_start: Timestamp::from_micros(self.start),
            from: Timestamp::from_micros(from),
            to: Timestamp::from_micros(to),
        }
    }
}

/// Chance that a seed repeats.
struct Dice(Seeded);

impl Dice {
    /// A number from 0 on below `end`.
    fn below(&self, end: i64) -> i64 {
        i64::try_from(self.0.below(end.max(1).unsigned_abs())).unwrap_or_default()
    }
}
