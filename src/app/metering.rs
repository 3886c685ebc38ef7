//! Metering: turns proven use into charges, and hands what runs to `funding` for the money ahead.
//!
//! Intervals are a pure function of the segment, so a pass may run twice, late, or on two servers at once: what is
//! charged is the same. A capture never fails for money; only the extension of a hold does.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt, stream};

use super::{App, rating::Rated};
use crate::{
    error::{Error, Result},
    ids::{HostId, InstanceId, SegmentId, TeamId},
    ledger::{
        hold::Hold,
        interval::{Segment, Watermark},
        journal::{Journal, Payer, User, user_of},
        posting::IdemKey,
        rating::{Charge, Tally},
    },
    money::Credits,
    op::Op,
    store::{self, Advance, Concern, Dialect, Tx, instances::InstanceRow},
};

/// Segments of one page: they are rated and captured together.
const PAGE: u32 = 200;

/// Intervals of one team in one transaction; what is left is due at once in the next.
const MOST_INTERVALS: usize = 4_000;

/// Teams that are charged at the same time where the database takes more than one writer: one is rated while another
/// is written.
const TEAMS_ABREAST: usize = 4;

/// What a transaction of the meter writes besides its journal.
#[derive(Default)]
struct Billed {
    charges: Vec<Charge>,
    advances: Vec<Advance>,
}

