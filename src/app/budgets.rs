//! Budgets: how much of the money a team, a member or an API key may use up.
//!
//! What a budget counts and binds is the journal's business. Here one is made, shown, changed and ended; whenever one
//! begins to count, what was charged in its present period is counted at once, and open holds claim their part of it.

use serde::{Deserialize, Serialize};

use super::{App, books, gate::Outcome, products::stale};
use crate::{
    error::{Error, Findings, Result},
    ids::{ApiKeyId, BudgetId, MemberId, TeamId},
    ledger::{
        budget::{Budget, BudgetPeriod, BudgetScope, Period, Reaction},
        journal::Journal,
    },
    model::{
        action::Action,
        page::{Items, Page, View},
        team::MemberState,
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{Concern, Conn, Tx},
    time::{TimeZone, Timestamp},
};

/// A budget to make.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBudget {
    /// Its name within the team, 1 to 64 characters.
    pub name: String,
    /// Whose use it counts, for good.
    pub scope: BudgetScope,
    /// The id of the member or API key whose use it counts, for good; left out for the team's.
    #[serde(default)]
    pub subject: Option<String>,
    /// How often it begins anew, for good.
    pub period: BudgetPeriod,
    /// How much may be used up in a period; 0 allows nothing.
    pub ceiling: Credits,
    /// Percentages of the ceiling at which the team is told: at most 5, from 1 to 100, ascending.
    #[serde(default = "thresholds_usual")]
    pub thresholds: Vec<u8>,
    /// What happens when it is used up.
    pub reaction: Reaction,
}

fn thresholds_usual() -> Vec<u8> {
    vec![80, 100]
}

/// A change of a budget; what is absent stays.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetChange {
    /// Its name within the team, 1 to 64 characters.
    pub name: Option<String>,
    /// How much may be used up in a period; 0 allows nothing.
    pub ceiling: Option<Credits>,
    /// Percentages of the ceiling at which the team is told: at most 5, from 1 to 100, ascending.
    pub thresholds: Option<Vec<u8>>,
    /// What happens when it is used up.
    pub reaction: Option<Reaction>,
    /// Whether it counts. One that counts again has counted what was charged meanwhile.
    pub active: Option<bool>,
}

/// A budget.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct BudgetView {
    /// Its id.
    pub id: BudgetId,
    /// Its name within the team.
    pub name: String,
    /// Whose use it counts.
    pub scope: BudgetScope,
    /// The id of the team, member or API key.
    pub subject: String,
    /// How often it begins anew.
    pub period: BudgetPeriod,
    /// How much may be used up in a period.
    pub ceiling: Credits,
    /// Percentages of the ceiling at which the team is told.
    pub thresholds: Vec<u8>,
    /// What happens when it is used up.
    pub reaction: Reaction,
    /// Whether it counts.
    pub active: bool,
    /// Its present period.
    pub present: BudgetUse,
    /// Raised by every change; the ETag is made of it.
    pub version: i64,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What was used up of a budget in its present period.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct BudgetUse {
    /// When the period began.
    pub starts_at: Timestamp,
    /// When the next begins; `null`: never.
    pub resets_at: Option<Timestamp>,
    /// What was charged.
    pub spent: Credits,
    /// What is set aside for what runs.
    pub reserved: Credits,
    /// The rest; never below 0.
    pub left: Credits,
    /// How much of the ceiling was charged, in whole percent; 255 at the most.
    pub percent: u8,
}

impl BudgetView {
    fn of(budget: Budget, period: &Period) -> Result<Self> {
        let present = BudgetUse {
            starts_at: period.start_at,
            resets_at: period.end_at,
            spent: period.spent,
            reserved: period.reserved,
            left: budget.left(period)?,
            percent: budget.percent_spent(period),
        };
        Ok(Self {
            id: budget.id,
            name: budget.name,
            scope: budget.scope,
            subject: budget.subject,
            period: budget.period,
            ceiling: budget.ceiling,
            thresholds: budget.thresholds,
            reaction: budget.reaction,
            active: budget.active,
            present,
            version: budget.version,
            created_by: budget.created_by,
            created_at: budget.created_at,
        })
    }
}

/// The most active budgets of one team: each charge and each launch is held against them.
const MOST_BUDGETS: u32 = 200;
/// The most thresholds of one budget.
const MOST_THRESHOLDS: usize = 5;

fn check(name: &str, ceiling: Credits, thresholds: &[u8]) -> Result<()> {
    let mut findings = Findings::new();
    findings.text(name, "/name", 1, 64);
    let fine = (Credits::ZERO..=books::MOST).contains(&ceiling);
    findings.check(fine, "/ceiling", format!("0 to {} credits, got {ceiling}", books::MOST));
    let few = thresholds.len() <= MOST_THRESHOLDS;
    findings.check(few, "/thresholds", format!("at most {MOST_THRESHOLDS} percentages"));
    let ascending = thresholds.iter().all(|percent| (1..=100).contains(percent))
        && thresholds.iter().zip(thresholds.iter().skip(1)).all(|(one, next)| one < next);
    findings.check(ascending, "/thresholds", "percentages from 1 to 100, ascending, such as [50, 80, 100]");
    findings.done()
}

