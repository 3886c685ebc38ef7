//! Automatic top-ups: when the team's pool runs low, the server asks for a payment by itself, within the caps that
//! the team has set.
//!
//! One is in flight at a time, failures make it wait, and after the fifth in a row it switches itself off.

use serde::{Deserialize, Serialize};

use super::{App, books::MOST, gate::Outcome, products::stale, top_ups::NewTopUp};
use crate::{
    error::{Error, Findings, Result},
    ids::TeamId,
    ledger::{account::AccountKind, top_up::TopUp},
    model::action::Action,
    money::Credits,
    op::Op,
    policy::{Facts, Resource},
    store::{self, Concern, Conn, Tx, auto_top_ups::AutoTopUpRow},
    time::{HOUR, Span, Timestamp},
};

/// Failures in a row after which it switches itself off.
const MOST_FAILURES: u32 = 5;
/// The wait after the first failure; every further one doubles it.
const FIRST_WAIT: Span = Span::from_micros(HOUR);
/// The longest gap that can be asked for: a month.
const LONGEST_GAP_SECONDS: u32 = 31 * 86_400;
/// Settings that are read at once.
const PAGE: u32 = 200;

/// When and how the team's pool is filled up by itself.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoTopUpSetting {
    /// Whether it is.
    #[serde(default = "on")]
    pub active: bool,
    /// Below this, top-ups in flight counted in, the pool runs low.
    pub threshold: Credits,
    /// What it is filled up to; above the threshold.
    pub target: Credits,
    /// Who takes the payments; with `manual` the operator gets a request.
    pub provider: String,
    /// The most in a day of the team's time zone.
    pub day_cap: Credits,
    /// The most in a month of the team's time zone.
    pub month_cap: Credits,
    /// The least time between two, in seconds; unless told 300.
    #[serde(default = "gap")]
    pub min_gap_seconds: u32,
}

fn on() -> bool {
    true
}

fn gap() -> u32 {
    300
}

/// When and how the team's pool is filled up by itself, and how that has gone of late.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AutoTopUpView {
    /// Whether it is.
    pub active: bool,
    /// Below this, top-ups in flight counted in, the pool runs low.
    pub threshold: Credits,
    /// What it is filled up to.
    pub target: Credits,
    /// Who takes the payments.
    pub provider: String,
    /// The most in a day of the team's time zone.
    pub day_cap: Credits,
    /// The most in a month of the team's time zone.
    pub month_cap: Credits,
    /// The least time between two, in seconds.
    pub min_gap_seconds: u32,
    /// Payments that failed in a row.
    pub failures: u32,
    /// After failures: no further one before this.
    pub waits_until: Option<Timestamp>,
    /// Its version, for `If-Match`.
    pub version: i64,
}

impl From<AutoTopUpRow> for AutoTopUpView {
    fn from(row: AutoTopUpRow) -> Self {
        Self {
            active: row.active,
            threshold: row.threshold,
            target: row.target,
            provider: row.provider,
            day_cap: row.day_cap,
            month_cap: row.month_cap,
            min_gap_seconds: row.min_gap_seconds,
            failures: row.failures,
            waits_until: (row.failures > 0).then_some(row.next_at),
            version: row.version,
        }
    }
}

impl App {
    fn auto_top_up_check(&self, setting: &AutoTopUpSetting) -> Result<()> {
        let mut findings = Findings::new();
        findings.check(setting.threshold >= Credits::ZERO, "/threshold", "0 or more");
        let above = "more than the threshold";
        findings.check(setting.target > setting.threshold, "/target", above);
        for (amount, pointer) in
            [(setting.target, "/target"), (setting.day_cap, "/day_cap"), (setting.month_cap, "/month_cap")]
        {
            findings.check(amount <= MOST, pointer, format!("at most {MOST}"));
        }
        findings.positive(setting.day_cap, "/day_cap");
        findings.positive(setting.month_cap, "/month_cap");
        let long = format!("at most {LONGEST_GAP_SECONDS}");
        findings.check(setting.min_gap_seconds <= LONGEST_GAP_SECONDS, "/min_gap_seconds", long);
        self.providers.check(&setting.provider, &mut findings);
        findings.done()
    }

