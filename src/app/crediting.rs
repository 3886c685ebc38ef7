//! Crediting: what a payment, and what becomes of it, does to a team's books. Everything that brings money into a pool
//! or takes it back to whoever paid goes through here.

use super::{
    App, books,
    payments::{Payment, Standing},
};
use crate::{
    error::{Error, Result},
    ids::LotId,
    ledger::{
        account::AccountKind,
        journal::Journal,
        posting::{Header, IdemKey, Posting},
        top_up::{TopUp, TopUpState},
    },
    money::Credits,
    op::Op,
    store::{Concern, Tx},
    time::Span,
};

/// How long after a payment was begun its provider is asked about it, unless it tells by itself.
const FIRST_POLL: Span = Span::from_seconds(10);

/// Who decides about a payment, and in which words.
pub(crate) struct Word<'a> {
    /// A name from [`crate::op::Actor::name`], or `provider/…`.
    pub(crate) by: &'a str,
    /// Why; may be empty.
    pub(crate) reason: &'a str,
}

impl App {
    /// Moves a top-up on to what its provider knows of the payment, and writes it. The team is locked, and `seen` was
    /// read after that. Knowing the same again, or less, changes nothing.
    pub(crate) async fn payment_apply(
        &self,
        op: &Op,
        tx: &mut Tx,
        seen: &TopUp,
        payment: &Payment,
    ) -> Result<TopUp> {
        let mut top_up = seen.clone();
        if let Some(reference) = &payment.reference {
            let known = top_up.provider_ref.get_or_insert_with(|| reference.clone());
            if known != reference {
                let document = serde_json::json!({ "known": known, "second": reference });
                let target = seen.id.to_string();
                self.tell(op, tx, &seen.team.to_string(), "top_up.second_payment", &target, document).await?;
                return Ok(seen.clone());
            }
        }
        let by = format!("provider/{}", seen.provider);
        let word = Word { by: &by, reason: "" };
        match &payment.standing {
            Standing::Waiting if top_up.step(TopUpState::Pending) => {
                top_up.next_at = Some(op.now() + FIRST_POLL);
                top_up.failure.clear();
            }
            Standing::Failed(why) if top_up.state.is_open() => {
                self.top_up_fail(op, tx, &mut top_up, &by, why).await?;
            }
            Standing::Paid if top_up.state.may_become(TopUpState::Succeeded) => {
                self.top_up_credit(op, tx, &mut top_up, &word).await?;
            }
            Standing::Waiting | Standing::Failed(_) | Standing::Paid => {}
        }
        if top_up.state == TopUpState::Succeeded {
            let more = payment.refunded.min(top_up.amount).minus(top_up.refunded)?;
            if payment.disputed {
                self.top_up_dispute_apply(op, tx, &mut top_up, &word).await?;
            } else if more.is_positive() {
                self.top_up_take_back(op, tx, &mut top_up, more, &word).await?;
                if top_up.refunded == top_up.amount {
                    top_up.step(TopUpState::Refunded);
                }
            }
        }
        let settled = matches!(top_up.state, TopUpState::Succeeded | TopUpState::Refunded);
        if settled && top_up.next_at.is_some() && payment.refunded >= top_up.refunded {
            // What the operator gave back has reached whoever paid.
            (top_up.next_at, top_up.tries) = (None, 0);
            top_up.failure.clear();
        }
        if top_up != *seen {
            tx.top_up_save(seen, &top_up).await?;
        }
        Ok(top_up)
    }

    /// Credits a payment to the pool and settles what the team owes; the caller writes the top-up.
    pub(crate) async fn top_up_credit(
        &self,
        op: &Op,
        tx: &mut Tx,
        top_up: &mut TopUp,
        word: &Word<'_>,
    ) -> Result<()> {
        let team = top_up.team;
        let mut journal = tx.journal(op, team, &Concern::default()).await?;
        let (cash, pool) = (journal.own(AccountKind::Cash)?, journal.own(AccountKind::TeamPool)?);
        let posting = Posting::top_up(cash, pool, top_up.amount)?;
        let header = self.header_by(op, top_up, IdemKey::top_up(top_up.id), word);
        books::post(&mut journal, header.clone(), &posting, cash)?;
        let made = journal.rows().lots.values().find(|lot| lot.transaction == header.id);
        top_up.lot = made.map(|lot| lot.id);
        self.debt_settle(op, &mut journal, &header, top_up.amount)?;
        tx.journal_write(&journal).await?;
        if !top_up.step(TopUpState::Succeeded) {
            return Err(Error::internal(format!("{} is {} and was credited", top_up.id, top_up.state)));
        }
        top_up.failure.clear();
        (top_up.decided_by, top_up.decided_at) = (Some(word.by.to_owned()), Some(op.now()));
        if top_up.automatic {
            tx.auto_top_up_succeeded(team).await?;
        }
        Ok(())
    }

