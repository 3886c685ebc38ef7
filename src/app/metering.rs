//! Metering: turns proven running time into charges, extends the money ahead, and drains what cannot be extended.
//!
//! Intervals are a pure function of the segment, so a pass may run twice, late, or on two servers at once: what is
//! charged is the same. A capture never fails for money; only the extension of a hold does.

use sha2::{Digest, Sha256};

use super::{App, prices::ActivePrice};
use crate::{
    error::{Error, Result},
    ids::{AccountId, SegmentId, TeamId},
    ledger::{
        account::AccountKind,
        hold::{self, Hold},
        interval::{Interval, Segment, Watermark},
        posting::{IdemKey, Posting},
        rating::{self, Charge, Tally},
    },
    model::{
        instance::{Desired, Reason},
        price::{RateContext, UsageRecord},
    },
    money::{Credits, NanoCredits},
    op::Op,
    store::{
        Outcome, Tx,
        instances::InstanceRow,
        record::{AuditRow, OutboxRow},
    },
    time::Timestamp,
};

/// Segments of one page: they are rated and captured together.
const PAGE: u32 = 200;

/// Intervals of one segment in one pass; what is left is due at once in the next.
const MOST_INTERVALS: usize = 500;

/// What one interval of a segment costs, before the books are opened.
struct Rated {
    interval: Interval,
    nano: NanoCredits,
    input_digest: String,
    parked_because: Option<String>,
}

/// A segment with its closed intervals, rated.
struct Due {
    segment: Segment,
    instance: InstanceRow,
    price: ActivePrice,
    rated: Vec<Rated>,
}

impl App {
    /// One pass over everything that is due. Gives the number of intervals charged.
    pub async fn meter(&self, op: &Op) -> Result<usize> {
        let mut charged = 0;
        let mut after: Option<SegmentId> = None;
        loop {
            let mut read = self.db.read().await?;
            let page = read.segments_due_page(after, PAGE).await?;
            drop(read);
            let Some(last) = page.last() else { return Ok(charged) };
            after = Some(last.id);
            let mut teams: std::collections::BTreeMap<TeamId, Vec<Segment>> = Default::default();
            for segment in page {
                teams.entry(segment.team).or_default().push(segment);
            }
            for (team, segments) in teams {
                match self.meter_team(op, team, segments).await {
                    Ok(count) => charged += count,
                    // One team's trouble must not stop the others' meters; the next pass tries again.
                    Err(error) => tracing::error!(%team, ?error, "metering failed"),
                }
            }
        }
    }

    /// Charges what is due of one instance.
    pub(crate) async fn meter_instance(&self, op: &Op, instance: &InstanceRow) -> Result<()> {
        let mut read = self.db.read().await?;
        let segments = read.segments_of_instance(instance.id).await?;
        drop(read);
        let due = segments.into_iter().filter(|segment| !segment.settled).collect();
        self.meter_team(op, instance.team, due).await?;
        Ok(())
    }

    async fn meter_team(&self, op: &Op, team: TeamId, segments: Vec<Segment>) -> Result<usize> {
        let mut due = Vec::with_capacity(segments.len());
        for segment in segments {
            due.push(self.rate(op, segment).await?);
        }
        let mut tx = self.db.begin().await?;
        tx.team_lock(team).await?;
        let mut charged = 0;
        let mut woken = Vec::new();
        for due in due {
            charged += self.capture(op, &mut tx, &due).await?;
            woken.extend(self.fund(op, &mut tx, &due).await?);
        }
        self.system_commit(op, tx).await?;
        metrics::counter!("muster_metering_intervals_total").increment(charged as u64);
        for host in woken {
            self.fleet.wake(host);
        }
        Ok(charged)
    }

    /// Rates the closed intervals of a segment; outside any transaction, because a plugin is run.
    async fn rate(&self, op: &Op, segment: Segment) -> Result<Due> {
        let mut read = self.db.read().await?;
        let gone = || Error::internal("a segment without its instance, product or price");
        let instance = read.instance_fetch(segment.instance).await?.ok_or_else(gone)?;
        let product = read.product_fetch(instance.product).await?.ok_or_else(gone)?;
        let price = self.price_version(&mut read, segment.price_version).await?;
        drop(read);
        let intervals: Vec<Interval> = segment.closed_intervals().take(MOST_INTERVALS).collect();
        let record = |interval: &Interval| UsageRecord {
            sku: 0,
            member: 0,
            quantity: segment.quantity,
            segment_start: segment.start_at,
            from: interval.from,
            to: interval.to,
        };
        let records: Vec<UsageRecord> = intervals.iter().map(record).collect();
        let context = RateContext {
            team: segment.team.to_string(),
            config: price.config.clone(),
            now: op.now(),
            skus: vec![super::prices::sku_with(&product, segment.unit_price)],
            members: vec![segment.member.to_string()],
        };
        let answer = self.price_rate(&price, &context, &records).await;
        let per_hour = instance.quoted_per_hour.to_nano()?;
        let mut rated = Vec::with_capacity(intervals.len());
        for (i, interval) in intervals.into_iter().enumerate() {
            let span = interval.to - interval.from;
            let (nano, parked_because) = match &answer {
                Ok(amounts) if !rating::exceeds_quote(amounts[i], per_hour, span) => (amounts[i], None),
                Ok(_) => (
                    rating::at_rate(per_hour, segment.start_at, interval.from, interval.to)?,
                    Some("the plugin charged more than it had quoted".to_owned()),
                ),
                Err(error) => (
                    rating::at_rate(per_hour, segment.start_at, interval.from, interval.to)?,
                    Some(error.to_string()),
                ),
            };
            let input_digest = digest_of(&context.skus, &records[i])?;
            rated.push(Rated { interval, nano, input_digest, parked_because });
        }
        Ok(Due { segment, instance, price, rated })
    }

