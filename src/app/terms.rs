//! A team's terms of money, and how much the operator lends it.

use serde::{Deserialize, Serialize};

use super::{
    App, books,
    gate::{Outcome, team_named},
    products::stale,
};
use crate::{
    error::{Error, Findings, Result},
    model::{
        action::Action,
        team::Spending,
        terms::{BillingStart, Exhaustion, TeamTerms},
    },
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{Concern, Conn, identity::TeamRow},
    time::{SECOND, Span, TimeZone},
};

/// Terms to put in the place of a team's; what is absent gets its default.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTerms {
    /// Whose money a launch spends. What runs goes on with the money that it began with.
    pub spending: Spending,
    /// The time zone of the team's months and days, such as `Europe/Berlin`; UTC unless told. When it changes, monthly
    /// budgets count the month anew.
    #[serde(default = "utc")]
    pub time_zone: TimeZone,
    /// When the time of an instance begins to cost; `running` unless told.
    #[serde(default = "running")]
    pub billing_starts: BillingStart,
    /// What happens when credits run out; `snapshot_stop` unless told.
    #[serde(default = "snapshot_stop")]
    pub exhaustion: Exhaustion,
    /// How long instances are paid ahead, 10 to 1440 minutes: the time between the first warning and the stop. Absent:
    /// as the site has it.
    #[serde(default)]
    pub runway_minutes: Option<u32>,
    /// How long an instance goes on after the first warning, in minutes, at most the runway; it never goes on unpaid.
    /// Absent: for as long as it is paid ahead.
    #[serde(default)]
    pub grace_minutes: Option<u32>,
}

const fn utc() -> TimeZone {
    TimeZone::UTC
}

const fn running() -> BillingStart {
    BillingStart::Running
}

const fn snapshot_stop() -> Exhaustion {
    Exhaustion::SnapshotStop
}

/// A team's terms of money.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct TermsView {
    /// Whose money a launch spends.
    pub spending: Spending,
    /// The time zone of the team's months and days.
    pub time_zone: TimeZone,
    /// When the time of an instance begins to cost.
    pub billing_starts: BillingStart,
    /// What happens when credits run out.
    pub exhaustion: Exhaustion,
    /// How long instances are paid ahead, in minutes; `null`: as the site has it.
    pub runway_minutes: Option<u32>,
    /// How long an instance goes on after the first warning, in minutes; `null`: for as long as it is paid ahead.
    pub grace_minutes: Option<u32>,
    /// How much the operator lends at the most.
    pub credit_limit: Credits,
    /// What the team owes.
    pub owed: Credits,
    /// The team's version, raised by every change; the ETag is made of it.
    pub version: i64,
}

/// How much a team may borrow.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCreditLimit {
    /// The most that the operator lends, 0 for nothing; not below what is lent already.
    pub credit_limit: Credits,
}

