//! Rating again: what a price gave no usable answer for, by itself; what was priced wrongly, by hand; and what turned
//! out not to have been used, by the operator.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{
    App,
    charges::{is_unused, told_of},
    gate::{Outcome, team_named},
    prices::ActivePrice,
    rating::{BATCH, Batch},
    revisions::{Anew, Draft, segment_of},
};
use crate::{
    digest::Digest,
    error::{Error, Findings, Result},
    ids::{PriceVersionId, SegmentId, TeamId, TransactionId},
    ledger::{
        interval::{Interval, Segment},
        rating::{self, Charge, ChargeId},
    },
    model::action::Action,
    money::{Credits, NanoCredits},
    op::Op,
    policy::{Facts, Resource},
    store::{ChargeSpan, Conn, Tx},
    time::{Span, Timestamp},
};

/// The most intervals that one request revises: a month of minutes and some.
const MOST_INTERVALS: u32 = 50_000;

/// Parked intervals of one segment that are tried in one pass.
const PARKED_INTERVALS: u32 = 4_000;

/// Segments with parked charges that are read at once.
const PAGE: u32 = 200;

/// A plugin that fails this often in a row is left alone until the next try.
const FAILURES: u32 = 3;

/// How long to wait before parked charges of a segment are tried again: at first, and at the most.
const WAIT_FIRST: Span = Span::from_seconds(30);
const WAIT_MOST: Span = Span::from_seconds(3_600);

/// Why a charge has a new revision, when a price that had failed answers.
const UNPARKED: &str = "the price answers now";

/// Charges to rate again.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReRate {
    /// The segment, as the lines of a bill name it.
    pub segment: SegmentId,
    /// Only intervals that end after this; absent: from the first.
    pub from: Option<Timestamp>,
    /// Only intervals that begin before this; absent: to the last that was charged.
    pub to: Option<Timestamp>,
    /// The price version to rate by, one of the team's or of the site's; absent: the one that each was charged by.
    pub price_version: Option<PriceVersionId>,
    /// Why, 1 to 500 characters; kept in the books.
    pub reason: String,
    /// Whether only to tell what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// A span in which nothing was used, though it was charged.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CorrectCharges {
    /// The segment, as the lines of a bill name it.
    pub segment: SegmentId,
    /// When the use ceased.
    pub from: Timestamp,
    /// When it went on. Every interval that lies in the span, were it only in part, costs nothing.
    pub to: Timestamp,
    /// Why, 1 to 500 characters; kept in the books.
    pub reason: String,
    /// Whether only to tell what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a revision of charges changed, or would change.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Revised {
    /// The segment.
    pub segment: SegmentId,
    /// The number of the revision.
    pub revision: u32,
    /// The first charge of the revision.
    pub first: ChargeId,
    /// The last charge of the revision.
    pub last: ChargeId,
    /// Intervals that cost what they cost for another reason now.
    pub intervals: usize,
    /// Further intervals that rounding moves by a micro-credit.
    pub rounded: usize,
    /// What the intervals had cost, in nano-credits.
    pub nano_before: NanoCredits,
    /// What they cost now, in nano-credits.
    pub nano_after: NanoCredits,
    /// What changes for the team: charged when above zero, given back when below.
    pub difference: Credits,
    /// Digest of what the price was told before; of several intervals, the digest of their digests line by line.
    pub input_digest_before: String,
    /// Digest of what it is told now.
    pub input_digest_after: String,
    /// The transactions that moved the difference, one for each month.
    pub transactions: Vec<TransactionId>,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// When parked charges are tried again. Forgotten with a restart, which costs one more try.
#[derive(Debug, Default)]
pub(crate) struct Retries(Mutex<BTreeMap<SegmentId, Retry>>);

#[derive(Debug, Clone, Copy)]
struct Retry {
    next_at: Timestamp,
    wait: Span,
}

impl Retries {
    /// Whether a segment is due; one that is due waits twice as long for the next time. A new one waits first, as its
    /// price has just failed.
    fn is_due(&self, segment: SegmentId, now: Timestamp) -> bool {
        let mut retries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let retry = retries.entry(segment).or_insert(Retry { next_at: now + WAIT_FIRST, wait: WAIT_FIRST });
        let due = retry.next_at <= now;
        if due {
            let wait = Span::from_micros(retry.wait.as_micros().saturating_mul(2)).min(WAIT_MOST);
            *retry = Retry { next_at: now + wait, wait };
        }
        due
    }

    /// Forgets segments that have nothing parked any more.
    fn keep(&self, parked: &[SegmentId]) {
        let mut retries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        retries.retain(|segment, _| parked.contains(segment));
    }
}

