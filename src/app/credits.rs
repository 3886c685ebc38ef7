//! Credits on their way inside a team: from the operator to the pool, from the pool to a member's wallet and back.

use serde::{Deserialize, Serialize};

use super::{
    App,
    books::{self, Funds, MOST},
    gate::{Outcome, team_named},
};
use crate::{
    error::{Error, Findings, Result},
    ids::{MemberId, TransactionId},
    ledger::{
        account::AccountKind,
        posting::{Header, IdemKey, Posting, TransactionKind},
    },
    model::{action::Action, team::MemberState},
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::Concern,
    time::Timestamp,
};

/// Credits to assign to a member, or to take back from one.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTransfer {
    /// The member.
    pub member: MemberId,
    /// How much, above 0.
    pub amount: Credits,
    /// Why, at most 500 characters; kept in the books.
    #[serde(default)]
    pub note: String,
}

/// Credits that the operator gives to a team.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGrant {
    /// How much, above 0.
    pub amount: Credits,
    /// Why, at most 500 characters; kept in the books.
    #[serde(default)]
    pub note: String,
}

/// Credits that were moved, and what is left where.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct CreditsMoved {
    /// The transaction in the books.
    pub transaction: TransactionId,
    /// What it is.
    pub kind: TransactionKind,
    /// The member, where one is concerned.
    pub member: Option<MemberId>,
    /// How much.
    pub amount: Credits,
    /// Why.
    pub note: String,
    /// When.
    pub at: Timestamp,
    /// The team's pool afterwards.
    pub pool: Funds,
    /// The member's wallet afterwards.
    pub wallet: Option<Funds>,
}

/// Checks an amount that is to be moved and the note with it.
pub(crate) fn check(amount: Credits, note: &str) -> Result<()> {
    let mut findings = Findings::new();
    findings.positive(amount, "/amount");
    findings.check(amount <= MOST, "/amount", format!("at most {MOST}"));
    findings.text(note, "/note", 0, 500);
    findings.done()
}

impl App {
    /// Moves credits from the pool to a member's wallet.
    ///
    /// # Errors
    /// The conflict `not-enough-credits`, naming what the pool has.
    pub async fn credits_assign(&self, op: &Op, team: &str, new: NewTransfer) -> Result<CreditsMoved> {
        self.credits_transfer(op, team, TransactionKind::Assign, new).await
    }

    /// Moves credits from a member's wallet back to the pool; what is held for instances stays.
    ///
    /// # Errors
    /// The conflict `not-enough-credits`, naming what the wallet has.
    pub async fn credits_reclaim(&self, op: &Op, team: &str, new: NewTransfer) -> Result<CreditsMoved> {
        self.credits_transfer(op, team, TransactionKind::Reclaim, new).await
    }

    async fn credits_transfer(
        &self,
        op: &Op,
        team: &str,
        kind: TransactionKind,
        new: NewTransfer,
    ) -> Result<CreditsMoved> {
        check(new.amount, &new.note)?;
        let assigns = kind == TransactionKind::Assign;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let team = scope.team.id;
        tx.team_lock(team).await?;
        let action = if assigns { Action::AssignCredits } else { Action::ReclaimCredits };
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, action, Resource::team(team), Facts::default()).await?;
        let member = tx.member_fetch(new.member).await?.filter(|member| {
            // Credits of somebody who has gone can be taken back, and nobody is given any.
            member.team == team && (member.state != MemberState::Removed || !assigns)
        });
        let member = member.ok_or_else(|| Error::field("/member", "there is no such member in this team"))?;
        let mut journal = tx.journal(op, team, &Concern::of(member.id)).await?;
        let (pool, wallet) = (journal.own(AccountKind::TeamPool)?, journal.wallet(member.id)?);
        let (posting, source) = if assigns {
            (Posting::assign(pool, wallet, new.amount)?, pool)
        } else {
            (Posting::reclaim(wallet, pool, new.amount)?, wallet)
        };
        let key = IdemKey::request(kind, op.request);
        let header = Header { reason: new.note, member: Some(member.id), ..self.header(op, team, key) };
        books::post(&mut journal, header.clone(), &posting, source)?;
        tx.journal_write(&journal).await?;
        let moved = CreditsMoved {
            transaction: header.id,
            kind,
            member: header.member,
            amount: new.amount,
            note: header.reason,
            at: header.occurred_at,
            pool: Funds::of(journal.account(pool)?)?,
            wallet: Some(Funds::of(journal.account(wallet)?)?),
        };
        let outcome = Outcome {
            team: team.to_string(),
            target: member.id.to_string(),
            document: serde_json::json!({ "transaction": moved.transaction, "amount": moved.amount }),
            status: 201,
            answer: &moved,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(moved)
    }

    /// Gives credits of the operator to a team's pool.
    pub async fn credits_grant(&self, op: &Op, team: &str, new: NewGrant) -> Result<CreditsMoved> {
        check(new.amount, &new.note)?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::GrantCredits, Resource::Site, Facts::default()).await?;
        let team = team_named(&mut tx, team).await?.id;
        let mut journal = tx.journal(op, team, &Concern::default()).await?;
        let (promo, pool) = (journal.own(AccountKind::Promo)?, journal.own(AccountKind::TeamPool)?);
        let posting = Posting::grant(promo, pool, new.amount, None)?;
        let key = IdemKey::request(TransactionKind::Grant, op.request);
        let header = Header { reason: new.note, ..self.header(op, team, key) };
        books::post(&mut journal, header.clone(), &posting, promo)?;
        tx.journal_write(&journal).await?;
        let moved = CreditsMoved {
            transaction: header.id,
            kind: TransactionKind::Grant,
            member: None,
            amount: new.amount,
            note: header.reason,
            at: header.occurred_at,
            pool: Funds::of(journal.account(pool)?)?,
            wallet: None,
        };
        let outcome = Outcome {
            team: team.to_string(),
            target: team.to_string(),
            document: serde_json::json!({ "transaction": moved.transaction, "amount": moved.amount }),
            status: 201,
            answer: &moved,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(moved)
    }
}