    /// Writes charges and moves money from the hold, interval by interval in one posting.
    async fn capture(&self, op: &Op, tx: &mut Tx, due: &Due) -> Result<usize> {
        let segment = &due.segment;
        let Some(last) = due.rated.last() else {
            return Ok(0);
        };
        let mut tally = Tally::from_cumulative(segment.cumulative);
        let mut amounts = Vec::with_capacity(due.rated.len());
        for rated in &due.rated {
            amounts.push(tally.charge(rated.nano)?);
        }
        let from = Watermark { billed_until: segment.billed_until, next_k: segment.next_k };
        let to = Watermark { billed_until: last.interval.to, next_k: last.interval.k + 1 };
        let advanced = tx.segment_advance(segment.id, from, to, tally.cumulative()).await?;
        if !advanced {
            // Another server charged these intervals meanwhile.
            return Ok(0);
        }
        let total = amounts.iter().try_fold(Credits::ZERO, |sum, amount| sum.plus(*amount))?;
        let hold = tx.hold_open_of_instance(segment.instance).await?;
        let uncovered = match &hold {
            Some(hold) => hold.cover(total)?.uncovered,
            None => total,
        };
        let transaction = match total.is_positive() {
            true => Some(self.capture_post(op, tx, due, hold.as_ref(), total).await?),
            false => None,
        };
        let mut beyond = uncovered;
        for (rated, amount) in due.rated.iter().zip(amounts).rev() {
            // What the hold does not cover are the last seconds: they lie beyond it.
            let uncovered = beyond.min(amount);
            beyond = beyond.minus(uncovered)?;
            tx.charge_insert(&Charge {
                segment: segment.id,
                k: rated.interval.k,
                revision: 0,
                team: segment.team,
                member: segment.member,
                instance: segment.instance,
                kind: segment.kind.clone(),
                from_at: rated.interval.from,
                to_at: rated.interval.to,
                quantity: segment.quantity,
                nano: rated.nano,
                amount,
                uncovered,
                price_version: segment.price_version,
                component_digest: due.price.digest.clone(),
                config_digest: due.price.config_digest.clone(),
                input_digest: rated.input_digest.clone(),
                parked: rated.parked_because.is_some(),
                parked_because: rated.parked_because.clone().unwrap_or_default(),
                transaction,
                created_at: op.now(),
            })
            .await?;
        }
        Ok(due.rated.len())
    }

    async fn capture_post(
        &self,
        op: &Op,
        tx: &mut Tx,
        due: &Due,
        hold: Option<&Hold>,
        total: Credits,
    ) -> Result<crate::ids::TransactionId> {
        let segment = &due.segment;
        let accounts = tx.accounts_of_team(segment.team).await?;
        let of = |kind: AccountKind| -> Result<AccountId> {
            let found = accounts.iter().find(|account| account.kind == kind && account.member.is_none());
            found.map(|account| account.id).ok_or_else(|| Error::internal("a team without its accounts"))
        };
        let (revenue, receivable) = (of(AccountKind::Revenue)?, of(AccountKind::Receivable)?);
        let cover = match hold {
            Some(hold) => hold.cover(total)?,
            None => hold::Cover { covered: Credits::ZERO, uncovered: total },
        };
        let account = hold.map_or(receivable, |hold| hold.account);
        let posting = Posting::capture(account, revenue, receivable, cover)?;
        let first = due.rated.first().map_or(segment.next_k, |rated| rated.interval.k);
        let mut header = self.header(op, segment.team, IdemKey::capture(segment.id, first, 0));
        header.member = Some(segment.member);
        header.instance = Some(segment.instance);
        header.occurred_at = due.rated.last().map_or(op.now(), |rated| rated.interval.to);
        match tx.posting_apply(&header, &posting).await? {
            Outcome::Applied => {}
            // The segment has just been advanced from this very interval, so its key cannot be taken.
            Outcome::AlreadyApplied | Outcome::Refused(_) => {
                return Err(Error::internal(format!("capture {} was refused", header.idem_key)));
            }
        }
        if let Some(hold) = hold
            && !tx.hold_capture(hold.id, cover.covered).await?
        {
            return Err(Error::internal(format!("the hold {} does not cover its own rest", hold.id)));
        }
        Ok(header.id)
    }

