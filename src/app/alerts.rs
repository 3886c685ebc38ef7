//! Alerts: somebody is told when a figure of the team's money crosses a threshold, once for each crossing.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{App, books, gate::Outcome};
use crate::{
    error::{Error, Findings, Result},
    ids::{AccountId, AlertId, BudgetId, MemberId, TeamId},
    ledger::{account::AccountKind, journal::Journal},
    model::{
        action::Action,
        alert::{AlertMetric, Figure, runway_hours},
        page::{Items, Page},
        team::MemberState,
    },
    money::{Credits, MICROS_PER_CREDIT},
    op::Op,
    policy::{Facts, Resource},
    store::{Concern, Conn, alerts::AlertRow},
    time::Timestamp,
};

/// An alert to make.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAlert {
    /// Which figure.
    pub metric: AlertMetric,
    /// For `budget_percent` the budget; for the others the member whose wallet is watched, or nothing for the pool.
    #[serde(default)]
    pub subject: Option<String>,
    /// Credits, hours or percent, by the metric. Balance and runway are told below it, a percentage from it on.
    pub threshold: Figure,
}

/// An alert.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AlertView {
    /// Its id.
    pub id: AlertId,
    /// Which figure.
    pub metric: AlertMetric,
    /// The budget, or the member whose wallet is watched; `null` for the pool.
    pub subject: Option<String>,
    /// Credits, hours or percent, by the metric.
    pub threshold: Figure,
    /// Whether the figure was on the good side when it was last looked at.
    pub armed: bool,
    /// When it fired last.
    pub fired_at: Option<Timestamp>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl From<AlertRow> for AlertView {
    fn from(row: AlertRow) -> Self {
        Self {
            id: row.id,
            metric: row.metric,
            subject: Some(row.subject).filter(|subject| !subject.is_empty()),
            threshold: row.threshold,
            armed: row.armed,
            fired_at: row.fired_at,
            created_by: row.created_by,
            created_at: row.created_at,
        }
    }
}

/// The most alerts of one team: all are looked at after each pass of the meter.
const MOST_ALERTS: u32 = 50;

const fn whole(number: i64) -> Figure {
    Figure::from_micros(number * MICROS_PER_CREDIT)
}

fn check(new: &NewAlert) -> Result<()> {
    let (least, most, unit) = match new.metric {
        AlertMetric::Balance => (Figure::ZERO, books::MOST, "credits"),
        AlertMetric::RunwayHours => (Figure::ZERO, whole(8_760), "hours"),
        AlertMetric::BudgetPercent => (whole(1), whole(100), "percent"),
    };
    let mut findings = Findings::new();
    let fine = (least..=most).contains(&new.threshold);
    findings.check(fine, "/threshold", format!("{least} to {most} {unit}, got {}", new.threshold));
    findings.done()
}

/// What an alert watches, as it is stored: the empty text, a member of the team or a budget of it.
async fn subject_of(conn: &mut Conn, team: TeamId, new: &NewAlert) -> Result<String> {
    let (known, wanted) = match (new.metric, new.subject.as_deref()) {
        (AlertMetric::Balance | AlertMetric::RunwayHours, None) => (Some(String::new()), ""),
        (AlertMetric::Balance | AlertMetric::RunwayHours, Some(named)) => {
            let member = match named.parse() {
                Ok(id) => conn.member_fetch(id).await?,
                Err(_) => None,
            };
            let member = member.filter(|row| row.team == team && row.state != MemberState::Removed);
            (member.map(|row| row.id.to_string()), "the id of a member of this team, or nothing for the pool")
        }
        (AlertMetric::BudgetPercent, named) => {
            let id: Option<BudgetId> = named.and_then(|named| named.parse().ok());
            let budget = match id {
                Some(id) => conn.budget_fetch(id).await?,
                None => None,
            };
            let budget = budget.filter(|budget| budget.team == team);
            (budget.map(|budget| budget.id.to_string()), "the id of a budget of this team")
        }
    };
    known.ok_or_else(|| Error::field("/subject", wanted))
}