    /// How the team's pool is filled up by itself.
    pub async fn auto_top_up_fetch(&self, op: &Op, team: &str) -> Result<AutoTopUpView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::GetAutoTopUp, resource, Facts::default()).await?;
        let row = read.auto_top_up_fetch(scope.team.id).await?;
        row.map(AutoTopUpView::from).ok_or_else(|| Error::not_found("automatic top-up"))
    }

    /// Sets how the team's pool is filled up by itself, in the place of the version that was read; version 0 says that
    /// there was none. Earlier failures are forgotten.
    pub async fn auto_top_up_put(
        &self,
        op: &Op,
        team: &str,
        expected: i64,
        setting: AutoTopUpSetting,
    ) -> Result<AutoTopUpView> {
        self.auto_top_up_check(&setting)?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let team = scope.team.id;
        let resource = Resource::team(team);
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::PutAutoTopUp, resource, Facts::default()).await?;
        let row = AutoTopUpRow {
            team,
            active: setting.active,
            threshold: setting.threshold,
            target: setting.target,
            provider: setting.provider,
            day_cap: setting.day_cap,
            month_cap: setting.month_cap,
            min_gap_seconds: setting.min_gap_seconds,
            failures: 0,
            next_at: Timestamp::from_micros(0),
            version: expected + 1,
        };
        if !tx.auto_top_up_put(&row, expected).await? {
            return Err(stale());
        }
        let view = AutoTopUpView::from(row);
        let outcome = Outcome {
            team: team.to_string(),
            target: team.to_string(),
            document: serde_json::json!({ "setting": view }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// Fills the team's pool up by itself no more. What is in flight stays.
    pub async fn auto_top_up_remove(&self, op: &Op, team: &str, expected: i64) -> Result<()> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let team = scope.team.id;
        let resource = Resource::team(team);
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::RemoveAutoTopUp, resource, Facts::default()).await?;
        if !tx.auto_top_up_delete(team, expected).await? {
            let there = tx.auto_top_up_fetch(team).await?.is_some();
            return Err(if there { stale() } else { Error::not_found("automatic top-up") });
        }
        let outcome = Outcome {
            team: team.to_string(),
            target: team.to_string(),
            document: serde_json::json!({}),
            status: 204,
            answer: &(),
        };
        self.conclude(op, tx, &permit, outcome).await
    }

    /// Asks for a payment for every team whose pool runs low.
    pub(crate) async fn auto_top_ups_ask(&self, op: &Op) -> Result<()> {
        let mut after = String::new();
        loop {
            let page = self.db.glance().await?.auto_top_ups_due(op.now(), &after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.team.to_string();
            for row in page {
                let team = row.team;
                if let Err(error) = self.auto_top_up_ask(op, row).await {
                    tracing::error!(%team, ?error, "a pool could not be filled up");
                }
            }
        }
    }

    async fn auto_top_up_ask(&self, op: &Op, row: AutoTopUpRow) -> Result<()> {
        let mut read = self.db.read().await?;
        let low = lacking(op, &mut read, &row).await?;
        drop(read);
        if low.is_none() {
            return Ok(());
        }
        let mut tx = self.db.begin().await?;
        tx.team_lock(row.team).await?;
        let row = tx.auto_top_up_fetch(row.team).await?.filter(|row| row.active && row.next_at <= op.now());
        let Some(row) = row else { return Ok(()) };
        let Some(amount) = lacking(op, &mut tx, &row).await? else { return Ok(()) };
        let note = "the pool ran low".to_owned();
        let new = NewTopUp { amount, provider: row.provider.clone(), note };
        let top_up = TopUp { automatic: true, ..self.top_up_new(op, row.team, new) };
        match tx.top_up_insert(&top_up).await {
            // One is in flight: its fate decides what comes next.
            Err(store::Error::Unique(_)) => return Ok(()),
            inserted => inserted?,
        }
        let document = serde_json::json!({ "amount": amount, "provider": top_up.provider });
        let (team, target) = (row.team.to_string(), top_up.id.to_string());
        self.tell(op, &mut tx, &team, "auto_top_up.asked", &target, document).await?;
        self.system_commit(op, tx).await
    }

    /// Makes the next automatic top-up wait after one has failed, and switches them off after too many.
    pub(crate) async fn auto_top_up_failed(&self, op: &Op, tx: &mut Tx, team: TeamId) -> Result<()> {
        let Some(row) = tx.auto_top_up_fetch(team).await? else { return Ok(()) };
        let failures = row.failures.saturating_add(1);
        let wait = FIRST_WAIT.as_micros() << failures.saturating_sub(1).min(MOST_FAILURES);
        let active = row.active && failures < MOST_FAILURES;
        tx.auto_top_up_failed(team, failures, op.now() + Span::from_micros(wait), active).await?;
        if row.active && !active {
            let document = serde_json::json!({ "failures": failures, "provider": row.provider });
            let team = team.to_string();
            self.tell(op, tx, &team, "auto_top_up.switched_off", &team, document).await?;
        }
        Ok(())
    }
}

/// How much is to be asked for now; `None`: the pool is full enough, or a cap or the gap is in the way.
async fn lacking(op: &Op, conn: &mut Conn, row: &AutoTopUpRow) -> Result<Option<Credits>> {
    let (team, now) = (row.team, op.now());
    let journal = conn.journal_look(op, team, &Concern::default()).await?;
    let pool = journal.spendable(journal.own(AccountKind::TeamPool)?, now)?;
    let have = pool.plus(conn.top_ups_in_flight(team).await?)?;
    if have >= row.threshold {
        return Ok(None);
    }
    let gap = Span::from_seconds(i64::from(row.min_gap_seconds));
    let last = conn.top_up_automatic_last(team).await?;
    if last.is_some_and(|last| last + gap > now) {
        return Ok(None);
    }
    let zone = &journal.team().terms.time_zone;
    let today = conn.top_ups_automatic(team, zone.day_at(now)).await?;
    let this_month = conn.top_ups_automatic(team, zone.month_at(now).start_at).await?;
    let amount = row.target.minus(have)?.min(row.day_cap.minus(today)?).min(row.month_cap.minus(this_month)?);
    Ok(amount.is_positive().then_some(amount))
}