impl App {
    /// Tries parked charges again whose time has come. Gives the number of intervals that are no longer parked.
    pub async fn rate_parked(&self, op: &Op) -> Result<usize> {
        let (mut parked, mut after, mut done) = (Vec::new(), None, 0);
        loop {
            let mut read = self.db.read().await?;
            let page = read.segments_parked_page(after, PAGE).await?;
            drop(read);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            for segment in page {
                parked.push(segment.id);
                if self.retries.is_due(segment.id, op.now()) {
                    match self.rate_parked_of(op, &segment).await {
                        Ok(count) => done += count,
                        Err(error) => tracing::warn!(segment = %segment.id, ?error, "still parked"),
                    }
                }
            }
        }
        self.retries.keep(&parked);
        let count = self.db.read().await?.charges_parked_count().await?;
        metrics::gauge!("muster_charges_parked").set(count as f64);
        Ok(done)
    }

    async fn rate_parked_of(&self, op: &Op, segment: &Segment) -> Result<usize> {
        let span = ChargeSpan { parked: true, ..ChargeSpan::from_k(0) };
        let mut read = self.db.read().await?;
        let charges = read.charges_latest(segment.id, span, PARKED_INTERVALS).await?;
        drop(read);
        let mut anew = BTreeMap::new();
        for (chunk, answer) in self.rate_again(segment, None, &charges).await? {
            match answer {
                Ok(rated) => anew.extend(rated.into_iter().map(|one| (one.latest.k, one))),
                Err(why) => tracing::info!(segment = %segment.id, k = chunk, why, "still parked"),
            }
        }
        if anew.is_empty() {
            return Ok(0);
        }
        let mut tx = self.db.begin().await?;
        tx.team_lock(segment.team).await?;
        let draft = self.revision_draft(op, &mut tx, segment.id, &anew, UNPARKED).await?;
        let mut revised = Revised::of(&draft, &anew)?;
        revised.transactions = self.revision_post(op, &mut tx, draft).await?;
        let document = serde_json::to_value(&revised).map_err(Error::internal)?;
        let (team, target) = (segment.team.to_string(), segment.id.to_string());
        self.tell(op, &mut tx, &team, "charges.re_rated", &target, document).await?;
        self.system_commit(op, tx).await?;
        Ok(anew.len())
    }

    /// Rates charges of a segment again, by another price or once more by their own, and posts the exact difference.
    ///
    /// # Errors
    /// The conflict `price-unusable` when the price gives no usable answer; nothing was changed then.
    pub async fn charges_re_rate(&self, op: &Op, team: &str, wish: ReRate) -> Result<Revised> {
        let span = span_checked(wish.from, wish.to, &wish.reason)?;
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let team = scope.team.id;
        let resource = Resource::team(team);
        self.look(op, &scope.asker, Action::ReRateCharges, resource.clone(), Facts::default()).await?;
        let segment = segment_of(&mut read, team, wish.segment).await?;
        let price = match wish.price_version {
            Some(id) => Some(self.price_usable(&mut read, team, id).await?),
            None => None,
        };
        let charges = charges_in(&mut read, &segment, span).await?;
        drop(read);
        let mut anew = BTreeMap::new();
        for (k, answer) in self.rate_again(&segment, price.as_ref(), &charges).await? {
            let rated = answer.map_err(|why| {
                let told = format!(
                    "the price gives no usable answer from interval {k} on: {why}; nothing was changed. Give a \
                     `price_version` that can price this, or a shorter span"
                );
                Error::conflict("price-unusable", told)
            })?;
            anew.extend(rated.into_iter().map(|one| (one.latest.k, one)));
        }
        if anew.is_empty() {
            return Err(Error::field(
                "/segment",
                "nothing was used of it in this span: that was corrected before",
            ));
        }
        if wish.dry_run {
            return self.revision_shown(op, &segment, &anew, &wish.reason).await;
        }
        let mut tx = self.begin(op).await?;
        // Plugins take their time, in which the caller may have lost the leave to do this.
        let scope = self.enter(op, &mut tx, &team.to_string()).await?;
        tx.team_lock(team).await?;
        let permit = self.permit(op, tx, &scope.asker, Action::ReRateCharges, resource, Facts::default());
        let (mut tx, permit) = permit.await?;
        let revised = self.revision_made(op, &mut tx, &segment, &anew, &wish.reason).await?;
        self.conclude(op, tx, &permit, outcome(team, &revised, &wish.reason)?).await?;
        Ok(revised)
    }