impl App {
    /// Makes an alert. When its figure is on the bad side already, it fires at the next look.
    pub async fn alert_create(&self, op: &Op, team: &str, new: NewAlert) -> Result<AlertView> {
        check(&new)?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let team = scope.team.id;
        let owner: Option<MemberId> = new.subject.as_deref().and_then(|subject| subject.parse().ok());
        let resource = Resource::Record { team, owner };
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::CreateAlert, resource, Facts::default()).await?;
        let row = AlertRow {
            id: op.id(),
            team,
            metric: new.metric,
            subject: subject_of(&mut tx, team, &new).await?,
            threshold: new.threshold,
            armed: true,
            fired_at: None,
            version: 1,
            created_by: op.actor.name(),
            created_at: op.now(),
        };
        if tx.alerts_count(team).await? >= MOST_ALERTS {
            let told = format!("a team can have {MOST_ALERTS} alerts; delete those that no longer matter");
            return Err(Error::conflict("too-many", told));
        }
        tx.alert_insert(&row).await?;
        let view = AlertView::from(row);
        let outcome = Outcome {
            team: team.to_string(),
            target: view.id.to_string(),
            document: serde_json::json!({
                "metric": view.metric, "subject": view.subject, "threshold": view.threshold,
            }),
            status: 201,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// The team's alerts, the oldest first.
    pub async fn alerts_page(&self, op: &Op, team: &str, page: &Page) -> Result<Items<AlertView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ListAlerts, resource, Facts::default()).await?;
        let rows = read.alerts_page(scope.team.id, page.after(), limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(AlertView::from))
    }

    /// Takes an alert away.
    pub async fn alert_delete(&self, op: &Op, team: &str, id: AlertId) -> Result<()> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let team = scope.team.id;
        let row = tx.alert_fetch(id).await?.filter(|row| row.team == team);
        let row = row.ok_or_else(|| Error::not_found("alert"))?;
        let resource = Resource::Record { team, owner: row.subject.parse().ok() };
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::DeleteAlert, resource, Facts::default()).await?;
        tx.alert_delete(id).await?;
        let outcome = Outcome {
            team: team.to_string(),
            target: id.to_string(),
            document: serde_json::json!({ "metric": row.metric, "subject": row.subject }),
            status: 204,
            answer: &(),
        };
        self.conclude(op, tx, &permit, outcome).await
    }

    /// Looks at every figure that somebody wants to hear of, and tells of those that crossed their threshold; how many
    /// were told of.
    pub async fn alerts_watch(&self, op: &Op) -> Result<usize> {
        let mut read = self.db.read().await?;
        let teams = read.alert_teams().await?;
        drop(read);
        let mut fired = 0;
        for team in teams {
            match self.alerts_watch_team(op, team).await {
                Ok(count) => fired += count,
                // One team's trouble must not keep the others' alerts from firing; the next pass tries again.
                Err(error) => tracing::error!(%team, ?error, "the alerts of a team could not be looked at"),
            }
        }
        Ok(fired)
    }

    async fn alerts_watch_team(&self, op: &Op, team: TeamId) -> Result<usize> {
        let mut read = self.db.read().await?;
        let alerts = read.alerts_of_team(team).await?;
        let members = alerts.iter().filter_map(|row| row.subject.parse().ok()).collect();
        let concern = Concern { members, ..Concern::default() };
        let journal = read.journal_look(op, team, &concern).await?;
        let costs: HashMap<AccountId, Credits> = read.costs_of_team(team).await?.into_iter().collect();
        let mut crossed = Vec::new();
        for row in alerts {
            let Some(figure) = figure_of(op, &mut read, &journal, &costs, &row).await? else { continue };
            // Armed on the bad side: it fires. Not armed on the good side: it is armed again.
            if row.metric.is_bad(figure, row.threshold) == row.armed {
                crossed.push((row, figure));
            }
        }
        drop(read);
        if crossed.is_empty() {
            return Ok(0);
        }
        let (mut tx, mut fired) = (self.db.begin().await?, 0);
        for (mut row, figure) in crossed {
            row.armed = !row.armed;
            if !row.armed {
                row.fired_at = Some(op.now());
            }
            if !tx.alert_arm(&row).await? || row.armed {
                continue;
            }
            fired += 1;
            let subject = Some(&row.subject).filter(|subject| !subject.is_empty());
            let document = serde_json::json!({
                "alert": row.id, "metric": row.metric, "subject": subject, "threshold": row.threshold,
                "figure": figure,
            });
            self.tell(op, &mut tx, &team.to_string(), "alert.fired", &row.id.to_string(), document).await?;
        }
        self.system_commit(op, tx).await?;
        Ok(fired)
    }
}

/// The figure that an alert watches; `None` when there is none, such as that of a budget that has ended.
async fn figure_of(
    op: &Op,
    conn: &mut Conn,
    journal: &Journal,
    costs: &HashMap<AccountId, Credits>,
    row: &AlertRow,
) -> Result<Option<Figure>> {
    if row.metric == AlertMetric::BudgetPercent {
        let Ok(id) = row.subject.parse() else { return Ok(None) };
        let Some(budget) = conn.budget_fetch(id).await?.filter(|budget| budget.active) else {
            return Ok(None);
        };
        let fresh = budget.period_at(op.now(), &journal.team().terms.time_zone);
        let period = conn.budget_period_fetch(budget.id, fresh.start_at).await?.unwrap_or(fresh);
        return Ok(Some(whole(i64::from(budget.percent_spent(&period)))));
    }
    let account = match row.subject.parse() {
        Ok(member) => journal.wallet(member)?,
        Err(_) => journal.own(AccountKind::TeamPool)?,
    };
    let spendable = journal.spendable(account, op.now())?;
    if row.metric == AlertMetric::Balance {
        return Ok(Some(spendable));
    }
    Ok(Some(runway_hours(spendable, costs.get(&account).copied().unwrap_or(Credits::ZERO))))
}
