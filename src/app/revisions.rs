//! Revisions of charges: intervals cost something else than they were charged, and the exact difference is posted.
//!
//! A draft says what changes; it can be shown without being posted. More is charged from the account that paid, as far
//! as it has it, and owed otherwise. Less is first taken off what is owed for these intervals, and then given back into
//! the lots that the money came from, the last first. What was owed and given up since is given up no more; what
//! another account of the team has paid since comes back as a gift.

use std::collections::BTreeMap;

use super::{App, prices::ActivePrice};
use crate::{
    error::{Error, Result},
    ids::{AccountId, LotId, SegmentId, TeamId, TransactionId},
    ledger::{
        account::AccountKind,
        hold::Cover,
        interval::Segment,
        journal::{Journal, Outcome, User},
        lot::Part,
        posting::{Back, IdemKey, LotUse, Posting, TransactionKind},
        rating::{Charge, RatedLine},
        revision::{self, Change},
    },
    money::{Credits, NanoCredits},
    op::Op,
    store::{self, ChargeSpan, Concern, Conn, LotPaid, Tx},
    time::{Span, Timestamp},
};

/// Charges that are read or written at once.
const CHUNK: u32 = 2_000;

/// How long money stays good that comes back where its lot has expired meanwhile.
const BACK_FOR: Span = Span::from_seconds(30 * 86_400);

/// What an interval costs now, by its latest charge as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Anew {
    /// The latest charge of the interval.
    pub(crate) latest: Charge,
    /// What the interval costs.
    pub(crate) nano: NanoCredits,
    /// The lines that this is the sum of.
    pub(crate) lines: Vec<RatedLine>,
    /// The price that says so; `None`: no price was asked.
    pub(crate) price: Option<ActivePrice>,
    /// Digest of what it was told.
    pub(crate) input_digest: String,
}

/// A revision that is not posted.
pub(crate) struct Draft {
    /// The segment as it stands.
    pub(crate) segment: Segment,
    /// Its number.
    pub(crate) number: u32,
    /// The new charges in the order of their intervals; what is owed of them, and the transaction, are not known yet.
    pub(crate) charges: Vec<Charge>,
    changes: Vec<Change>,
    cumulative: NanoCredits,
}

impl Draft {
    /// What changes for the team; negative when it gets money back.
    pub(crate) fn difference(&self) -> Result<Credits> {
        total(&self.changes)
    }
}

fn total(changes: &[Change]) -> Result<Credits> {
    Ok(changes.iter().try_fold(Credits::ZERO, |sum, change| sum.plus(change.amount))?)
}

impl Anew {
    /// The next charge of the interval.
    fn charge(&self) -> Charge {
        let price = self.price.as_ref();
        let latest = self.latest.clone();
        Charge {
            price_version: price.map_or(latest.price_version, |price| price.version),
            component_digest: price.map_or(latest.component_digest, |price| price.digest.clone()),
            config_digest: price.map_or(latest.config_digest, |price| price.config_digest.clone()),
            input_digest: self.input_digest.clone(),
            lines: self.lines.clone(),
            parked: false,
            parked_because: String::new(),
            ..latest
        }
    }
}

impl App {
    /// What changes when intervals of a segment cost what `anew` says, by their number.
    ///
    /// # Errors
    /// `database-busy` when one of them was revised since it was read: rate it again.
    pub(crate) async fn revision_draft(
        &self,
        op: &Op,
        conn: &mut Conn,
        segment: SegmentId,
        anew: &BTreeMap<u64, Anew>,
        reason: &str,
    ) -> Result<Draft> {
        let gone = || Error::internal(format!("the segment {segment} vanished"));
        let segment = conn.segment_fetch(segment).await?.ok_or_else(gone)?;
        let first = *anew.keys().next().ok_or_else(|| Error::internal("a revision of nothing"))?;
        let standing = conn.charges_standing(segment.id, first).await?;
        let known: BTreeMap<u64, u32> = standing.iter().map(|was| (was.k, was.revision)).collect();
        if anew.iter().any(|(k, anew)| known.get(k) != Some(&anew.latest.revision)) {
            return Err(store::Error::Moved.into());
        }
        let after = standing.iter().try_fold(NanoCredits::ZERO, |sum, was| sum.plus(was.nano))?;
        let before = segment.cumulative.as_nanos().checked_sub(after.as_nanos());
        let before = NanoCredits::from_nanos(before.ok_or(crate::money::Error::Overflow)?);
        let nanos = anew.iter().map(|(k, anew)| (*k, anew.nano)).collect();
        let revision = revision::revise(before, &standing, &nanos)?;
        let number = conn.revision_last(segment.id).await? + 1;
        let mut moved = self.charges_moved(conn, &segment, &revision.changes, anew).await?;
        let mut charges = Vec::with_capacity(revision.changes.len());
        for change in &revision.changes {
            let next = match anew.get(&change.k) {
                Some(anew) => anew.charge(),
                None => moved.remove(&change.k).ok_or_else(|| {
                    Error::internal(format!("interval {} of {} vanished", change.k, segment.id))
                })?,
            };
            charges.push(Charge {
                revision: number,
                nano: change.nano,
                amount: change.amount,
                uncovered: Credits::ZERO,
                reason: reason.to_owned(),
                transaction: None,
                created_at: op.now(),
                ..next
            });
        }
        Ok(Draft { segment, number, charges, changes: revision.changes, cumulative: revision.cumulative })
    }

