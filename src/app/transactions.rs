//! Transactions: the team's books, line by line, as they were written.

use std::collections::HashMap;

use serde::Serialize;

use super::App;
use crate::{
    error::{Error, Result},
    ids::{AccountId, InstanceId, MemberId, TransactionId},
    ledger::{
        account::{Account, AccountKind},
        posting::{Direction, Line, Phase, Transaction, TransactionKind},
    },
    model::{
        action::Action,
        page::{Items, Page, View},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    time::Timestamp,
};

/// A transaction in the books.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TransactionView {
    /// Its id.
    pub id: TransactionId,
    /// What it records.
    pub kind: TransactionKind,
    /// When that happened.
    pub occurred_at: Timestamp,
    /// When it was written.
    pub recorded_at: Timestamp,
    /// Who did it.
    pub actor: String,
    /// How much it moved; for a hold, how much it held or gave back.
    pub amount: Credits,
    /// Why; may be empty.
    pub reason: String,
    /// The member it concerns.
    pub member: Option<MemberId>,
    /// The instance it concerns.
    pub instance: Option<InstanceId>,
    /// The transaction that it takes back.
    pub reverses: Option<TransactionId>,
    /// Its lines; debits equal credits in each phase.
    pub lines: Vec<LineView>,
}

/// A line of a transaction.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LineView {
    /// What the account is for.
    pub account: AccountKind,
    /// Whose account it is; absent for the team's own.
    pub member: Option<MemberId>,
    /// Out of the account or into it.
    pub direction: Direction,
    /// Whether money was held, given back, or moved.
    pub phase: Phase,
    /// How much.
    pub amount: Credits,
}

impl App {
    /// The team's transactions, or one member's, the newest first.
    pub async fn transactions_page(
        &self,
        op: &Op,
        team: &str,
        view: View,
        member: Option<MemberId>,
        page: &Page,
    ) -> Result<Items<TransactionView>> {
        let (limit, before) = (page.limit()?, page.place()?);
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let team = scope.team.id;
        let owner = scope.whose(view, member)?;
        let resource = Resource::Record { team, owner };
        self.look(op, &scope.asker, Action::ListTransactions, resource, Facts::default()).await?;
        let rows = match owner {
            None => read.transactions_page(team, before, limit + 1).await?,
            Some(owner) => {
                let known = read.member_fetch(owner).await?.filter(|row| row.team == team);
                known.ok_or_else(|| Error::not_found("member"))?;
                read.transactions_page_of_member(owner, before, limit + 1).await?
            }
        };
        let accounts = read.accounts_of_team(team).await?;
        let accounts = accounts.iter().map(|account| (account.id, account)).collect();
        let rows = Items::cut(rows, limit, |row| row.header.id.to_string());
        let next_cursor = rows.next_cursor;
        let items = rows.items.into_iter().map(|row| TransactionView::of(row, &accounts));
        Ok(Items { items: items.collect::<Result<_>>()?, next_cursor })
    }
}

/// What the lines move in all, or where nothing is posted, what they hold or give back.
fn amount_of(lines: &[Line]) -> Result<Credits> {
    let posts = lines.iter().any(|line| line.phase == Phase::Posted);
    let debits = lines.iter().filter(|line| line.direction == Direction::Debit);
    let counted = debits.filter(|line| !posts || line.phase == Phase::Posted);
    Ok(counted.map(|line| line.amount).try_fold(Credits::ZERO, Credits::plus)?)
}

impl TransactionView {
    fn of(row: Transaction, accounts: &HashMap<AccountId, &Account>) -> Result<Self> {
        let lines = row.lines.iter().map(|line| LineView::of(line, accounts)).collect::<Result<_>>()?;
        let amount = amount_of(&row.lines)?;
        let header = row.header;
        Ok(Self {
            id: header.id,
            kind: row.kind,
            occurred_at: header.occurred_at,
            recorded_at: header.recorded_at,
            actor: header.actor,
            amount,
            reason: header.reason,
            member: header.member,
            instance: header.instance,
            reverses: header.reverses,
            lines,
        })
    }
}

impl LineView {
    fn of(line: &Line, accounts: &HashMap<AccountId, &Account>) -> Result<Self> {
        let account = accounts.get(&line.account);
        let account = account.ok_or_else(|| Error::internal(format!("{} is in no books", line.account)))?;
        Ok(Self {
            account: account.kind,
            member: account.member,
            direction: line.direction,
            phase: line.phase,
            amount: line.amount,
        })
    }
}