    /// Extends the hold to a full runway; where the money does not reach, warns, and stops in time.
    async fn fund(&self, op: &Op, tx: &mut Tx, due: &Due) -> Result<Option<crate::ids::HostId>> {
        let Some(instance) = tx.instance_fetch(due.instance.id).await? else { return Ok(None) };
        if instance.desired != Desired::Running || due.segment.end_at.is_some() {
            return Ok(None);
        }
        let Some(hold) = tx.hold_open_of_instance(instance.id).await? else { return Ok(None) };
        let per_hour = instance.quoted_per_hour.to_nano()?;
        let remaining = hold.remaining()?;
        let needed = hold::extension_needed(remaining, per_hour, self.settings.runway)?;
        let granted = self.hold_extend(op, tx, &hold, needed).await?;
        let remaining = remaining.plus(granted)?;
        let billed_until =
            tx.segment_fetch(due.segment.id).await?.map_or(due.segment.billed_until, |s| s.billed_until);
        let Some(until) = hold::funded_until(billed_until, remaining, per_hour) else { return Ok(None) };
        if granted == needed {
            return self.drain_end(tx, instance).await;
        }
        self.drain(op, tx, instance, until).await
    }

    /// Adds what the account can give, up to `needed`.
    async fn hold_extend(&self, op: &Op, tx: &mut Tx, hold: &Hold, needed: Credits) -> Result<Credits> {
        let accounts = tx.accounts_of_team(hold.team).await?;
        let account = accounts.iter().find(|account| account.id == hold.account);
        let available =
            account.map(|account| account.balance.available()).transpose()?.unwrap_or(Credits::ZERO);
        let amount = needed.min(available);
        if !amount.is_positive() {
            return Ok(Credits::ZERO);
        }
        let revenue = tx.account_of_team(hold.team, AccountKind::Revenue).await?;
        let posting = Posting::hold_extend(hold.account, revenue.id, amount)?;
        let mut header = self.header(op, hold.team, IdemKey::hold_extend(hold.id, hold.extensions + 1));
        header.member = Some(hold.member);
        header.instance = Some(hold.instance);
        match tx.posting_apply(&header, &posting).await? {
            Outcome::Applied => {
                if !tx.hold_extend(hold.id, amount, hold.extensions).await? {
                    return Err(Error::internal(format!("the hold {} was extended meanwhile", hold.id)));
                }
                Ok(amount)
            }
            Outcome::AlreadyApplied | Outcome::Refused(_) => Ok(Credits::ZERO),
        }
    }

    /// Leaves a message about an instance's money for whoever listens.
    async fn notice(
        &self,
        op: &Op,
        tx: &mut Tx,
        instance: &InstanceRow,
        kind: &str,
        percent: u8,
        until: Timestamp,
    ) -> Result<()> {
        let document = serde_json::json!({
            "instance": instance.id,
            "member": instance.member,
            "percent_of_runway_left": percent,
            "funded_until": until,
        });
        let row = OutboxRow {
            id: op.id(),
            team: instance.team.to_string(),
            kind: kind.to_owned(),
            document: document.to_string(),
            created_at: op.now(),
            delivered_at: None,
        };
        tx.outbox_insert(&row).await?;
        tx.audit_insert(&AuditRow {
            id: op.id(),
            team: instance.team.to_string(),
            at: op.now(),
            actor: op.actor.name(),
            action: kind.to_owned(),
            target: instance.id.to_string(),
            outcome: "done".to_owned(),
            decision: None,
            request: op.request.to_string(),
            document: document.to_string(),
        })
        .await?;
        Ok(())
    }

    async fn drain_end(&self, tx: &mut Tx, mut instance: InstanceRow) -> Result<Option<crate::ids::HostId>> {
        if instance.draining_since.is_some() {
            instance.draining_since = None;
            instance.warned_percent = 0;
            tx.instance_save(instance).await?;
        }
        Ok(None)
    }

    async fn drain(
        &self,
        op: &Op,
        tx: &mut Tx,
        mut instance: InstanceRow,
        until: Timestamp,
    ) -> Result<Option<crate::ids::HostId>> {
        let (left, before) = (until - op.now(), instance.clone());
        instance.draining_since.get_or_insert(op.now());
        if let Some(percent) = hold::warning_due(left, self.settings.runway, instance.warned_percent) {
            instance.warned_percent = percent;
            self.notice(op, tx, &instance, "instance.draining", percent, until).await?;
        }
        let host = instance.host;
        let mut woken = None;
        if left <= self.settings.stop_latency {
            instance.desired = Desired::Stopped;
            instance.reason = Some(Reason::Credit);
            instance.reason_detail = "its money ran out; add credits and launch again".to_owned();
            self.notice(op, tx, &instance, "instance.out_of_credits", 0, until).await?;
            woken = Some(host);
        }
        if instance != before {
            tx.instance_save(instance).await?;
        }
        Ok(woken)
    }
}

fn digest_of(skus: &[crate::model::price::Sku], record: &UsageRecord) -> Result<String> {
    let text = serde_json::to_vec(&(skus, record)).map_err(Error::internal)?;
    Ok(hex::encode(Sha256::digest(text)))
}
