//! One charge: what it is, who paid for it, and the proof that it was computed as it should be.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::{App, bills::ChargeView, gate::Scope};
use crate::{
    error::{Error, Result},
    ids::{LotId, MemberId, TransactionId},
    ledger::{
        account::AccountKind,
        interval::{Interval, Segment},
        lot::Category,
        posting::{Direction, Phase, TransactionKind},
        proof::{Proof, Told},
        rating::{Charge, ChargeId},
    },
    model::action::Action,
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{Conn, Read},
    time::Timestamp,
};

/// A charge, and how it was paid.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ChargeDetail {
    /// The charge.
    pub charge: ChargeView,
    /// All revisions of its interval, the first one first.
    pub revisions: Vec<ChargeId>,
    /// The transaction that moved the money; absent when nothing was to be moved.
    pub payment: Option<Payment>,
}

/// The transaction that moved the money of a charge, together with that of its neighbours.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Payment {
    /// The transaction.
    pub transaction: TransactionId,
    /// What it records.
    pub kind: TransactionKind,
    /// When that happened.
    pub occurred_at: Timestamp,
    /// What it moved for all its charges.
    pub amount: Credits,
    /// The part of that which nobody paid: it is owed, or was taken off what was owed.
    pub owed: Credits,
    /// The lots that paid, or that got money back, in order.
    pub lots: Vec<PaymentLot>,
}

/// A part of a lot that paid for charges.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct PaymentLot {
    /// The lot.
    pub lot: LotId,
    /// What kind of money it is.
    pub category: Category,
    /// The account that it is in.
    pub account: AccountKind,
    /// Whose wallet that is; absent for the team's pool.
    pub member: Option<MemberId>,
    /// Out of the lot, or back into it.
    pub direction: Direction,
    /// How much.
    pub amount: Credits,
}

impl App {
    /// A charge of the team that the caller may see.
    pub async fn charge_fetch(&self, op: &Op, team: &str, id: ChargeId) -> Result<ChargeDetail> {
        let mut read = self.db.read().await?;
        let (_, charge) = self.charge_look(op, &mut read, team, id, Action::GetCharge).await?;
        let revisions = read.charges_of_interval(id.segment, id.k).await?;
        let revisions = revisions.iter().map(Charge::id).collect();
        let payment = payment_of(&mut read, &charge).await?;
        let charge = ChargeView::of_one(&mut read, charge).await?;
        Ok(ChargeDetail { charge, revisions, payment })
    }

    /// All that is needed to compute a charge again, but for the price's component.
    pub async fn charge_proof(&self, op: &Op, team: &str, id: ChargeId) -> Result<Proof> {
        let mut read = self.db.read().await?;
        let (_, charge) = self.charge_look(op, &mut read, team, id, Action::GetChargeProof).await?;
        let gone = |what: &str| Error::internal(format!("the {what} of {id} vanished"));
        let segment = read.segment_fetch(id.segment).await?.ok_or_else(|| gone("segment"))?;
        let price = self.price_version(&mut read, charge.price_version).await?;
        let sums = read.charge_sums(&charge).await?;
        Ok(Proof {
            id,
            told: told_of(&segment, &charge),
            input_digest: charge.input_digest,
            price_version: charge.price_version,
            component_digest: charge.component_digest,
            config: price.config,
            config_digest: charge.config_digest,
            quoted_per_hour: segment.quoted_per_hour,
            lines: charge.lines,
            nano_before: sums.nano_before,
            nano: charge.nano,
            exact_before: sums.ahead,
            exact_before_revised: sums.ahead_revised,
            amount: charge.amount,
            uncovered: charge.uncovered,
            parked: charge.parked,
            parked_because: charge.parked_because,
            reason: charge.reason,
            transaction: charge.transaction,
            created_at: charge.created_at,
        })
    }

    /// The bytes of a component that prices of the team, or the site's, are made of.
    pub async fn component_fetch(&self, op: &Op, team: &str, digest: &str) -> Result<Bytes> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let owner = scope.member.as_ref().map(|member| member.id);
        let resource = Resource::Record { team: scope.team.id, owner };
        self.look(op, &scope.asker, Action::GetComponent, resource, Facts::default()).await?;
        let component = read.component_of_prices(scope.team.id, digest).await?;
        component.map(|found| Bytes::from(found.wasm)).ok_or_else(|| Error::not_found("component"))
    }

    /// Finds a charge of the team and asks whether the caller may see it: it is whoever's use it was.
    async fn charge_look(
        &self,
        op: &Op,
        read: &mut Read,
        team: &str,
        id: ChargeId,
        action: Action,
    ) -> Result<(Scope, Charge)> {
        let scope = self.enter(op, read, team).await?;
        let team = scope.team.id;
        let charge = read.charge_fetch(id).await?.filter(|charge| charge.team == team);
        // Who asks for what is not there is asked as for their own, and told nothing more.
        let own = scope.member.as_ref().map(|member| member.id);
        let owner = charge.as_ref().map_or(own, |charge| Some(charge.member));
        self.look(op, &scope.asker, action, Resource::Record { team, owner }, Facts::default()).await?;
        let charge = charge.ok_or_else(|| Error::not_found("charge"))?;
        Ok((scope, charge))
    }
}

/// What the price was told of a charge.
pub(crate) fn told_of(segment: &Segment, charge: &Charge) -> Told {
    let interval = Interval { k: charge.k, from: charge.from_at, to: charge.to_at };
    let told = Told::of(segment, &interval, charge.told_now);
    if is_unused(segment, charge) { told.unused() } else { told }
}

/// Whether it was found later that nothing was used in the interval of a charge.
pub(crate) fn is_unused(segment: &Segment, charge: &Charge) -> bool {
    let interval = Interval { k: charge.k, from: charge.from_at, to: charge.to_at };
    charge.revision > 0
        && charge.input_digest == Told::of(segment, &interval, charge.told_now).unused().digest()
}

async fn payment_of(conn: &mut Conn, charge: &Charge) -> Result<Option<Payment>> {
    let Some(id) = charge.transaction else { return Ok(None) };
    let transaction = conn.transaction_fetch(id).await?;
    let transaction = transaction.ok_or_else(|| Error::internal(format!("the transaction {id} vanished")))?;
    let accounts = conn.accounts_of_team(charge.team).await?;
    let accounts: BTreeMap<_, _> = accounts.into_iter().map(|account| (account.id, account)).collect();
    let moved = |kind: AccountKind| {
        let lines = transaction.lines.iter().filter(|line| line.phase == Phase::Posted);
        let mut of_kind =
            lines.filter(|line| accounts.get(&line.account).is_some_and(|account| account.kind == kind));
        of_kind.try_fold(Credits::ZERO, |sum, line| sum.plus(line.amount))
    };
    let lots = conn.lots_moved(id).await?;
    let lots = lots.into_iter().filter_map(|moved| {
        let account = accounts.get(&moved.account)?;
        Some(PaymentLot {
            lot: moved.lot,
            category: moved.category,
            account: account.kind,
            member: account.member,
            direction: moved.direction,
            amount: moved.amount,
        })
    });
    Ok(Some(Payment {
        transaction: id,
        kind: transaction.kind,
        occurred_at: transaction.header.occurred_at,
        amount: moved(AccountKind::Revenue)?,
        owed: moved(AccountKind::Receivable)?,
        lots: lots.collect(),
    }))
}
