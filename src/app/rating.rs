//! Rating: what intervals cost by the price that was quoted for them. Outside any transaction, because a plugin is run.
//!
//! An answer that fails, is nonsense or exceeds the quote parks the charge: the quoted rate is charged for now.

use std::collections::BTreeMap;

use super::{App, prices::ActivePrice};
use crate::{
    error::{Error, Result},
    ids::{MemberId, PriceVersionId, TeamId},
    ledger::{
        interval::{Interval, Segment},
        proof::{PARKED_LINE, Told},
        rating::{self, Charge, RatedLine},
    },
    model::price::{RateContext, Sku, UsageRecord},
    money::{Credits, NanoCredits},
    op::Op,
    time::Timestamp,
};

/// Records in one call of a plugin.
pub(crate) const BATCH: usize = 1_000;

/// What one interval of a segment costs, before the books are opened.
#[derive(Debug, Clone)]
pub(crate) struct Rated {
    pub(crate) interval: Interval,
    pub(crate) nano: NanoCredits,
    lines: Vec<RatedLine>,
    price: ActivePrice,
    told_now: Timestamp,
    input_digest: String,
    parked_because: Option<String>,
}

impl Rated {
    /// The charge for the interval; what is to be paid and by whom is not known here.
    pub(crate) fn charge(&self, segment: &Segment, now: Timestamp) -> Charge {
        Charge {
            segment: segment.id,
            k: self.interval.k,
            revision: 0,
            team: segment.team,
            member: segment.member,
            resource: segment.resource.clone(),
            instance: segment.instance,
            kind: segment.kind.clone(),
            from_at: self.interval.from,
            to_at: self.interval.to,
            quantity: segment.quantity,
            nano: self.nano,
            amount: Credits::ZERO,
            uncovered: Credits::ZERO,
            price_version: self.price.version,
            component_digest: self.price.digest.clone(),
            config_digest: self.price.config_digest.clone(),
            input_digest: self.input_digest.clone(),
            told_now: self.told_now,
            lines: self.lines.clone(),
            parked: self.parked_because.is_some(),
            parked_because: self.parked_because.clone().unwrap_or_default(),
            reason: String::new(),
            transaction: None,
            created_at: now,
        }
    }
}

/// Questions of one price.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    skus: Vec<&'a Sku>,
    members: Vec<MemberId>,
    records: Vec<UsageRecord>,
}

impl App {
    /// What the closed intervals of segments cost, at most `most` of each, in the order of the segments.
    pub(crate) async fn rate_segments(
        &self,
        op: &Op,
        team: TeamId,
        segments: &[Segment],
        most: usize,
    ) -> Result<Vec<Vec<Rated>>> {
        let mut batches: BTreeMap<PriceVersionId, Vec<(usize, Interval)>> = BTreeMap::new();
        for (place, segment) in segments.iter().enumerate() {
            let closed = segment.closed_intervals().take(most).map(|interval| (place, interval));
            batches.entry(segment.price_version).or_default().extend(closed);
        }
        let mut rated: Vec<Vec<Rated>> = vec![Vec::new(); segments.len()];
        for (version, intervals) in batches {
            if intervals.is_empty() {
                continue;
            }
            let mut read = self.db.glance().await?;
            let price = self.price_version(&mut read, version).await?;
            drop(read);
            for chunk in intervals.chunks(BATCH) {
                for (place, one) in self.rate_chunk(op, team, &price, segments, chunk).await? {
                    rated[place].push(one);
                }
            }
        }
        Ok(rated)
    }

    /// Asks for a whole chunk at once; where that fails, segment by segment, so that one that a plugin chokes on does
    /// not park the others.
    async fn rate_chunk(
        &self,
        op: &Op,
        team: TeamId,
        price: &ActivePrice,
        segments: &[Segment],
        chunk: &[(usize, Interval)],
    ) -> Result<Vec<(usize, Rated)>> {
        // One instant for the whole chunk: what the price is told is what the charges keep.
        let now = op.now();
        if let Ok(lines) = self.price_ask(team, price, now, &Batch::of(segments, chunk)).await {
            return judged(now, price, segments, chunk, Ok(lines));
        }
        let mut rated = Vec::with_capacity(chunk.len());
        for run in chunk.chunk_by(|(one, _), (other, _)| one == other) {
            let answer = self.price_ask(team, price, now, &Batch::of(segments, run)).await;
            rated.extend(judged(now, price, segments, run, answer)?);
        }
        Ok(rated)
    }