/// Which member or key a new budget is about.
async fn subject_of(
    conn: &mut Conn,
    team: TeamId,
    scope: BudgetScope,
    named: Option<&str>,
) -> Result<String> {
    let (known, wanted) = match scope {
        BudgetScope::Team => {
            let own = team.to_string();
            (named.is_none_or(|named| named == own).then_some(own), "nothing: this budget is the team's")
        }
        BudgetScope::Member => {
            let id = named.and_then(|named| named.parse().ok());
            let member = match id {
                Some(id) => conn.member_fetch(id).await?,
                None => None,
            };
            let member = member.filter(|row| row.team == team && row.state != MemberState::Removed);
            (member.map(|row| row.id.to_string()), "the id of a member of this team")
        }
        BudgetScope::ApiKey => {
            let id = named.and_then(|named| named.parse().ok());
            let key = match id {
                Some(id) => conn.api_key_fetch(id).await?,
                None => None,
            };
            let key = key.filter(|row| row.team == team && row.revoked_at.is_none());
            (key.map(|row| row.id.to_string()), "the id of an API key of this team that is in use")
        }
    };
    known.ok_or_else(|| Error::field("/subject", wanted))
}

/// The budget, and what a decision about it is about: whose it is.
async fn budget_in(conn: &mut Conn, team: TeamId, id: BudgetId) -> Result<(Budget, Resource)> {
    let found = conn.budget_fetch(id).await?.filter(|budget| budget.team == team);
    let budget = found.ok_or_else(|| Error::not_found("budget"))?;
    let owner: Option<MemberId> = match budget.scope {
        BudgetScope::Team => None,
        BudgetScope::Member => budget.subject.parse().ok(),
        BudgetScope::ApiKey => match budget.subject.parse() {
            Ok(key) => conn.api_key_fetch(key).await?.map(|key| key.member),
            Err(_) => None,
        },
    };
    Ok((budget, Resource::Record { team, owner }))
}

async fn view_of(conn: &mut Conn, op: &Op, zone: &TimeZone, budget: Budget) -> Result<BudgetView> {
    let fresh = budget.period_at(op.now(), zone);
    let period = conn.budget_period_fetch(budget.id, fresh.start_at).await?.unwrap_or(fresh);
    BudgetView::of(budget, &period)
}