    /// The latest charges of those intervals that only rounding moves.
    async fn charges_moved(
        &self,
        conn: &mut Conn,
        segment: &Segment,
        changes: &[Change],
        anew: &BTreeMap<u64, Anew>,
    ) -> Result<BTreeMap<u64, Charge>> {
        let wanted: Vec<u64> =
            changes.iter().map(|change| change.k).filter(|k| !anew.contains_key(k)).collect();
        let (mut moved, mut wanted) = (BTreeMap::new(), wanted.as_slice());
        while let Some(&from_k) = wanted.first() {
            let page = conn.charges_latest(segment.id, ChargeSpan::from_k(from_k), CHUNK).await?;
            let Some(last) = page.last().map(|charge| charge.k) else { break };
            let mut page: BTreeMap<u64, Charge> = page.into_iter().map(|charge| (charge.k, charge)).collect();
            let (here, further) = wanted.split_at(wanted.partition_point(|&k| k <= last));
            moved.extend(here.iter().filter_map(|k| Some((*k, page.remove(k)?))));
            wanted = further;
        }
        Ok(moved)
    }

    /// Posts a revision, in one transaction of the books for each month, and writes its charges. The team is locked,
    /// and the draft was made under the lock. Gives the transactions.
    pub(crate) async fn revision_post(
        &self,
        op: &Op,
        tx: &mut Tx,
        draft: Draft,
    ) -> Result<Vec<TransactionId>> {
        let Draft { segment, number, mut charges, changes, cumulative } = draft;
        let (Some(first), Some(last)) = (charges.first(), charges.last()) else {
            return Err(Error::internal("a revision of nothing"));
        };
        let (reason, near) = (first.reason.clone(), (first.k, last.k));
        let near = tx.lots_paid(segment.id, near.0, near.1).await?;
        let all = tx.lots_paid(segment.id, 0, i64::MAX as u64).await?;
        let account = self.account_paid(tx, &segment, &near, &all).await?;
        let settled = match account {
            Some(account) => tx.lots_settled(segment.team, account).await?,
            None => Vec::new(),
        };
        let user = User { member: segment.member, api_key: tx.segment_key(segment.id).await? };
        let lots = all.iter().chain(&settled).map(|paid| paid.lot).collect();
        let concern = Concern {
            members: vec![segment.member],
            keys: user.api_key.into_iter().collect(),
            lots,
            ..Concern::default()
        };
        let mut journal = tx.journal(op, segment.team, &concern).await?;
        let account = account.map_or_else(|| journal.wallet(segment.member), Ok)?;
        let mut back = parts_back(&journal, account, &near, &all, &settled)?;
        let zone = journal.team().terms.time_zone.clone();
        let month = |charge: &Charge| zone.month_at(charge.from_at).start_at;
        let (mut transactions, mut start) = (Vec::new(), 0);
        while start < charges.len() {
            let end = charges[start..].iter().position(|charge| month(charge) != month(&charges[start]));
            let end = end.map_or(charges.len(), |length| start + length);
            let (charges, changes) = (&mut charges[start..end], &changes[start..end]);
            let moved = Moved { segment: &segment, number, reason: &reason, account };
            transactions.extend(self.month_post(op, &mut journal, &moved, charges, changes, &mut back)?);
            let parts: Vec<(Timestamp, Credits)> =
                charges.iter().map(|charge| (charge.from_at, charge.amount)).collect();
            journal.budgets_spend(user, &parts)?;
            start = end;
        }
        self.budgets_tell(op, tx, &mut journal).await?;
        tx.journal_write(&journal).await?;
        tx.segment_revise(&segment, cumulative).await?;
        for chunk in charges.chunks(CHUNK as usize) {
            tx.charges_insert(chunk).await?;
        }
        Ok(transactions)
    }

    /// The account that paid for a segment: the one of the latest payment near the changed intervals, else of any; else
    /// the one that would pay.
    async fn account_paid(
        &self,
        conn: &mut Conn,
        segment: &Segment,
        near: &[LotPaid],
        all: &[LotPaid],
    ) -> Result<Option<AccountId>> {
        if let Some(paid) = near.first().or(all.first()) {
            return Ok(Some(paid.account));
        }
        match segment.instance {
            Some(instance) if segment.account.is_none() => {
                Ok(conn.hold_last_of_instance(instance).await?.map(|hold| hold.account))
            }
            _ => Ok(segment.account),
        }
    }

