//! Credits on their way inside a team: from the operator to the pool, from the pool to a member's wallet and back.

use serde::{Deserialize, Serialize};

use super::{
    App,
    books::{self, Funds, MOST},
    gate::{Granted, Outcome, team_named},
};
use crate::{
    error::{Error, Findings, Result},
    ids::{MemberId, TeamId, TransactionId},
    ledger::{
        account::AccountKind,
        journal::Journal,
        posting::{Header, IdemKey, Posting, TransactionKind},
    },
    model::{action::Action, team::MemberState},
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{Concern, Tx},
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
    /// When what is unused of them is lost; absent: never.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// Credits that the operator gives as an apology.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGoodwill {
    /// How much, above 0.
    pub amount: Credits,
    /// Whose wallet gets them; absent: the team's pool.
    #[serde(default)]
    pub member: Option<MemberId>,
    /// What for, 1 to 500 characters; kept in the books.
    pub note: String,
}

/// A debt that the operator gives up.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWriteOff {
    /// How much of what the team owes, above 0.
    pub amount: Credits,
    /// Why, 1 to 500 characters; kept in the books.
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

/// What is wrong with an amount that is to be moved, and with the note that goes with it.
pub(crate) fn findings(amount: Credits, note: &str) -> Findings {
    let mut findings = Findings::new();
    findings.positive(amount, "/amount");
    findings.check(amount <= MOST, "/amount", format!("at most {MOST}"));
    findings.text(note, "/note", 0, 500);
    findings
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
        findings(new.amount, &new.note).done()?;
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
        let key = IdemKey::request(kind, op.request);
        let moved = self.transfer_post(op, &mut tx, team, kind, new, key).await?;
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

    /// Writes a transfer between the pool and a member's wallet into the books, once for `key`.
    ///
    /// # Errors
    /// The conflict `not-enough-credits`, naming what there is where it would come from.
    pub(super) async fn transfer_post(
        &self,
        op: &Op,
        tx: &mut Tx,
        team: TeamId,
        kind: TransactionKind,
        new: NewTransfer,
        key: IdemKey,
    ) -> Result<CreditsMoved> {
        let mut journal = tx.journal(op, team, &Concern::of(new.member)).await?;
        let (pool, wallet) = (journal.own(AccountKind::TeamPool)?, journal.wallet(new.member)?);
        let (posting, source) = if kind == TransactionKind::Assign {
            (Posting::assign(pool, wallet, new.amount)?, pool)
        } else {
            (Posting::reclaim(wallet, pool, new.amount)?, wallet)
        };
        let header = Header { reason: new.note, member: Some(new.member), ..self.header(op, team, key) };
        books::post(&mut journal, header.clone(), &posting, source)?;
        tx.journal_write(&journal).await?;
        Ok(CreditsMoved {
            transaction: header.id,
            kind,
            member: header.member,
            amount: new.amount,
            note: header.reason,
            at: header.occurred_at,
            pool: Funds::of(journal.account(pool)?)?,
            wallet: Some(Funds::of(journal.account(wallet)?)?),
        })
    }

    /// Gives credits of the operator to a team's pool.
    pub async fn credits_grant(&self, op: &Op, team: &str, new: NewGrant) -> Result<CreditsMoved> {
        // Checked against the clock below: a repetition may come when its time has passed.
        self.unless_answered(op).await?;
        let mut findings = findings(new.amount, &new.note);
        findings.check(new.expires_at.is_none_or(|at| at > op.now()), "/expires_at", "a time to come");
        findings.done()?;
        let tx = self.begin(op).await?;
        let (mut tx, permit, team) = self.site_credit(op, tx, Action::GrantCredits, team).await?;
        let mut journal = tx.journal(op, team, &Concern::default()).await?;
        let (promo, pool) = (journal.own(AccountKind::Promo)?, journal.own(AccountKind::TeamPool)?);
        let posting = Posting::grant(promo, pool, new.amount, new.expires_at)?;
        let header = self.site_header(op, team, TransactionKind::Grant, new.note);
        books::post(&mut journal, header.clone(), &posting, promo)?;
        tx.journal_write(&journal).await?;
        self.site_credit_conclude(op, tx, &permit, &journal, header, new.amount).await
    }

    /// Gives credits of the operator as an apology, to a team's pool or to a member's wallet.
    pub async fn credits_goodwill(&self, op: &Op, team: &str, new: NewGoodwill) -> Result<CreditsMoved> {
        let mut findings = findings(new.amount, &new.note);
        findings.check(!new.note.trim().is_empty(), "/note", "what the apology is for");
        findings.done()?;
        let tx = self.begin(op).await?;
        let (mut tx, permit, team) = self.site_credit(op, tx, Action::GiveGoodwill, team).await?;
        tx.team_lock(team).await?;
        if let Some(member) = new.member {
            let found = tx.member_fetch(member).await?;
            let here = found.is_some_and(|row| row.team == team && row.state != MemberState::Removed);
            if !here {
                return Err(Error::field("/member", "there is no such member in this team"));
            }
        }
        let concern = new.member.map(Concern::of).unwrap_or_default();
        let mut journal = tx.journal(op, team, &concern).await?;
        let promo = journal.own(AccountKind::Promo)?;
        let to = match new.member {
            Some(member) => journal.wallet(member)?,
            None => journal.own(AccountKind::TeamPool)?,
        };
        let posting = Posting::goodwill(promo, to, new.amount)?;
        let header = self.site_header(op, team, TransactionKind::Goodwill, new.note);
        let header = Header { member: new.member, ..header };
        books::post(&mut journal, header.clone(), &posting, promo)?;
        tx.journal_write(&journal).await?;
        self.site_credit_conclude(op, tx, &permit, &journal, header, new.amount).await
    }

    /// Gives up what a team owes, or a part of it.
    ///
    /// # Errors
    /// The conflict `owes-less`, naming what the team owes.
    pub async fn credits_write_off(&self, op: &Op, team: &str, new: NewWriteOff) -> Result<CreditsMoved> {
        let mut findings = findings(new.amount, &new.note);
        findings.check(!new.note.trim().is_empty(), "/note", "why the debt is given up");
        findings.done()?;
        let tx = self.begin(op).await?;
        let (mut tx, permit, team) = self.site_credit(op, tx, Action::WriteOffDebt, team).await?;
        let mut journal = tx.journal(op, team, &Concern::default()).await?;
        let owed = journal.owed()?;
        if new.amount > owed {
            let told = format!("this team owes {owed} credits; give up at most that");
            return Err(Error::conflict("owes-less", told));
        }
        let writeoff = journal.own(AccountKind::Writeoff)?;
        let posting = Posting::writeoff(writeoff, journal.own(AccountKind::Receivable)?, new.amount)?;
        let header = self.site_header(op, team, TransactionKind::Writeoff, new.note);
        books::post(&mut journal, header.clone(), &posting, writeoff)?;
        tx.journal_write(&journal).await?;
        self.site_credit_conclude(op, tx, &permit, &journal, header, new.amount).await
    }

    /// Leave for the operator to move credits of a team, and the team.
    async fn site_credit(
        &self,
        op: &Op,
        mut tx: Tx,
        action: Action,
        team: &str,
    ) -> Result<(Tx, Granted, TeamId)> {
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) = self.permit(op, tx, &asker, action, Resource::Site, Facts::default()).await?;
        let team = team_named(&mut tx, team).await?.id;
        Ok((tx, permit, team))
    }

    fn site_header(&self, op: &Op, team: TeamId, kind: TransactionKind, reason: String) -> Header {
        Header { reason, ..self.header(op, team, IdemKey::request(kind, op.request)) }
    }

    async fn site_credit_conclude(
        &self,
        op: &Op,
        tx: Tx,
        permit: &Granted,
        journal: &Journal,
        header: Header,
        amount: Credits,
    ) -> Result<CreditsMoved> {
        let funds = |account| Funds::of(journal.account(account)?);
        let kind = journal.written().last().map(|written| written.kind);
        let moved = CreditsMoved {
            transaction: header.id,
            kind: kind.ok_or_else(|| Error::internal("credits were moved and nothing was written"))?,
            member: header.member,
            amount,
            note: header.reason,
            at: header.occurred_at,
            pool: funds(journal.own(AccountKind::TeamPool)?)?,
            wallet: header.member.map(|member| funds(journal.wallet(member)?)).transpose()?,
        };
        let team = header.team.to_string();
        let outcome = Outcome {
            target: header.member.map_or_else(|| team.clone(), |member| member.to_string()),
            team,
            document: serde_json::json!({
                "transaction": moved.transaction, "amount": moved.amount, "note": moved.note,
            }),
            status: 201,
            answer: &moved,
        };
        self.conclude(op, tx, permit, outcome).await?;
        Ok(moved)
    }
}