impl App {
    /// One pass over everything that is due. Gives the number of intervals charged.
    pub async fn meter(&self, op: &Op) -> Result<usize> {
        let abreast = match self.db.dialect() {
            Dialect::Sqlite => 1,
            Dialect::Postgres => TEAMS_ABREAST,
        };
        let mut charged = 0;
        let mut after: Option<SegmentId> = None;
        loop {
            let mut read = self.db.read().await?;
            let page = read.segments_due_page(after, PAGE).await?;
            drop(read);
            let Some(last) = page.last() else { return Ok(charged) };
            after = Some(last.id);
            let mut teams: BTreeMap<TeamId, Vec<Segment>> = BTreeMap::new();
            for segment in page {
                teams.entry(segment.team).or_default().push(segment);
            }
            let metering = stream::iter(teams);
            let metering =
                metering.map(async |(team, segments)| (team, self.meter_segments(op, team, segments).await));
            let mut metered = std::pin::pin!(metering.buffer_unordered(abreast));
            while let Some((team, outcome)) = metered.next().await {
                match outcome {
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
        self.meter_segments(op, instance.team, due).await?;
        Ok(())
    }

    /// Charges what is due of segments of one team, in as many transactions as a long backlog takes.
    async fn meter_segments(&self, op: &Op, team: TeamId, mut segments: Vec<Segment>) -> Result<usize> {
        let mut charged = 0;
        while !segments.is_empty() {
            let most = (MOST_INTERVALS / segments.len()).max(1);
            let rated = self.rate_segments(op, team, &segments, most).await?;
            let captured = self.capture_segments(op, team, &segments, &rated).await?;
            charged += captured.unwrap_or(0);
            let again = |rated: &Vec<Rated>| captured.is_none() || rated.len() == most;
            let behind: Vec<SegmentId> = segments
                .iter()
                .zip(&rated)
                .filter(|(_, rated)| again(rated))
                .map(|(segment, _)| segment.id)
                .collect();
            segments = Vec::with_capacity(behind.len());
            let mut read = self.db.read().await?;
            for id in behind {
                segments.extend(read.segment_fetch(id).await?.filter(|segment| !segment.settled));
            }
        }
        Ok(charged)
    }

    /// Charges what was rated; nothing where somebody else, such as a release, has charged some of it meanwhile: the
    /// segments are to be looked at again then.
    async fn capture_segments(
        &self,
        op: &Op,
        team: TeamId,
        segments: &[Segment],
        rated: &[Vec<Rated>],
    ) -> Result<Option<usize>> {
        let mut members: Vec<_> = segments.iter().map(|segment| segment.member).collect();
        members.sort_unstable();
        members.dedup();
        let nothing_due = rated.iter().all(Vec::is_empty);
        if nothing_due && segments.iter().all(|segment| segment.account.is_some()) {
            return Ok(Some(0));
        }
        let instances: Vec<InstanceId> = segments.iter().filter_map(|segment| segment.instance).collect();
        let concern = Concern { members, instances: instances.clone(), ..Concern::default() };
        let mut tx = self.db.begin().await?;
        let mut journal = tx.journal(op, team, &concern).await?;
        let rows = tx.instances_of(&instances).await?;
        let rows: HashMap<InstanceId, InstanceRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        let mut billed = Billed::default();
        let closed = holds_closed(&mut tx, &journal, segments).await?;
        for (segment, rated) in segments.iter().zip(rated) {
            self.capture(op, &mut journal, segment, rated, &closed, &mut billed)?;
        }
        let mut woken: Vec<HostId> = Vec::new();
        for segment in segments {
            let row = segment.instance.and_then(|id| rows.get(&id));
            if let Some(row) = row.filter(|_| segment.end_at.is_none()) {
                let until = billed.advances.iter().find(|advance| advance.segment == segment.id);
                let until = until.map_or(segment.billed_until, |advance| advance.to.billed_until);
                woken.extend(self.fund(op, &mut tx, &mut journal, row, until).await?);
            }
        }
        self.budgets_tell(op, &mut tx, &mut journal).await?;
        match tx.segments_advance(&billed.advances).await {
            Err(store::Error::Moved) => return Ok(None),
            advanced => advanced?,
        }
        tx.journal_write(&journal).await?;
        tx.charges_insert(&billed.charges).await?;
        self.system_commit(op, tx).await?;
        metrics::counter!("muster_metering_intervals_total").increment(billed.charges.len() as u64);
        for host in woken {
            self.fleet.wake(host);
        }
        Ok(Some(billed.charges.len()))
    }

    /// Charges the rated intervals of a segment, in one transaction of the books for each month.
    fn capture(
        &self,
        op: &Op,
        journal: &mut Journal,
        segment: &Segment,
        rated: &[Rated],
        closed: &HashMap<InstanceId, Hold>,
        billed: &mut Billed,
    ) -> Result<()> {
        let Some(last) = rated.last() else { return Ok(()) };
        let zone = journal.team().terms.time_zone.clone();
        let month = |rated: &Rated| zone.month_at(rated.interval.from).start_at;
        let mut tally = Tally::from_cumulative(segment.cumulative);
        for rated in rated.chunk_by(|one, next| month(one) == month(next)) {
            self.capture_month(op, journal, segment, rated, &mut tally, closed, billed)?;
        }
        billed.advances.push(Advance {
            segment: segment.id,
            from: segment.watermark(),
            cumulative_before: segment.cumulative,
            to: Watermark { billed_until: last.interval.to, next_k: last.interval.k + 1 },
            cumulative: tally.cumulative(),
        });
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "what one charge is made of")]
    fn capture_month(
        &self,
        op: &Op,
        journal: &mut Journal,
        segment: &Segment,
        rated: &[Rated],
        tally: &mut Tally,
        closed: &HashMap<InstanceId, Hold>,
        billed: &mut Billed,
    ) -> Result<()> {
        let (Some(first), Some(last)) = (rated.first(), rated.last()) else { return Ok(()) };
        let mut parts = Vec::with_capacity(rated.len());
        for rated in rated {
            parts.push((rated.interval.from, tally.charge(rated.nano)?));
        }
        let total = parts.iter().try_fold(Credits::ZERO, |sum, (_, amount)| sum.plus(*amount))?;
        let (payer, user) = self.payer(op, journal, segment, closed, total)?;
        let mut header = self.header(op, segment.team, IdemKey::capture(segment.id, first.interval.k, 0));
        (header.member, header.instance) = (Some(segment.member), segment.instance);
        header.occurred_at = last.interval.from;
        let transaction = total.is_positive().then_some(header.id);
        let cover = journal.capture(header, payer, user, &parts)?;
        let mut beyond = cover.uncovered;
        for (rated, (_, amount)) in rated.iter().zip(parts).rev() {
            // What nobody pays are the last seconds.
            let uncovered = beyond.min(amount);
            beyond = beyond.minus(uncovered)?;
            let charge = rated.charge(segment, op.now());
            billed.charges.push(Charge { amount, uncovered, transaction, ..charge });
        }
        Ok(())
    }

    /// Who pays for a segment: the open hold of its instance, first extended by what a long backlog costs beyond it, as
    /// far as the account can give that; else its account, or that of the hold which was given back.
    fn payer(
        &self,
        op: &Op,
        journal: &mut Journal,
        segment: &Segment,
        closed: &HashMap<InstanceId, Hold>,
        total: Credits,
    ) -> Result<(Payer, User)> {
        if let Some(account) = segment.account {
            return Ok((Payer::Account(account), User { member: segment.member, api_key: None }));
        }
        let Some(hold) = segment.instance.and_then(|instance| journal.hold_of(instance)).cloned() else {
            let paid_from = segment.instance.and_then(|instance| closed.get(&instance));
            let hold = paid_from.ok_or_else(|| Error::internal("a segment that nobody ever paid for"))?;
            return Ok((Payer::Account(hold.account), user_of(hold)));
        };
        let short = hold.cover(total)?.uncovered;
        let more = journal.hold_extendable(hold.id, short, op.now())?;
        if more.is_positive() {
            self.hold_extend(op, journal, &hold, more)?;
        }
        Ok((Payer::Hold(hold.id), user_of(&hold)))
    }
}

/// The last holds of instances whose holds were all given back: their accounts pay what is charged late.
async fn holds_closed(
    tx: &mut Tx,
    journal: &Journal,
    segments: &[Segment],
) -> Result<HashMap<InstanceId, Hold>> {
    let mut closed = HashMap::new();
    for segment in segments.iter().filter(|segment| segment.account.is_none()) {
        if let Some(instance) = segment.instance
            && journal.hold_of(instance).is_none()
            && let Some(hold) = tx.hold_last_of_instance(instance).await?
        {
            closed.insert(instance, hold);
        }
    }
    Ok(closed)
}