    /// What a price says of a batch, told that it is `now`.
    pub(crate) async fn price_ask(
        &self,
        team: TeamId,
        price: &ActivePrice,
        now: Timestamp,
        batch: &Batch<'_>,
    ) -> Result<Vec<Vec<RatedLine>>> {
        let context = RateContext {
            team: team.to_string(),
            config: price.config.clone(),
            now,
            skus: batch.skus.iter().map(|&sku| sku.clone()).collect(),
            members: batch.members.iter().map(ToString::to_string).collect(),
        };
        self.price_rate(price, &context, &batch.records).await
    }
}

impl<'a> Batch<'a> {
    /// The questions for intervals of `segments`, each with the place of its segment.
    pub(crate) fn of(segments: &'a [Segment], intervals: &[(usize, Interval)]) -> Self {
        let mut batch = Self::default();
        for (place, interval) in intervals {
            let segment = &segments[*place];
            let sku = index_of(&mut batch.skus, &segment.sku);
            let member = index_of(&mut batch.members, segment.member);
            batch.records.push(UsageRecord {
                sku,
                member,
                quantity: segment.quantity,
                segment_start: segment.start_at,
                from: interval.from,
                to: interval.to,
            });
        }
        batch
    }
}

/// The place of `item` in the table, which it is put into if it is not there.
fn index_of<T: PartialEq>(table: &mut Vec<T>, item: T) -> u32 {
    let place = table.iter().rposition(|known| *known == item).unwrap_or_else(|| {
        table.push(item);
        table.len() - 1
    });
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// Takes the answer, or parks what has none that can be taken.
fn judged(
    now: Timestamp,
    price: &ActivePrice,
    segments: &[Segment],
    intervals: &[(usize, Interval)],
    answer: Result<Vec<Vec<RatedLine>>>,
) -> Result<Vec<(usize, Rated)>> {
    let mut rated = Vec::with_capacity(intervals.len());
    for (nth, (place, interval)) in intervals.iter().enumerate() {
        let segment = &segments[*place];
        let lines = match &answer {
            Ok(all) => all.get(nth).cloned().ok_or_else(|| Error::internal("an answer is missing")),
            Err(error) => Err(Error::internal(error.to_string())),
        };
        rated.push((*place, judge(now, price, segment, *interval, lines, answer.as_ref().err())?));
    }
    Ok(rated)
}

fn judge(
    now: Timestamp,
    price: &ActivePrice,
    segment: &Segment,
    interval: Interval,
    lines: Result<Vec<RatedLine>>,
    failure: Option<&Error>,
) -> Result<Rated> {
    let per_hour = segment.quoted_per_hour.to_nano()?;
    let sum =
        |lines: &[RatedLine]| lines.iter().try_fold(NanoCredits::ZERO, |sum, line| sum.plus(line.nano)).ok();
    let fine = lines.ok().and_then(|lines| sum(&lines).map(|nano| (nano, lines)));
    let (nano, lines, parked_because) = match fine {
        Some((nano, lines)) if !rating::exceeds_quote(nano, per_hour, interval.to - interval.from) => {
            (nano, lines, None)
        }
        unusable => {
            let why = match (failure, unusable) {
                (Some(error), _) => error.to_string(),
                (None, Some(_)) => "the plugin charged more than it had quoted".to_owned(),
                (None, None) => "the plugin's lines sum to more than a number can hold".to_owned(),
            };
            let nano = rating::at_rate(per_hour, segment.start_at, interval.from, interval.to)?;
            (nano, vec![RatedLine { line: PARKED_LINE.to_owned(), nano }], Some(why))
        }
    };
    Ok(Rated {
        interval,
        nano,
        lines,
        price: price.clone(),
        told_now: now,
        input_digest: Told::of(segment, &interval, now).digest(),
        parked_because,
    })
}
