//! Budgets in the database. What they count and hold is written by the journal; here are the budgets themselves.

use super::{
    convert::{Blank, Json},
    error::Result,
    shares::PeriodOf,
    tx::{Conn, Tx},
};
use crate::{
    error::Error as Told,
    ids::{BudgetId, InstanceId, MemberId, TeamId},
    ledger::budget::{Budget, BudgetScope, Period},
    money::Credits,
    time::Timestamp,
};

const BUDGET_INSERT: &str = "
    INSERT INTO budgets (id, team, name, scope, subject, period, ceiling, thresholds, reaction, active, version,
                         created_by, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

const BUDGET_FETCH: &str = "SELECT * FROM budgets WHERE id = $1";

const BUDGETS_OF_TEAM: &str = "
    SELECT * FROM budgets
    WHERE team = $1 AND ($2 = '' OR subject = $2 OR subject IN (SELECT id FROM api_keys WHERE member = $2))
      AND id > $3
    ORDER BY id LIMIT $4";

const BUDGETS_MONTHLY: &str = "
    SELECT * FROM budgets WHERE team = $1 AND active AND period = 'monthly' ORDER BY id";

const BUDGETS_COUNT: &str = "SELECT COUNT(*) FROM budgets WHERE team = $1 AND active";

const BUDGET_UPDATE: &str = "
    UPDATE budgets
    SET name = $3, ceiling = $4, thresholds = $5, reaction = $6, active = $7, version = version + 1
    WHERE id = $1 AND version = $2";

const BUDGET_PERIOD_FETCH: &str = "SELECT * FROM budget_periods WHERE budget = $1 AND start_at = $2";

const BUDGET_CHARGED: &str = "
    SELECT CAST(COALESCE(SUM(c.amount), 0) AS BIGINT) FROM charges c
    WHERE c.team = $1 AND ($2 = '' OR c.member = $2)
      AND ($3 = '' OR c.segment IN (SELECT id FROM segments WHERE api_key = $3))
      AND c.from_at >= $4 AND c.from_at < $5";

const HOLDS_OPEN_OF_TEAM: &str = "
    SELECT instance, member FROM holds WHERE team = $1 AND state = 'open' ORDER BY id";

const LENT_TO_TEAM: &str = "
    SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM lots
    WHERE team = $1 AND category = 'lent' AND parent IS NULL";

impl Conn {
    /// All that the operator has ever lent the team.
    pub async fn lent_to_team(&mut self, team: TeamId) -> Result<Credits> {
        Ok(self.query(LENT_TO_TEAM).bind(team).one::<(Credits,)>().await?.0)
    }

    /// A budget.
    pub async fn budget_fetch(&mut self, id: BudgetId) -> Result<Option<Budget>> {
        self.query(BUDGET_FETCH).bind(id).optional().await
    }

    /// Budgets of the team with ids above `after`: all of them, or those of one member and the member's keys.
    pub async fn budgets_page(
        &mut self,
        team: TeamId,
        owner: Option<MemberId>,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Budget>> {
        let query = self.query(BUDGETS_OF_TEAM).bind(team).bind(Blank(owner));
        query.bind(after).bind(limit).all().await
    }

    /// The active monthly budgets of the team.
    pub async fn budgets_monthly(&mut self, team: TeamId) -> Result<Vec<Budget>> {
        self.query(BUDGETS_MONTHLY).bind(team).all().await
    }

    /// How many active budgets the team has.
    pub async fn budgets_count(&mut self, team: TeamId) -> Result<u32> {
        Ok(self.query(BUDGETS_COUNT).bind(team).one::<(u32,)>().await?.0)
    }

    /// What was used of a budget in the period that begins at `start_at`; `None` before anything was.
    pub async fn budget_period_fetch(
        &mut self,
        budget: BudgetId,
        start_at: Timestamp,
    ) -> Result<Option<Period>> {
        let found = self.query(BUDGET_PERIOD_FETCH).bind(budget).bind(start_at);
        Ok(found.optional::<PeriodOf>().await?.map(|PeriodOf(_, period)| period))
    }

    /// The sum of the charges that a budget counts and that begin in `period`.
    pub async fn budget_charged(&mut self, budget: &Budget, period: &Period) -> Result<Credits> {
        let (member, key) = match budget.scope {
            BudgetScope::Team => ("", ""),
            BudgetScope::Member => (budget.subject.as_str(), ""),
            BudgetScope::ApiKey => ("", budget.subject.as_str()),
        };
        let end_at = period.end_at.unwrap_or(Timestamp::from_micros(i64::MAX));
        let query = self.query(BUDGET_CHARGED).bind(budget.team).bind(member).bind(key);
        Ok(query.bind(period.start_at).bind(end_at).one::<(Credits,)>().await?.0)
    }

    /// The instances of the team with an open hold, and whose they are.
    pub async fn holds_open_of_team(&mut self, team: TeamId) -> Result<Vec<(InstanceId, MemberId)>> {
        self.query(HOLDS_OPEN_OF_TEAM).bind(team).all().await
    }
}

impl Tx {
    /// Writes a new budget; its name must be free in the team.
    pub async fn budget_insert(&mut self, budget: &Budget) -> Result<()> {
        let insert = self.query(BUDGET_INSERT).or_conflict(name_taken);
        let insert = insert.bind(budget.id).bind(budget.team).bind(&budget.name).bind(budget.scope);
        let insert = insert.bind(&budget.subject).bind(budget.period).bind(budget.ceiling);
        let insert = insert.bind(Json(&budget.thresholds)).bind(budget.reaction).bind(budget.active);
        let insert = insert.bind(budget.version).bind(&budget.created_by).bind(budget.created_at);
        insert.execute().await.map(drop)
    }

    /// Writes a changed budget, if it is still at its version; whether it was.
    pub async fn budget_update(&mut self, budget: &Budget) -> Result<bool> {
        let update = self.query(BUDGET_UPDATE).or_conflict(name_taken);
        let update = update.bind(budget.id).bind(budget.version).bind(&budget.name).bind(budget.ceiling);
        let update = update.bind(Json(&budget.thresholds)).bind(budget.reaction).bind(budget.active);
        Ok(update.execute().await? == 1)
    }
}

fn name_taken() -> Told {
    Told::conflict("name-taken", "the team has a budget with this name; choose another, or change that one")
}
