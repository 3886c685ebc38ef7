//! Replays of prices: what a team's past use would have cost by another price. Nothing is posted.
//!
//! The candidate is asked about the very intervals that were charged, told what the price then was told. It prices what
//! it would price if it were the team's: its product, or all that the team has no price of its own for. What was found
//! to be unused stays free. Rounded by segment on both sides, so that the same price makes no difference at all.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{
    App,
    charges::is_unused,
    gate::Outcome,
    prices::{ActivePrice, NewPrice, config_checked, version_of},
    rating::{BATCH, Batch},
};
use crate::{
    error::{Error, Findings, Result},
    ids::{InstanceId, MemberId, PluginId, PriceReplayId, PriceVersionId, ProductId, SegmentId, TeamId},
    ledger::interval::{Interval, Segment},
    model::{
        action::Action,
        page::{Items, Page},
    },
    money::{Credits, NanoCredits},
    op::Op,
    policy::{Facts, PriceChange, PriceEvidence, Resource},
    store::{ChargeSpan, ChargedInterval, Conn, PriceReplay, PriceVersion},
    time::{Span, Timestamp},
};

/// The most intervals that one replay rates: what takes some seconds.
const MOST_INTERVALS: u64 = 1_000_000;
/// Segments that are read at once, and intervals of one of them.
const PAGE: u32 = 200;
const INTERVALS_PAGE: u32 = 10_000;
/// The changes that are told one by one.
const LARGEST: usize = 10;

/// A price to be tried on a past span.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPriceReplay {
    /// The plugin: one of the team's, or one of the site's.
    pub plugin: PluginId,
    /// The configuration that the plugin is given with every call, at most 64 kB.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// The only product that it would price, by id or name; absent: every product that has no price of its own.
    pub product: Option<String>,
    /// The beginning of the span: intervals that end after it.
    pub from: Timestamp,
    /// The end of the span: intervals that begin before it.
    pub to: Timestamp,
}

/// What a past span would have cost by another price.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PriceReplayView {
    /// Its id.
    pub id: PriceReplayId,
    /// Digest of the component.
    pub digest: String,
    /// Digest of the configuration.
    pub config_digest: String,
    /// The only product that the price is for; `null`: all that have no price of their own.
    pub product: Option<ProductId>,
    /// The beginning of the span.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// What would change.
    #[serde(flatten)]
    pub report: PriceReport,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// What another price changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PriceReport {
    /// Intervals that were rated again.
    pub intervals: u64,
    /// Segments that they belong to.
    pub segments: usize,
    /// What they cost.
    pub before: Credits,
    /// What they would have cost.
    pub after: Credits,
    /// The difference: dearer when above zero.
    pub difference: Credits,
    /// The difference in percent of what they cost, rounded up; `null` where they cost nothing and would not be free.
    pub increase_percent: Option<i64>,
    /// The same by member, the greatest difference first.
    pub members: Vec<MemberChange>,
    /// The same by product, or by kind of storage, the greatest difference first.
    pub products: Vec<ProductChange>,
    /// The segments with the greatest differences, at most 10.
    pub largest: Vec<SegmentChange>,
    /// Intervals that the price has no usable answer for; they are in none of the sums.
    pub failed: u64,
    /// Why, for the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_because: Option<String>,
}

/// What changes for one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MemberChange {
    /// The member.
    pub member: MemberId,
    /// Their account.
    pub account: String,
    /// What they were charged.
    pub before: Credits,
    /// What they would have been charged.
    pub after: Credits,
}

/// What changes for one product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProductChange {
    /// The product's name; for storage, the region.
    pub product: String,
    /// What is metered.
    pub kind: String,
    /// What it cost.
    pub before: Credits,
    /// What it would have cost.
    pub after: Credits,
}

/// What changes for one segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SegmentChange {
    /// The segment.
    pub segment: SegmentId,
    /// The instance, where it is of one.
    pub instance: Option<InstanceId>,
    /// Whose it is.
    pub member: MemberId,
    /// The product's name; for storage, the region.
    pub product: String,
    /// Intervals of it.
    pub intervals: u64,
    /// What they cost.
    pub before: Credits,
    /// What they would have cost.
    pub after: Credits,
    /// The lines that they would have cost.
    pub lines: BTreeMap<String, NanoCredits>,
}

/// What became of a segment's intervals so far.
#[derive(Default)]
struct Tally {
    before: NanoCredits,
    after: NanoCredits,
    intervals: u64,
    lines: BTreeMap<String, NanoCredits>,
}

