//! A candidate for a team's policies that runs beside the live ones for a while: started, looked at, ended. How it is
//! asked is in `shadowing`.
//!
//! Which candidate runs stands in the team's row, as the live version does: every server knows it at the next request.

use serde::{Deserialize, Serialize};

use super::{
    App,
    gate::{Granted, Outcome, Scope},
    policies::draft_check,
};
use crate::{
    error::{Error, Findings, Result},
    ids::DecisionId,
    model::{action::Action, team::Role},
    op::Op,
    policy::{Facts, Resource},
    store::{
        Conn, Tx,
        identity::TeamRow,
        shadows::{DifferenceRow, ShadowRow},
    },
    time::{HOUR, Span, Timestamp},
};

/// A candidate to ask beside the live policies.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewShadow {
    /// The text of all policies that the team would have.
    pub text: String,
    /// For how many hours, 1 to 720; a week unless told.
    #[serde(default)]
    pub hours: Option<u32>,
    /// Why, for whoever looks at what came of it: 1 to 500 characters.
    pub reason: String,
}

/// A candidate and what came of asking it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ShadowView {
    /// Its number within the team.
    pub number: i64,
    /// Whether it is asked now.
    pub running: bool,
    /// The version that was live when it began.
    pub base: i64,
    /// Its text.
    pub text: String,
    /// SHA-256 of the text.
    pub digest: String,
    /// How many policies it has.
    pub policies: i64,
    /// Why it was started.
    pub reason: String,
    /// Who started it.
    pub author: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ends by itself.
    pub ends_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Why it ended: its time was `over`, it was `published`, or it was `stopped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<String>,
    /// Decisions that it was asked about: changes that were made, refusals, and all looks.
    pub asked: i64,
    /// Those that it would refuse and that were allowed.
    pub refused: i64,
    /// Those that it would allow and that were refused.
    pub allowed: i64,
    /// Those that it could not answer. Published, it would refuse them.
    pub failed: i64,
    /// Those that it was not asked about, because there were too many at once.
    pub left_out: i64,
    /// Where it differs, the most frequent first.
    pub differences: Vec<DifferenceView>,
}

/// A kind of decision that the candidate answers otherwise.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct DifferenceView {
    /// The role of those who asked.
    pub role: Role,
    /// The action's operationId.
    pub action: String,
    /// Whether the candidate allows what was refused; else it refuses what was allowed.
    pub allows: bool,
    /// The policies that make the difference: those that decide with the candidate, or where it allows without a word
    /// of its own the live ones that refuse.
    pub policies: Vec<String>,
    /// How many there were.
    pub count: i64,
    /// The first few, as `decisions/{decision}` explains them.
    #[schema(value_type = Vec<String>)]
    pub examples: Vec<DecisionId>,
    /// When there was the first.
    pub first_at: Timestamp,
    /// When there was the last.
    pub last_at: Timestamp,
}

/// The longest time that a candidate runs, and the usual one.
const MOST_HOURS: u32 = 30 * 24;
const USUAL_HOURS: u32 = 7 * 24;
/// Candidates that are kept of a team.
const KEPT: i64 = 20;
impl ShadowView {
    async fn of(conn: &mut Conn, row: ShadowRow) -> Result<Self> {
        let differences = conn.differences_of(row.team, row.number).await?;
        Ok(Self {
            number: row.number,
            running: row.ended_at.is_none(),
            base: row.base,
            text: row.text,
            digest: row.digest,
            policies: row.policies,
            reason: row.reason,
            author: row.author,
            started_at: row.started_at,
            ends_at: row.ends_at,
            ended_at: row.ended_at,
            ending: row.ending,
            asked: row.asked,
            refused: row.refused,
            allowed: row.allowed,
            failed: row.failed,
            left_out: row.left_out,
            differences: differences.into_iter().map(DifferenceView::from).collect(),
        })
    }
}

impl From<DifferenceRow> for DifferenceView {
    fn from(row: DifferenceRow) -> Self {
        let DifferenceRow { role, action, allows, policies, count, examples, first_at, last_at, .. } = row;
        Self { role, action, allows, policies: policies.0, count, examples: examples.0, first_at, last_at }
    }
}

fn none() -> Error {
    Error::not_found("candidate that runs beside the policies")
}

impl App {
    /// Starts a candidate beside the live policies.
    pub async fn shadow_start(&self, op: &Op, team: &str, new: NewShadow) -> Result<ShadowView> {
        let hours = new.hours.unwrap_or(USUAL_HOURS);
        let mut findings = Findings::new();
        findings.text(&new.reason, "/reason", 1, 500);
        let told = format!("1 to {MOST_HOURS} hours, got {hours}");
        findings.check((1..=MOST_HOURS).contains(&hours), "/hours", told);
        findings.done()?;
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        // Asked before anything is worked out: whoever may not start one shall not keep the server busy.
        self.look(op, &scope.asker, Action::StartPolicyShadow, resource.clone(), Facts::default()).await?;
        drop(read);
        let _turn = self.planning.acquire().await.map_err(Error::internal)?;
        let draft = draft_check(&self.policies, scope.team.preset, new.text).await?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::StartPolicyShadow, resource, Facts::default()).await?;
        let team = scope.team.id;
        self.shadow_over(op, &mut tx, &scope).await?;
        let number = tx.shadow_latest(team).await?.map_or(0, |latest| latest.number) + 1;
        if !tx.shadow_point(team, 0, number).await? {
            let told = "a candidate runs beside the policies already; stop it first (`DELETE …/policies:shadow`), or \
                        let it go on to its end";
            return Err(Error::conflict("shadow-running", told));
        }
        let row = ShadowRow {
            team,
            number,
            base: scope.team.policy_version,
            digest: draft.rules.digest().to_owned(),
            text: draft.text,
            policies: i64::try_from(draft.ids.len()).unwrap_or(i64::MAX),
            reason: new.reason,
            author: op.actor.name(),
            started_at: op.now(),
            ends_at: op.now() + Span::from_micros(i64::from(hours) * HOUR),
            ended_at: None,
            ending: None,
            asked: 0,
            refused: 0,
            allowed: 0,
            failed: 0,
            left_out: 0,
        };
        tx.shadow_insert(&row, number - KEPT).await?;
        let (digest, ends_at, reason) = (row.digest.clone(), row.ends_at, row.reason.clone());
        let document = serde_json::json!({ "digest": digest, "ends_at": ends_at, "reason": reason });
        self.shadow_conclude(op, tx, &granted, row, 201, document).await
    }

    /// The candidate that runs, or the last one that did, and what came of it.
    pub async fn shadow_fetch(&self, op: &Op, team: &str) -> Result<ShadowView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::GetPolicyShadow, resource, Facts::default()).await?;
        let row = read.shadow_latest(scope.team.id).await?.ok_or_else(none)?;
        ShadowView::of(&mut read, row).await
    }

    /// Ends the candidate that runs; what came of it stays.
    pub async fn shadow_stop(&self, op: &Op, team: &str) -> Result<ShadowView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let resource = Resource::team(scope.team.id);
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::StopPolicyShadow, resource, Facts::default()).await?;
        let (team, number) = (scope.team.id, scope.team.policy_shadow);
        if number == 0 || !tx.shadow_end(team, number, op.now(), "stopped").await? {
            return Err(none());
        }
        let row = tx.shadow_fetch(team, number).await?.ok_or_else(none)?;
        self.shadow_conclude(op, tx, &granted, row, 200, serde_json::json!({})).await
    }

    async fn shadow_conclude(
        &self,
        op: &Op,
        mut tx: Tx,
        granted: &Granted,
        row: ShadowRow,
        status: u16,
        document: serde_json::Value,
    ) -> Result<ShadowView> {
        let (team, target) = (row.team.to_string(), format!("policies@shadow-{}", row.number));
        let view = ShadowView::of(&mut tx, row).await?;
        self.conclude(op, tx, granted, Outcome { team, target, document, status, answer: &view }).await?;
        Ok(view)
    }

    /// Ends the team's candidate if the text that was published now is its own.
    pub(super) async fn shadow_published(
        &self,
        op: &Op,
        tx: &mut Tx,
        team: &TeamRow,
        digest: &str,
    ) -> Result<()> {
        if team.policy_shadow == 0 {
            return Ok(());
        }
        let running = tx.shadow_fetch(team.id, team.policy_shadow).await?;
        if running.is_some_and(|running| running.digest == digest) {
            tx.shadow_end(team.id, team.policy_shadow, op.now(), "published").await?;
        }
        Ok(())
    }

    /// Ends the team's candidate if its time is over and no loop has done so yet.
    async fn shadow_over(&self, op: &Op, tx: &mut Tx, scope: &Scope) -> Result<()> {
        let (team, number) = (scope.team.id, scope.team.policy_shadow);
        let Some(row) = tx.shadow_fetch(team, number).await? else { return Ok(()) };
        if row.ends_at <= op.now() {
            tx.shadow_end(team, number, row.ends_at, "over").await?;
        }
        Ok(())
    }
}