    /// Posts what changes in one month, and notes in the charges what is owed of them and which transaction moved them.
    fn month_post(
        &self,
        op: &Op,
        journal: &mut Journal,
        moved: &Moved<'_>,
        charges: &mut [Charge],
        changes: &[Change],
        back: &mut Vec<Part>,
    ) -> Result<Option<TransactionId>> {
        let (Some(first), Some(last)) = (charges.first(), charges.last()) else { return Ok(None) };
        let total = total(changes)?;
        if total == Credits::ZERO {
            return Ok(None);
        }
        let Moved { segment, number, reason, account } = *moved;
        let mut header = self.header(op, segment.team, IdemKey::capture(segment.id, first.k, number));
        (header.member, header.instance) = (Some(segment.member), segment.instance);
        (header.occurred_at, header.reason) = (last.from_at, reason.to_owned());
        let transaction = header.id;
        let (revenue, receivable) =
            (journal.own(AccountKind::Revenue)?, journal.own(AccountKind::Receivable)?);
        let (gives_back, size) = (!total.is_positive(), Credits::from_micros(total.as_micros().abs()));
        let (owed, posting) = if gives_back {
            let mut less = changes.iter().filter(|change| change.amount < Credits::ZERO);
            let most = less.try_fold(Credits::ZERO, |sum, change| sum.plus(change.most_uncovered))?;
            let owed = most.min(size).min(journal.owed()?);
            let paid = size.minus(owed)?;
            let parts = parts_take(back, paid)?;
            let named = parts.iter().try_fold(Credits::ZERO, |sum, part| sum.plus(part.amount))?;
            // What no lot of the account has paid was owed, and given up or paid by the team in another way since.
            let given_up = paid.minus(named)?.min(journal.given_up()?);
            let divided = Back { covered: paid.minus(given_up)?, uncovered: owed, given_up };
            let lots = LotUse::Back { parts, otherwise: op.now() + BACK_FOR };
            let writeoff = journal.own(AccountKind::Writeoff)?;
            (owed, Posting::give_back(account, revenue, receivable, writeoff, divided, lots)?)
        } else {
            let covered = size.min(journal.spendable(account, op.now())?);
            let cover = Cover { covered, uncovered: size.minus(covered)? };
            let kind = TransactionKind::Correction;
            (cover.uncovered, Posting::charge(kind, account, revenue, receivable, cover)?)
        };
        if let Outcome::Refused(bound) = journal.post(header, &posting)? {
            return Err(Error::internal(format!("a correction was refused: {bound:?}")));
        }
        let shares = revision::share_owed(changes, owed, gives_back)?;
        for (charge, share) in charges.iter_mut().zip(shares) {
            (charge.uncovered, charge.transaction) = (share, Some(transaction));
        }
        Ok(Some(transaction))
    }
}

/// What the transactions of one revision share.
#[derive(Clone, Copy)]
struct Moved<'a> {
    segment: &'a Segment,
    number: u32,
    reason: &'a str,
    account: AccountId,
}

/// The lots of `account` that money comes back into, in this order: those that paid near the changed intervals, then
/// those that paid for anything of the segment, then those that paid what was owed.
fn parts_back(
    journal: &Journal,
    account: AccountId,
    near: &[LotPaid],
    all: &[LotPaid],
    settled: &[LotPaid],
) -> Result<Vec<Part>> {
    let of_account = |paid: &&LotPaid| paid.account == account;
    let mut left: BTreeMap<LotId, Credits> =
        all.iter().filter(of_account).map(|paid| (paid.lot, paid.amount)).collect();
    // No lot takes back more than went out of it.
    let mut spent: BTreeMap<LotId, Credits> =
        journal.rows().lots.values().map(|lot| (lot.id, lot.spent)).collect();
    let mut parts = Vec::new();
    let mut take = |paid: &LotPaid, most: &mut Credits| -> Result<()> {
        let rest = spent.entry(paid.lot).or_default();
        let amount = paid.amount.min(*most).min(*rest);
        if amount.is_positive() {
            (*rest, *most) = (rest.minus(amount)?, most.minus(amount)?);
            parts.push(Part { lot: paid.lot, amount });
        }
        Ok(())
    };
    for paid in near.iter().chain(all).filter(of_account) {
        take(paid, left.entry(paid.lot).or_default())?;
    }
    for paid in settled {
        take(paid, &mut paid.amount.clone())?;
    }
    Ok(parts)
}

/// Takes the first `amount` out of `parts`, as far as they reach.
fn parts_take(parts: &mut Vec<Part>, amount: Credits) -> Result<Vec<Part>> {
    let mut missing = amount;
    let mut taken = Vec::new();
    while missing.is_positive() && !parts.is_empty() {
        let first = &mut parts[0];
        let part = Part { lot: first.lot, amount: first.amount.min(missing) };
        missing = missing.minus(part.amount)?;
        first.amount = first.amount.minus(part.amount)?;
        if first.amount == Credits::ZERO {
            parts.remove(0);
        }
        taken.push(part);
    }
    Ok(taken)
}

/// A segment of the team that is to be revised.
pub(crate) async fn segment_of(conn: &mut Conn, team: TeamId, id: SegmentId) -> Result<Segment> {
    let segment = conn.segment_fetch(id).await?.filter(|segment| segment.team == team);
    segment.ok_or_else(|| {
        Error::field("/segment", "there is no such segment in this team; the lines of a bill name theirs")
    })
}