impl App {
    /// Makes a budget. It counts its whole present period, also what was charged before.
    pub async fn budget_create(&self, op: &Op, team: &str, new: NewBudget) -> Result<BudgetView> {
        check(&new.name, new.ceiling, &new.thresholds)?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let team = scope.team.id;
        tx.team_lock(team).await?;
        let (mut tx, permit) = self
            .permit(op, tx, &scope.asker, Action::CreateBudget, Resource::team(team), Facts::default())
            .await?;
        let budget = Budget {
            id: op.id(),
            team,
            name: new.name,
            scope: new.scope,
            subject: subject_of(&mut tx, team, new.scope, new.subject.as_deref()).await?,
            period: new.period,
            ceiling: new.ceiling,
            thresholds: new.thresholds,
            reaction: new.reaction,
            active: true,
            version: 1,
            created_by: op.actor.name(),
            created_at: op.now(),
        };
        if tx.budgets_count(team).await? >= MOST_BUDGETS {
            let told =
                format!("a team can have {MOST_BUDGETS} active budgets; end those that no longer matter");
            return Err(Error::conflict("too-many", told));
        }
        tx.budget_insert(&budget).await?;
        let journal = self.budgets_recount(op, &mut tx, team, std::slice::from_ref(&budget)).await?;
        let view = BudgetView::of(budget.clone(), &journal.budget_period(budget.id, op.now())?)?;
        let outcome = Outcome {
            team: team.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({
                "name": view.name, "scope": view.scope, "subject": view.subject, "ceiling": view.ceiling,
                "reaction": view.reaction,
            }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// The team's budgets, the oldest first: with `view=self` those of the caller and of the caller's keys.
    pub async fn budgets_page(
        &self,
        op: &Op,
        team: &str,
        view: View,
        page: &Page,
    ) -> Result<Items<BudgetView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let (team, owner) = (scope.team.id, scope.whose(view, None)?);
        let resource = Resource::Record { team, owner };
        self.look(op, &scope.asker, Action::ListBudgets, resource, Facts::default()).await?;
        let rows = read.budgets_page(team, owner, page.after(), limit + 1).await?;
        let rows = Items::cut(rows, limit, |row| row.id.to_string());
        let mut items = Vec::with_capacity(rows.items.len());
        for budget in rows.items {
            items.push(view_of(&mut read, op, &scope.team.terms.time_zone, budget).await?);
        }
        Ok(Items { items, next_cursor: rows.next_cursor })
    }

    /// One budget.
    pub async fn budget_fetch(&self, op: &Op, team: &str, id: BudgetId) -> Result<BudgetView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let (budget, resource) = budget_in(&mut read, scope.team.id, id).await?;
        self.look(op, &scope.asker, Action::GetBudget, resource, Facts::default()).await?;
        view_of(&mut read, op, &scope.team.terms.time_zone, budget).await
    }

    /// Changes a budget, if it is still at the expected version.
    pub async fn budget_update(
        &self,
        op: &Op,
        team: &str,
        id: BudgetId,
        expected: i64,
        change: BudgetChange,
    ) -> Result<BudgetView> {
        self.budget_change(op, team, id, Action::UpdateBudget, Some(expected), change).await
    }

    /// Ends a budget: it counts and binds no longer, and can be made to count again.
    pub async fn budget_end(&self, op: &Op, team: &str, id: BudgetId) -> Result<()> {
        let change = BudgetChange { active: Some(false), ..BudgetChange::default() };
        self.budget_change(op, team, id, Action::EndBudget, None, change).await.map(drop)
    }

    async fn budget_change(
        &self,
        op: &Op,
        team: &str,
        id: BudgetId,
        action: Action,
        expected: Option<i64>,
        change: BudgetChange,
    ) -> Result<BudgetView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let team = scope.team.id;
        tx.team_lock(team).await?;
        let (mut budget, resource) = budget_in(&mut tx, team, id).await?;
        let (mut tx, permit) = self.permit(op, tx, &scope.asker, action, resource, Facts::default()).await?;
        let was_active = budget.active;
        budget.name = change.name.unwrap_or(budget.name);
        budget.ceiling = change.ceiling.unwrap_or(budget.ceiling);
        budget.thresholds = change.thresholds.unwrap_or(budget.thresholds);
        budget.reaction = change.reaction.unwrap_or(budget.reaction);
        budget.active = change.active.unwrap_or(budget.active);
        check(&budget.name, budget.ceiling, &budget.thresholds)?;
        budget.version = expected.unwrap_or(budget.version);
        if !tx.budget_update(&budget).await? {
            return Err(stale());
        }
        budget.version += 1;
        if was_active || budget.active {
            let counting = if budget.active { std::slice::from_ref(&budget) } else { &[] };
            self.budgets_recount(op, &mut tx, team, counting).await?;
        }
        let view = view_of(&mut tx, op, &scope.team.terms.time_zone, budget).await?;
        let outcome = Outcome {
            team: team.to_string(),
            target: id.to_string(),
            document: serde_json::json!({
                "name": view.name, "ceiling": view.ceiling, "thresholds": view.thresholds,
                "reaction": view.reaction, "active": view.active,
            }),
            status: if action == Action::EndBudget { 204 } else { 200 },
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// Counts anew what was charged in the periods of these budgets, makes every open hold of the team claim
    /// its part of those that are active now, and tells of thresholds that are passed. The budgets are to be written
    /// before.
    pub(crate) async fn budgets_recount(
        &self,
        op: &Op,
        tx: &mut Tx,
        team: TeamId,
        budgets: &[Budget],
    ) -> Result<Journal> {
        let (now, mut concern) = (op.now(), Concern::default());
        for (instance, member) in tx.holds_open_of_team(team).await? {
            concern.instances.push(instance);
            concern.members.push(member);
        }
        for budget in budgets {
            match budget.scope {
                BudgetScope::Team => {}
                BudgetScope::Member => concern.members.extend(budget.subject.parse::<MemberId>()),
                BudgetScope::ApiKey => concern.keys.extend(budget.subject.parse::<ApiKeyId>()),
            }
        }
        concern.members.sort_unstable();
        concern.members.dedup();
        let mut journal = tx.journal(op, team, &concern).await?;
        for budget in budgets {
            let zone = journal.team().terms.time_zone.clone();
            let present = budget.period_at(now, &zone).start_at;
            for begin in journal.budget_begins(budget.id, now)? {
                let charged = tx.budget_charged(budget, &budget.period_at(begin, &zone)).await?;
                journal.budget_recount(budget.id, charged, begin)?;
                if begin != present {
                    // What is over is no news any more.
                    journal.budget_told(budget.id, begin, u8::MAX);
                }
            }
        }
        journal.claims_renew(now)?;
        self.budgets_tell(op, tx, &mut journal).await?;
        tx.journal_write(&journal).await?;
        Ok(journal)
    }
}
