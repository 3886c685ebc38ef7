//! The purse: what a launch, or a start of what was stopped, would spend, what its budgets leave, and what the limits
//! leave that it is counted against.

use super::gate::Scope;
use crate::{
    error::Result,
    ids::{AccountId, ApiKeyId},
    ledger::{
        account::AccountKind,
        journal::{Journal, User},
    },
    model::team::Spending,
    money::Credits,
    op::{Actor, Op},
    policy::{BudgetRoom, Facts, Launch},
    store::{Concern, Conn},
};

/// What a launch would spend: the account, what is in it to spend, and what the tightest budget leaves.
pub(super) struct Purse {
    pub(super) account: AccountId,
    pub(super) funds: Credits,
    pub(super) room: Option<BudgetRoom>,
}

impl Purse {
    /// What a launch by the caller would spend now.
    pub(super) fn of(op: &Op, scope: &Scope, journal: &Journal) -> Result<Self> {
        let account = match (scope.team.spending, &scope.member) {
            (Spending::Wallet, Some(member)) => journal.wallet(member.id)?,
            _ => journal.own(AccountKind::TeamPool)?,
        };
        let funds = journal.spendable(account, op.now())?;
        let mut room: Option<BudgetRoom> = None;
        if let Some(member) = &scope.member {
            let user = User { member: member.id, api_key: api_key(op) };
            for (budget, period) in journal.budgets_of(user, op.now())? {
                let left = budget.left(&period)?;
                if budget.binds_launches() && room.as_ref().is_none_or(|tightest| left < tightest.left) {
                    let (name, ceiling) = (budget.name.clone(), budget.ceiling);
                    room = Some(BudgetRoom { name, left, ceiling });
                }
            }
        }
        Ok(Self { account, funds, room })
    }

    /// What ends first, by name, and how much it has.
    pub(super) fn binding(&self) -> (String, Credits) {
        match &self.room {
            Some(room) if room.left < self.funds => (room.name.clone(), room.left),
            _ => ("credits".to_owned(), self.funds),
        }
    }
}

/// What is wanted of limits and money.
pub(super) struct Wanted {
    pub(super) instances: u32,
    pub(super) gpus: u32,
    pub(super) per_hour: Credits,
    pub(super) hold: Credits,
}

/// What the policy must know of a launch or a start. Under the team's lock nobody else can move what is counted here.
pub(super) async fn launch_facts(
    conn: &mut Conn,
    scope: &Scope,
    purse: &Purse,
    wanted: Wanted,
) -> Result<Facts> {
    let used = match &scope.member {
        Some(member) => conn.usage_fetch(&member.id.to_string()).await?,
        None => Default::default(),
    };
    let launch = Launch {
        instances: wanted.instances,
        gpus: wanted.gpus,
        per_hour: wanted.per_hour,
        used,
        team_used: conn.usage_fetch(&scope.team.id.to_string()).await?,
        team_ceiling: scope.team.ceiling.clone(),
        hold: wanted.hold,
        funds: purse.funds,
        own_wallet: scope.team.spending == Spending::Wallet && scope.member.is_some(),
        budget: purse.room.clone(),
    };
    Ok(Facts { launch: Some(launch), ..Facts::default() })
}

/// The API key that asks, if one does.
pub(super) fn api_key(op: &Op) -> Option<ApiKeyId> {
    match &op.actor {
        Actor::Key { key, .. } => Some(*key),
        _ => None,
    }
}

/// What a launch needs to know of the books.
pub(super) fn concern(op: &Op, scope: &Scope) -> Concern {
    let members = scope.member.iter().map(|member| member.id).collect();
    Concern { members, keys: api_key(op).into_iter().collect(), ..Concern::default() }
}
