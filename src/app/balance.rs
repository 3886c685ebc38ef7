//! Balances: what the team's pool and the members' wallets have, and what was spent.

use std::collections::HashMap;

use serde::Serialize;

use super::{App, books::Funds};
use crate::{
    error::{Error, Result},
    ids::{MemberId, TeamId},
    ledger::account::{Account, AccountKind},
    model::{
        action::Action,
        page::{Items, Page, View},
        team::Spending,
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{ChargeFilter, Conn},
    time::Timestamp,
};

/// What there is to spend, as far as the caller may see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Balance {
    /// The moment that it is about, if one was asked for.
    pub at: Option<Timestamp>,
    /// Whose money a launch spends.
    pub spending: Spending,
    /// The team's money; absent where the caller sees their own only.
    pub team: Option<TeamBalance>,
    /// The caller's money; absent for who is no member.
    pub own: Option<MemberBalance>,
    /// Every member's money, by pages; absent in `view=self`.
    pub members: Option<Items<MemberBalance>>,
}

/// The team's money.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TeamBalance {
    /// What is in the pool: credits that no member was assigned.
    pub pool: Funds,
    /// What the whole team was charged since it exists.
    pub spent: Credits,
}

/// A member's money.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MemberBalance {
    /// The member.
    pub member: MemberId,
    /// The member's account name.
    pub account: String,
    /// What is in the wallet.
    pub wallet: Funds,
    /// What the member was charged since they joined.
    pub spent: Credits,
}

impl App {
    /// What the caller may spend, or could at the moment `at`; with `view=admin` the whole team's money, and of members
    /// the page that was asked for.
    ///
    /// # Errors
    /// A moment that is yet to come.
    pub async fn balance(
        &self,
        op: &Op,
        team: &str,
        view: View,
        at: Option<Timestamp>,
        page: &Page,
    ) -> Result<Balance> {
        let limit = page.limit()?;
        if at.is_some_and(|at| at > op.now()) {
            let told = format!("expected a moment up to now, which is {}; leave it out for now", op.now());
            return Err(Error::field("at", told));
        }
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let team = scope.team.id;
        let whole = Resource::team(team);
        let resource = Resource::Record { team, owner: scope.whose(view, None)? };
        self.look(op, &scope.asker, Action::GetBalance, resource, Facts::default()).await?;
        let principal = &scope.asker.principal;
        let sees_whole = self.policies.may(principal, Action::GetBalance, &whole, &Facts::default());
        let accounts = match at {
            Some(at) => read.accounts_of_team_at(team, at).await?,
            None => read.accounts_of_team(team).await?,
        };
        let wallets: HashMap<MemberId, &Account> =
            accounts.iter().filter_map(|account| Some((account.member?, account))).collect();
        let pool = accounts.iter().find(|account| account.kind == AccountKind::TeamPool);
        let team_balance = match pool {
            Some(pool) if sees_whole => {
                let spent = spent(&mut read, team, None, at).await?;
                Some(TeamBalance { pool: Funds::of(pool)?, spent })
            }
            _ => None,
        };
        let own = match &scope.member {
            Some(member) => member_balance(&mut read, team, member.id, &member.account, &wallets, at).await?,
            None => None,
        };
        let members = match view {
            View::Own => None,
            View::Admin => {
                let rows = read.members_page(team, page.after(), limit + 1).await?;
                let rows = Items::cut(rows, limit, |row| row.id.to_string());
                let mut items = Vec::with_capacity(rows.items.len());
                for row in rows.items {
                    let balance = member_balance(&mut read, team, row.id, &row.account, &wallets, at);
                    items.extend(balance.await?);
                }
                Some(Items { items, next_cursor: rows.next_cursor })
            }
        };
        Ok(Balance { at, spending: scope.team.spending, team: team_balance, own, members })
    }
}

async fn member_balance(
    conn: &mut Conn,
    team: TeamId,
    member: MemberId,
    account: &str,
    wallets: &HashMap<MemberId, &Account>,
    at: Option<Timestamp>,
) -> Result<Option<MemberBalance>> {
    let Some(wallet) = wallets.get(&member) else { return Ok(None) };
    let spent = spent(conn, team, Some(member), at).await?;
    Ok(Some(MemberBalance { member, account: account.to_owned(), wallet: Funds::of(wallet)?, spent }))
}

/// What the team, or one member of it, was charged up to `at`, or now.
async fn spent(
    conn: &mut Conn,
    team: TeamId,
    member: Option<MemberId>,
    at: Option<Timestamp>,
) -> Result<Credits> {
    Ok(match at {
        Some(at) => conn.charges_total_at(team, member, at).await?,
        None => conn.charges_total(team, &ChargeFilter { member, kind: String::new() }).await?,
    })
}