    /// Takes back what was charged for a span in which nothing was used.
    pub async fn charges_correct(&self, op: &Op, team: &str, wish: CorrectCharges) -> Result<Revised> {
        let span = span_checked(Some(wish.from), Some(wish.to), &wish.reason)?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let action = Action::CorrectCharges;
        let (mut tx, permit) = self.permit(op, tx, &asker, action, Resource::Site, Facts::default()).await?;
        let team = team_named(&mut tx, team).await?.id;
        tx.team_lock(team).await?;
        let segment = segment_of(&mut tx, team, wish.segment).await?;
        let charges = charges_in(&mut tx, &segment, span).await?;
        let anew: BTreeMap<u64, Anew> =
            charges.into_iter().map(|latest| (latest.k, unused(&segment, latest))).collect();
        if wish.dry_run {
            tx.rollback().await?;
            return self.revision_shown(op, &segment, &anew, &wish.reason).await;
        }
        let revised = self.revision_made(op, &mut tx, &segment, &anew, &wish.reason).await?;
        self.conclude(op, tx, &permit, outcome(team, &revised, &wish.reason)?).await?;
        Ok(revised)
    }

    /// What a revision would change.
    async fn revision_shown(
        &self,
        op: &Op,
        segment: &Segment,
        anew: &BTreeMap<u64, Anew>,
        reason: &str,
    ) -> Result<Revised> {
        let mut read = self.db.read().await?;
        let draft = self.revision_draft(op, &mut read, segment.id, anew, reason).await?;
        Ok(Revised { dry_run: true, ..Revised::of(&draft, anew)? })
    }

    async fn revision_made(
        &self,
        op: &Op,
        tx: &mut Tx,
        segment: &Segment,
        anew: &BTreeMap<u64, Anew>,
        reason: &str,
    ) -> Result<Revised> {
        let draft = self.revision_draft(op, tx, segment.id, anew, reason).await?;
        let mut revised = Revised::of(&draft, anew)?;
        revised.transactions = self.revision_post(op, tx, draft).await?;
        Ok(revised)
    }

    /// A price version that charges of the team may be rated by.
    async fn price_usable(&self, conn: &mut Conn, team: TeamId, id: PriceVersionId) -> Result<ActivePrice> {
        let version = conn.price_version_fetch(id).await?;
        let version = version.filter(|version| version.team.is_none_or(|owner| owner == team));
        version.map(ActivePrice::from).ok_or_else(|| {
            Error::field("/price_version", "there is no such price version here; `prices` lists them")
        })
    }

    /// Asks prices again for the latest charges of a segment, as they were asked then but for the price. Each answer
    /// has the interval that it begins with.
    async fn rate_again(
        &self,
        segment: &Segment,
        by: Option<&ActivePrice>,
        charges: &[Charge],
    ) -> Result<Vec<(u64, std::result::Result<Vec<Anew>, String>)>> {
        let (mut answers, mut failures) = (Vec::new(), 0);
        for chunk in chunks_alike(segment, charges) {
            let Some(first) = chunk.first() else { continue };
            let price = match by {
                Some(price) => price.clone(),
                None => {
                    let mut read = self.db.glance().await?;
                    self.price_version(&mut read, first.price_version).await?
                }
            };
            let answer = self.chunk_again(segment, &price, &chunk).await;
            failures = if answer.is_err() { failures + 1 } else { 0 };
            answers.push((first.k, answer));
            if failures == FAILURES {
                break;
            }
        }
        Ok(answers)
    }

    /// One question to a price; why its answer cannot be used otherwise.
    async fn chunk_again(
        &self,
        segment: &Segment,
        price: &ActivePrice,
        chunk: &[Charge],
    ) -> std::result::Result<Vec<Anew>, String> {
        let intervals = intervals_of(chunk);
        let now = chunk.first().map_or(segment.start_at, |charge| charge.told_now);
        let segments = std::slice::from_ref(segment);
        let answer = self.price_ask(segment.team, price, now, &Batch::of(segments, &intervals)).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let per_hour = segment.quoted_per_hour.to_nano().map_err(|error| error.to_string())?;
        let mut anew = Vec::with_capacity(chunk.len());
        for (charge, lines) in chunk.iter().zip(answer) {
            let nano = lines.iter().try_fold(NanoCredits::ZERO, |sum, line| sum.plus(line.nano));
            let nano = nano.map_err(|error| error.to_string())?;
            if rating::exceeds_quote(nano, per_hour, charge.to_at - charge.from_at) {
                let quoted = segment.quoted_per_hour;
                return Err(format!("it charges more than the {quoted} credits an hour that were quoted"));
            }
            anew.push(Anew {
                latest: charge.clone(),
                nano,
                lines,
                price: Some(price.clone()),
                input_digest: told_of(segment, charge).digest(),
            });
        }
        Ok(anew)
    }
}