impl App {
    /// A team's terms of money.
    pub async fn terms_fetch(&self, op: &Op, team: &str) -> Result<TermsView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::GetTeamTerms, resource, Facts::default()).await?;
        terms_of(op, &mut read, scope.team).await
    }

    /// Puts other terms in the place of a team's, if the team is still at the expected version.
    ///
    /// A month of another time zone is another period. So a change of the zone counts the present month of every
    /// monthly budget anew, from the charges themselves: no budget forgets what was used, and none needs to wait.
    pub async fn terms_put(&self, op: &Op, team: &str, expected: i64, new: NewTerms) -> Result<TermsView> {
        self.terms_check(&new)?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let mut row = scope.team;
        tx.team_lock(row.id).await?;
        let resource = Resource::team(row.id);
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::PutTeamTerms, resource, Facts::default()).await?;
        let terms = TeamTerms {
            time_zone: new.time_zone,
            billing_starts: new.billing_starts,
            exhaustion: new.exhaustion,
            runway_minutes: new.runway_minutes,
            grace_minutes: new.grace_minutes,
        };
        if !tx.team_terms_put(row.id, expected, &terms, new.spending).await? {
            return Err(stale());
        }
        row.version = expected + 1;
        row.spending = new.spending;
        let before = std::mem::replace(&mut row.terms, terms);
        if before.time_zone != row.terms.time_zone {
            let monthly = tx.budgets_monthly(row.id).await?;
            self.budgets_recount(op, &mut tx, row.id, &monthly).await?;
        }
        let view = terms_of(op, &mut tx, row.clone()).await?;
        let outcome = Outcome {
            team: row.id.to_string(),
            target: row.id.to_string(),
            document: serde_json::json!({
                "spending": view.spending, "terms": row.terms, "terms_before": before,
            }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    fn terms_check(&self, new: &NewTerms) -> Result<()> {
        let mut findings = Findings::new();
        if let Some(minutes) = new.runway_minutes {
            let fine = (10..=1440).contains(&minutes);
            findings.check(fine, "/runway_minutes", format!("10 to 1440, got {minutes}"));
            let least = self.settings.runway_least;
            let long = Span::from_seconds(i64::from(minutes) * 60) >= least;
            let seconds = least.as_micros() / SECOND;
            let told = format!("at least {seconds} seconds: this site's meter would come too late otherwise");
            findings.check(!fine || long, "/runway_minutes", told);
        }
        if let Some(minutes) = new.grace_minutes {
            let own = new.runway_minutes.map(i64::from);
            let runway = own.unwrap_or(self.settings.runway.as_micros() / SECOND / 60);
            let told = format!("1 to the runway of {runway} minutes, which is paid ahead; got {minutes}");
            findings.check((1..=runway).contains(&i64::from(minutes)), "/grace_minutes", told);
        }
        findings.done()
    }

    /// Says how much the operator lends a team at the most.
    pub async fn credit_limit_put(&self, op: &Op, team: &str, new: NewCreditLimit) -> Result<TermsView> {
        let mut findings = Findings::new();
        let fine = (Credits::ZERO..=books::MOST).contains(&new.credit_limit);
        findings.check(fine, "/credit_limit", format!("0 to {} credits", books::MOST));
        findings.done()?;
        let mut tx = self.begin(op).await?;
        let asker = self.visitor(op, &mut tx).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &asker, Action::PutTeamCreditLimit, Resource::Site, Facts::default()).await?;
        let team = team_named(&mut tx, team).await?.id;
        let journal = tx.journal(op, team, &Concern::default()).await?;
        let mut row = tx.team_fetch(team).await?.ok_or_else(|| Error::not_found("team"))?;
        // What is owed is lent, or is use that nobody paid: only the first came of this limit.
        let lent = tx.lent_to_team(row.id).await?.min(journal.owed()?);
        if new.credit_limit < lent {
            let told = format!(
                "at least {lent} credits, which the team owes from loans; let it pay them back first"
            );
            return Err(Error::field("/credit_limit", told));
        }
        tx.team_credit_limit_put(row.id, new.credit_limit).await?;
        let before = std::mem::replace(&mut row.credit_limit, new.credit_limit);
        let row = TeamRow { version: row.version + 1, ..row };
        let view = terms_of(op, &mut tx, row.clone()).await?;
        let outcome = Outcome {
            team: row.id.to_string(),
            target: row.id.to_string(),
            document: serde_json::json!({ "credit_limit": view.credit_limit, "credit_limit_before": before }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }
}

async fn terms_of(op: &Op, conn: &mut Conn, row: TeamRow) -> Result<TermsView> {
    let owed = conn.journal_look(op, row.id, &Concern::default()).await?.owed()?;
    Ok(TermsView {
        spending: row.spending,
        time_zone: row.terms.time_zone,
        billing_starts: row.terms.billing_starts,
        exhaustion: row.terms.exhaustion,
        runway_minutes: row.terms.runway_minutes,
        grace_minutes: row.terms.grace_minutes,
        credit_limit: row.credit_limit,
        owed,
        version: row.version,
    })
}