    /// Notes that a payment failed; the caller writes the top-up.
    pub(crate) async fn top_up_fail(
        &self,
        op: &Op,
        tx: &mut Tx,
        top_up: &mut TopUp,
        by: &str,
        why: &str,
    ) -> Result<()> {
        if !top_up.step(TopUpState::Failed) {
            return Err(Error::internal(format!("{} is {} and cannot fail", top_up.id, top_up.state)));
        }
        top_up.failure = why.chars().take(500).collect();
        (top_up.decided_by, top_up.decided_at) = (Some(by.to_owned()), Some(op.now()));
        if top_up.automatic {
            self.auto_top_up_failed(op, tx, top_up.team).await?;
        }
        Ok(())
    }

    /// Takes back all of a payment that whoever paid has taken back; the caller writes the top-up.
    pub(crate) async fn top_up_dispute_apply(
        &self,
        op: &Op,
        tx: &mut Tx,
        top_up: &mut TopUp,
        word: &Word<'_>,
    ) -> Result<()> {
        let amount = top_up.kept()?;
        self.top_up_take_back(op, tx, top_up, amount, word).await?;
        if !top_up.step(TopUpState::Disputed) {
            return Err(Error::internal(format!("{} is {} and was disputed", top_up.id, top_up.state)));
        }
        let document = serde_json::json!({ "amount": amount, "provider": top_up.provider });
        let (team, target) = (top_up.team.to_string(), top_up.id.to_string());
        self.tell(op, tx, &team, "top_up.disputed", &target, document).await
    }

    /// Takes back what went to whoever paid: the unused part out of the pool; what was used is owed from now on. The
    /// caller writes the top-up.
    pub(crate) async fn top_up_take_back(
        &self,
        op: &Op,
        tx: &mut Tx,
        top_up: &mut TopUp,
        amount: Credits,
        word: &Word<'_>,
    ) -> Result<()> {
        let mut journal = tx.journal(op, top_up.team, &Concern::default()).await?;
        let (cash, pool) = (journal.own(AccountKind::Cash)?, journal.own(AccountKind::TeamPool)?);
        let mut left = amount;
        for (lot, free) in unused(&journal, top_up)? {
            let part = free.min(left);
            if !part.is_positive() {
                break;
            }
            let header = self.header_by(op, top_up, IdemKey::refund(top_up.id, top_up.refunded), word);
            books::post(&mut journal, header, &Posting::refund(lot, pool, cash, part)?, pool)?;
            (top_up.refunded, left) = (top_up.refunded.plus(part)?, left.minus(part)?);
        }
        if left.is_positive() {
            let receivable = journal.own(AccountKind::Receivable)?;
            let header = self.header_by(op, top_up, IdemKey::refund(top_up.id, top_up.refunded), word);
            books::post(&mut journal, header, &Posting::refund_owed(receivable, cash, left)?, receivable)?;
            top_up.refunded = top_up.refunded.plus(left)?;
        }
        Ok(tx.journal_write(&journal).await?)
    }

    /// Pays what the team owes out of money that has just come into its pool: at most what came.
    pub(crate) fn debt_settle(
        &self,
        op: &Op,
        journal: &mut Journal,
        brought_by: &Header,
        brought: Credits,
    ) -> Result<()> {
        let (pool, receivable) = (journal.own(AccountKind::TeamPool)?, journal.own(AccountKind::Receivable)?);
        let amount = journal.owed()?.min(brought).min(journal.spendable(pool, op.now())?);
        if !amount.is_positive() {
            return Ok(());
        }
        let header = Header { id: op.id(), idem_key: IdemKey::settle(brought_by.id), ..brought_by.clone() };
        books::post(journal, header, &Posting::settle(pool, receivable, amount)?, pool)
    }

    fn header_by(&self, op: &Op, top_up: &TopUp, key: IdemKey, word: &Word<'_>) -> Header {
        let (actor, reason) = (word.by.to_owned(), word.reason.to_owned());
        Header { actor, reason, ..self.header(op, top_up.team, key) }
    }
}

/// What is unused of a payment in the pool, lot by lot; what was assigned to members is not there.
pub(crate) fn unused(journal: &Journal, top_up: &TopUp) -> Result<Vec<(LotId, Credits)>> {
    let (pool, Some(origin)) = (journal.own(AccountKind::TeamPool)?, top_up.lot) else {
        return Ok(Vec::new());
    };
    let lots = journal.rows().lots.values().filter(|lot| lot.account == pool && lot.origin == origin);
    lots.map(|lot| Ok((lot.id, lot.free()?))).collect()
}