/// Charges that can be asked for at once: of one price, which was told the same time. What was found to be unused is
/// left out.
fn chunks_alike(segment: &Segment, charges: &[Charge]) -> Vec<Vec<Charge>> {
    let used: Vec<Charge> = charges.iter().filter(|charge| !is_unused(segment, charge)).cloned().collect();
    let alike = |one: &Charge, other: &Charge| {
        (one.told_now, one.price_version) == (other.told_now, other.price_version)
    };
    used.chunk_by(alike).flat_map(|run| run.chunks(BATCH)).map(<[Charge]>::to_vec).collect()
}

fn intervals_of(charges: &[Charge]) -> Vec<(usize, Interval)> {
    let interval = |charge: &Charge| (0, Interval { k: charge.k, from: charge.from_at, to: charge.to_at });
    charges.iter().map(interval).collect()
}

/// An interval in which nothing was used: no price is asked, and it costs nothing.
fn unused(segment: &Segment, latest: Charge) -> Anew {
    let input_digest = told_of(segment, &latest).unused().digest();
    Anew { latest, nano: NanoCredits::ZERO, lines: Vec::new(), price: None, input_digest }
}

fn span_checked(from: Option<Timestamp>, to: Option<Timestamp>, reason: &str) -> Result<ChargeSpan> {
    let mut findings = Findings::new();
    findings.text(reason, "/reason", 1, 500);
    let mut span = ChargeSpan::from_k(0);
    (span.from, span.to) = (from.unwrap_or(span.from), to.unwrap_or(span.to));
    findings.check(span.from < span.to, "/to", "a time after `from`");
    findings.done()?;
    Ok(span)
}

/// The latest charges of a segment in a span.
async fn charges_in(conn: &mut Conn, segment: &Segment, span: ChargeSpan) -> Result<Vec<Charge>> {
    let charges = conn.charges_latest(segment.id, span, MOST_INTERVALS + 1).await?;
    let mut findings = Findings::new();
    findings.check(!charges.is_empty(), "/segment", "nothing of it was charged in this span");
    let most =
        format!("at most {MOST_INTERVALS} intervals at once; give a span from `from` to `to` that has fewer");
    findings.check(charges.len() <= MOST_INTERVALS as usize, "/to", most);
    findings.done()?;
    Ok(charges)
}

fn outcome<'a>(team: TeamId, revised: &'a Revised, reason: &str) -> Result<Outcome<'a, Revised>> {
    let mut document = serde_json::to_value(revised).map_err(Error::internal)?;
    document["reason"] = reason.into();
    Ok(Outcome {
        team: team.to_string(),
        target: revised.segment.to_string(),
        document,
        status: 201,
        answer: revised,
    })
}

impl Revised {
    /// What a draft changes.
    fn of(draft: &Draft, anew: &BTreeMap<u64, Anew>) -> Result<Self> {
        let (Some(first), Some(last)) = (draft.charges.first(), draft.charges.last()) else {
            return Err(Error::internal("a revision of nothing"));
        };
        let after = anew.values().try_fold(NanoCredits::ZERO, |sum, one| sum.plus(one.nano))?;
        let changed = draft.charges.iter().try_fold(NanoCredits::ZERO, |sum, one| sum.plus(one.nano))?;
        let before = after.as_nanos().checked_sub(changed.as_nanos());
        let before = before.ok_or(crate::money::Error::Overflow)?;
        Ok(Self {
            segment: draft.segment.id,
            revision: draft.number,
            first: first.id(),
            last: last.id(),
            intervals: anew.len(),
            rounded: draft.charges.len() - anew.len(),
            nano_before: NanoCredits::from_nanos(before),
            nano_after: after,
            difference: draft.difference()?,
            input_digest_before: digest_of(anew.values().map(|one| one.latest.input_digest.as_str())),
            input_digest_after: digest_of(anew.values().map(|one| one.input_digest.as_str())),
            transactions: Vec::new(),
            dry_run: false,
        })
    }
}

/// One digest as it is, several as the digest of their lines.
fn digest_of<'a>(digests: impl Iterator<Item = &'a str>) -> String {
    let digests: Vec<&str> = digests.collect();
    match digests.as_slice() {
        [one] => (*one).to_owned(),
        several => Digest::of(several.join("\n").as_bytes()).to_string(),
    }
}