/// A replay on its way.
struct Run<'a> {
    app: &'a App,
    team: TeamId,
    price: &'a ActivePrice,
    segments: Vec<Segment>,
    tallies: Vec<Tally>,
    /// Intervals that wait to be asked for, each with the place of its segment.
    waiting: Vec<(usize, ChargedInterval)>,
    intervals: u64,
    failed: u64,
    failed_because: Option<String>,
}

impl App {
    /// Rates a past span by another price, and keeps the report as evidence.
    ///
    /// # Errors
    /// A finding when the span is empty, not past or too long.
    pub async fn price_replay(&self, op: &Op, team: &str, new: NewPriceReplay) -> Result<PriceReplayView> {
        self.unless_answered(op).await?;
        let mut findings = Findings::new();
        findings.check(new.from < new.to, "/to", "a time after `from`");
        findings.done()?;
        let span = (new.from, new.to);
        let NewPriceReplay { plugin, config, product, .. } = new;
        let new = NewPrice { plugin, config, product, effective_at: None };
        let config = config_checked(op, &new)?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let (team, resource) = (scope.team.id, Resource::team(scope.team.id));
        let action = Action::ReplayPrice;
        self.look(op, &scope.asker, action, resource.clone(), Facts::default()).await?;
        let plugin = read.plugin_fetch(new.plugin).await?;
        let plugin = plugin.filter(|row| row.team.is_none_or(|owner| owner == team));
        let plugin = plugin.ok_or_else(|| Error::field("/plugin", "there is no such plugin of this team"))?;
        let version = version_of(op, &mut read, Some(team), plugin, config, &new).await?;
        drop(read);
        let _turn = self.planning.acquire().await.map_err(Error::internal)?;
        let report = self.price_report(&version, team, span).await?;
        let row = PriceReplay {
            id: op.id(),
            team,
            digest: version.digest,
            config_digest: version.config_digest,
            product: version.product,
            from_at: span.0,
            to_at: span.1,
            document: serde_json::to_string(&report).map_err(Error::internal)?,
            created_by: op.actor.name(),
            created_at: op.now(),
        };
        let mut tx = self.begin(op).await?;
        // Rating takes seconds, in which the caller may have lost the leave to replay.
        let scope = self.enter(op, &mut tx, &team.to_string()).await?;
        let (mut tx, permit) = self.permit(op, tx, &scope.asker, action, resource, Facts::default()).await?;
        tx.price_replay_insert(&row).await?;
        let view = PriceReplayView::of(row)?;
        let outcome = Outcome {
            team: team.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({
                "digest": view.digest, "config_digest": view.config_digest, "product": view.product,
                "from": view.from, "to": view.to, "intervals": view.report.intervals,
                "difference": view.report.difference,
            }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// The replays of a team, the newest first.
    pub async fn price_replays_page(
        &self,
        op: &Op,
        team: &str,
        page: &Page,
    ) -> Result<Items<PriceReplayView>> {
        let (limit, before) = (page.limit()?, page.place()?);
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ListPriceReplays, resource, Facts::default()).await?;
        let rows = read.price_replays_page(scope.team.id, before, limit + 1).await?;
        let Items { items, next_cursor } = Items::cut(rows, limit, |row| row.id.to_string());
        let items = items.into_iter().map(PriceReplayView::of).collect::<Result<_>>()?;
        Ok(Items { items, next_cursor })
    }

    /// What rules about the activation of a price may look at: the notice that it gives, and the latest replay of it.
    pub(super) async fn price_change(
        &self,
        op: &Op,
        conn: &mut Conn,
        team: TeamId,
        version: &PriceVersion,
    ) -> Result<PriceChange> {
        let latest = conn
            .price_replay_latest(team, &version.digest, &version.config_digest, version.product)
            .await?
            .map(PriceReplayView::of)
            .transpose()?;
        let replay = latest.map(|view| PriceEvidence {
            increase_percent: view.report.increase_percent.unwrap_or(i64::MAX),
            intervals: i64::try_from(view.report.intervals).unwrap_or(i64::MAX),
            failed: i64::try_from(view.report.failed).unwrap_or(i64::MAX),
            span_hours: hours(view.to - view.from),
            age_hours: hours(op.now() - view.created_at),
        });
        Ok(PriceChange { notice_hours: hours(version.effective_at - op.now()), replay })
    }

    async fn price_report(
        &self,
        version: &PriceVersion,
        team: TeamId,
        span: (Timestamp, Timestamp),
    ) -> Result<PriceReport> {
        let only = match version.product {
            None => None,
            Some(product) => {
                self.db.glance().await?.product_fetch(product).await?.map(|product| product.name)
            }
        };
        let price = ActivePrice::from(version.clone());
        let mut versions: HashMap<PriceVersionId, bool> = HashMap::new();
        let mut run = Run::new(self, team, &price);
        let mut after = None;
        loop {
            let page = self.db.glance().await?.segments_charged(team, span, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for segment in page {
                let concerned = match &only {
                    Some(name) => segment.kind == "instance" && segment.sku.name == *name,
                    None => {
                        let known = versions.get(&segment.price_version).copied();
                        let own = match known {
                            Some(own) => own,
                            None => self.price_is_own(segment.price_version).await?,
                        };
                        versions.insert(segment.price_version, own);
                        !own
                    }
                };
                if concerned {
                    run.segment(segment, span).await?;
                }
            }
        }
        run.ask().await?;
        let mut read = self.db.glance().await?;
        let members = read.member_accounts(team).await?;
        run.report(&members)
    }

    /// Whether a price is the team's own for one product, so that one for all would not take its place.
    async fn price_is_own(&self, version: PriceVersionId) -> Result<bool> {
        let version = self.db.glance().await?.price_version_fetch(version).await?;
        Ok(version.is_some_and(|version| version.team.is_some() && version.product.is_some()))
    }
}

impl<'a> Run<'a> {
    fn new(app: &'a App, team: TeamId, price: &'a ActivePrice) -> Self {
        let (segments, tallies, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Self { app, team, price, segments, tallies, waiting, intervals: 0, failed: 0, failed_because: None }
    }

    /// Takes what was charged of a segment, and asks as soon as there is a batch.
    async fn segment(&mut self, segment: Segment, span: (Timestamp, Timestamp)) -> Result<()> {
        let (place, id) = (self.segments.len(), segment.id);
        self.segments.push(segment);
        self.tallies.push(Tally::default());
        let mut from_k = 0;
        loop {
            let mut read = self.app.db.glance().await?;
            let charged = read.intervals_charged(id, from_k, span, INTERVALS_PAGE).await?;
            drop(read);
            let Some(last) = charged.last() else { return Ok(()) };
            from_k = last.interval.k + 1;
            self.intervals += charged.len() as u64;
            if self.intervals > MOST_INTERVALS {
                let most = format!("at most {MOST_INTERVALS} intervals at once; give a shorter span");
                return Err(Error::field("/to", most));
            }
            for one in charged {
                if one.revision > 0 && self.unused(place, one.interval.k).await? {
                    self.tallies[place].intervals += 1;
                    continue;
                }
                self.waiting.push((place, one));
                if self.waiting.len() == BATCH {
                    self.ask().await?;
                }
            }
        }
    }

    async fn unused(&self, place: usize, k: u64) -> Result<bool> {
        let segment = &self.segments[place];
        let mut read = self.app.db.glance().await?;
        let latest = read.charges_latest(segment.id, ChargeSpan::from_k(k), 1).await?;
        Ok(latest.first().is_some_and(|charge| charge.k == k && is_unused(segment, charge)))
    }

    /// Asks for all that waits at once; where that fails, segment by segment, so that one that a price chokes on does
    /// not hide the others.
    async fn ask(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() || self.ask_for(&waiting).await?.is_ok() {
            return Ok(());
        }
        for run in waiting.chunk_by(|(one, _), (other, _)| one == other) {
            if let Err(why) = self.ask_for(run).await? {
                self.failed += run.len() as u64;
                self.failed_because.get_or_insert(why);
            }
        }
        Ok(())
    }

    async fn ask_for(
        &mut self,
        asked: &[(usize, ChargedInterval)],
    ) -> Result<std::result::Result<(), String>> {
        let now = asked.iter().map(|(_, one)| one.told_now).max().unwrap_or(Timestamp::from_micros(0));
        let intervals: Vec<(usize, Interval)> =
            asked.iter().map(|(place, one)| (*place, one.interval)).collect();
        let batch = Batch::of(&self.segments, &intervals);
        let answer = match self.app.price_ask(self.team, self.price, now, &batch).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error.to_string())),
        };
        for ((place, one), lines) in asked.iter().zip(answer) {
            let tally = &mut self.tallies[*place];
            tally.before = tally.before.plus(one.nano)?;
            tally.intervals += 1;
            for line in lines {
                tally.after = tally.after.plus(line.nano)?;
                let sum = tally.lines.entry(line.line).or_insert(NanoCredits::ZERO);
                *sum = sum.plus(line.nano)?;
            }
        }
        Ok(Ok(()))
    }

    fn report(self, accounts: &BTreeMap<MemberId, String>) -> Result<PriceReport> {
        let (mut before, mut after) = (Credits::ZERO, Credits::ZERO);
        let mut members: BTreeMap<MemberId, (Credits, Credits)> = BTreeMap::new();
        let mut products: BTreeMap<(String, String), (Credits, Credits)> = BTreeMap::new();
        let mut largest = Vec::new();
        let (mut segments, mut intervals) = (0, 0);
        for (segment, tally) in self.segments.into_iter().zip(self.tallies) {
            if tally.intervals == 0 {
                continue;
            }
            (segments, intervals) = (segments + 1, intervals + tally.intervals);
            let (was, is) = (tally.before.round(), tally.after.round());
            (before, after) = (before.plus(was)?, after.plus(is)?);
            let product = if segment.kind == "instance" { segment.sku.name } else { segment.sku.region };
            let of_member = members.entry(segment.member).or_default();
            *of_member = (of_member.0.plus(was)?, of_member.1.plus(is)?);
            let of_product = products.entry((product.clone(), segment.kind)).or_default();
            *of_product = (of_product.0.plus(was)?, of_product.1.plus(is)?);
            largest.push(SegmentChange {
                segment: segment.id,
                instance: segment.instance,
                member: segment.member,
                product,
                intervals: tally.intervals,
                before: was,
                after: is,
                lines: tally.lines,
            });
            largest.sort_by_key(|one| std::cmp::Reverse(apart(one.before, one.after)));
            largest.truncate(LARGEST);
        }
        let mut members: Vec<MemberChange> = members
            .into_iter()
            .map(|(member, (before, after))| {
                let account = accounts.get(&member).cloned().unwrap_or_default();
                MemberChange { member, account, before, after }
            })
            .collect();
        members.sort_by_key(|one| std::cmp::Reverse(apart(one.before, one.after)));
        let mut products: Vec<ProductChange> = products
            .into_iter()
            .map(|((product, kind), (before, after))| ProductChange { product, kind, before, after })
            .collect();
        products.sort_by_key(|one| std::cmp::Reverse(apart(one.before, one.after)));
        largest.retain(|one| one.before != one.after);
        Ok(PriceReport {
            intervals,
            segments,
            before,
            after,
            difference: after.minus(before)?,
            increase_percent: increase_percent(before, after),
            members,
            products,
            largest,
            failed: self.failed,
            failed_because: self.failed_because,
        })
    }
}

impl PriceReplayView {
    fn of(row: PriceReplay) -> Result<Self> {
        Ok(Self {
            report: serde_json::from_str(&row.document).map_err(Error::internal)?,
            id: row.id,
            digest: row.digest,
            config_digest: row.config_digest,
            product: row.product,
            from: row.from_at,
            to: row.to_at,
            created_by: row.created_by,
            created_at: row.created_at,
        })
    }
}

/// How far two amounts are apart, in micro-credits.
fn apart(one: Credits, other: Credits) -> u64 {
    one.as_micros().abs_diff(other.as_micros())
}

/// By how many percent of `before` it is dearer, rounded up.
fn increase_percent(before: Credits, after: Credits) -> Option<i64> {
    let (before, after) = (i128::from(before.as_micros()), i128::from(after.as_micros()));
    match (before, after) {
        (0, 0) => Some(0),
        (0, _) => None,
        _ => {
            let hundredfold = (after - before) * 100;
            let up = i128::from(hundredfold.rem_euclid(before) > 0);
            i64::try_from(hundredfold.div_euclid(before) + up).ok()
        }
    }
}

/// Whole hours of a span.
fn hours(span: Span) -> i64 {
    span.as_micros().div_euclid(crate::time::HOUR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_increase_is_rounded_up_and_a_decrease_towards_none() {
        let percent =
            |before, after| increase_percent(Credits::from_micros(before), Credits::from_micros(after));
        assert_eq!(percent(100, 110), Some(10));
        assert_eq!(percent(1_000, 1_001), Some(1));
        assert_eq!(percent(1_000, 999), Some(0));
        assert_eq!(percent(1_000, 500), Some(-50));
        assert_eq!(percent(0, 0), Some(0));
        assert_eq!(percent(0, 1), None);
    }
}
