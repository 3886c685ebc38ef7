//! A team's own policies: reading their versions, and publishing one. What a change would do is worked out before, in
//! `policy_plans`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    App,
    gate::{Outcome, Scope},
    products::stale,
};
use crate::{
    error::{Error, FieldError, Findings, Kind, Result},
    model::{
        action::Action,
        diff,
        page::{Items, Page},
        team::Preset,
    },
    op::Op,
    policy::{Case, Draft, Facts, Fault, Policies, Resource, digest},
    store::{Conn, policies::PolicyVersionRow},
    time::Timestamp,
};

/// The policies of a team as they are now.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct PoliciesView {
    /// The number of the live version; 0 when the team has none. The ETag.
    pub version: i64,
    /// The text; empty when there is none.
    pub text: String,
    /// SHA-256 of the text.
    pub digest: String,
    /// The cases that every later version must keep to.
    pub cases: Vec<Case>,
    /// The set of role rules that the team's own are added to.
    pub preset: Preset,
    /// Digest of the schema and the shipped policies of this server.
    pub engine: String,
}

/// A version, without its text.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct VersionView {
    /// Its number.
    pub number: i64,
    /// The version that was live before; 0 for none.
    pub parent: i64,
    /// Whether it is the live one.
    pub live: bool,
    /// How many policies it has.
    pub policies: i64,
    /// SHA-256 of its text.
    pub digest: String,
    /// Why it was published.
    pub reason: String,
    /// Who published it.
    pub author: String,
    /// When it was published.
    pub created_at: Timestamp,
}

/// A version with its text.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct VersionDetail {
    /// The version.
    #[serde(flatten)]
    pub version: VersionView,
    /// Its text.
    pub text: String,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// What is different between two versions.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct VersionsDiff {
    /// The older version; 0 for the empty text.
    pub from: i64,
    /// The newer version; 0 for the empty text.
    pub to: i64,
    /// Lines with `-` in front are only in the first, lines with `+` only in the second.
    pub diff: String,
}

/// What to publish: a text with the plan that was made of it, or a version that was live once.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVersion {
    /// The text.
    #[serde(default)]
    pub text: Option<String>,
    /// The cases in the place of the present ones; absent: they stay.
    #[serde(default)]
    pub cases: Option<Vec<Case>>,
    /// The `plan` of the plan of this very text.
    #[serde(default)]
    pub plan: Option<String>,
    /// In the place of a text: the number of the version to go back to; 0 for none at all.
    #[serde(default)]
    pub version: Option<i64>,
    /// Why, for whoever reads the history: 1 to 500 characters.
    pub reason: String,
}

/// The most cases of a team, and the longest of them in characters.
const MOST_CASES: usize = 100;
const LONGEST_CASE: usize = 4_000;
/// Publications of a team in an hour.
const MOST_AN_HOUR: usize = 60;
const HOUR_SECONDS: i64 = 3_600;

/// What is to be published.
struct Candidate {
    draft: Draft,
    cases: Vec<Case>,
}

/// Every complaint about a text, as wrong fields of the input.
fn told(faults: &[Fault]) -> Error {
    let field = |fault: &Fault| FieldError { pointer: "/text".to_owned(), detail: fault.to_string() };
    let mut error = Error::invalid(faults.iter().map(field).collect());
    if let Some(first) = faults.first() {
        error.detail = format!("the policies cannot be used: {first}");
    }
    error
}

/// Refuses cases that are too many or too long.
pub(super) fn check_cases(cases: &[Case]) -> Result<()> {
    let mut findings = Findings::new();
    findings.check(
        cases.len() <= MOST_CASES,
        "/cases",
        format!("at most {MOST_CASES} cases, got {}; keep those that would hurt most", cases.len()),
    );
    for (index, case) in cases.iter().enumerate().take(MOST_CASES) {
        let pointer = format!("/cases/{index}");
        findings.text(&case.name, &format!("{pointer}/name"), 1, 128);
        let length = serde_json::to_string(case).map_or(usize::MAX, |text| text.chars().count());
        findings.check(length <= LONGEST_CASE, &pointer, format!("at most {LONGEST_CASE} characters"));
    }
    findings.done()
}

impl VersionView {
    fn of(row: &PolicyVersionRow, live: i64) -> Self {
        Self {
            number: row.number,
            parent: row.parent,
            live: row.number == live,
            policies: row.policies,
            digest: row.digest.clone(),
            reason: row.reason.clone(),
            author: row.author.clone(),
            created_at: row.created_at,
        }
    }
}

pub(super) fn cases_of(row: &PolicyVersionRow) -> Result<Vec<Case>> {
    serde_json::from_str(&row.cases).map_err(Error::internal)
}

/// The version with this number; 0 is the empty one.
pub(super) async fn version_in(
    conn: &mut Conn,
    scope: &Scope,
    number: i64,
) -> Result<Option<PolicyVersionRow>> {
    if number == 0 {
        return Ok(None);
    }
    let row = conn.policy_version_fetch(scope.team.id, number).await?;
    row.map(Some).ok_or_else(|| Error::not_found("version of the policies"))
}

/// Reads and checks a text apart from the threads that serve requests; large ones take a while.
pub(super) async fn draft_check(policies: &Arc<Policies>, preset: Preset, text: String) -> Result<Draft> {
    let policies = Arc::clone(policies);
    let checked = tokio::task::spawn_blocking(move || policies.draft(preset, &text)).await;
    checked.map_err(Error::internal)?.map_err(|faults| told(&faults))
}

impl App {
    /// The live policies.
    pub async fn policies_fetch(&self, op: &Op, team: &str) -> Result<PoliciesView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::GetPolicies, resource, Facts::default()).await?;
        let row = version_in(&mut read, &scope, scope.team.policy_version).await?;
        let text = row.as_ref().map(|row| row.text.clone()).unwrap_or_default();
        Ok(PoliciesView {
            version: scope.team.policy_version,
            digest: digest(&text),
            text,
            cases: row.as_ref().map(cases_of).transpose()?.unwrap_or_default(),
            preset: scope.team.preset,
            engine: self.policies.digest().to_owned(),
        })
    }

    /// The versions, the newest first.
    pub async fn policy_versions(&self, op: &Op, team: &str, page: &Page) -> Result<Items<VersionView>> {
        let limit = page.limit()?;
        let before: i64 = page.place()?.unwrap_or(i64::MAX);
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ListPolicyVersions, resource, Facts::default()).await?;
        let rows = read.policy_versions_page(scope.team.id, before, limit + 1).await?;
        let live = scope.team.policy_version;
        Ok(Items::cut(rows, limit, |row| row.number.to_string()).map(|row| VersionView::of(&row, live)))
    }

    /// One version.
    pub async fn policy_version(&self, op: &Op, team: &str, number: i64) -> Result<VersionDetail> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::GetPolicyVersion, resource, Facts::default()).await?;
        let row = version_in(&mut read, &scope, number).await?;
        let row = row.ok_or_else(|| Error::not_found("version of the policies"))?;
        let (version, cases) = (VersionView::of(&row, scope.team.policy_version), cases_of(&row)?);
        Ok(VersionDetail { version, text: row.text, cases })
    }

    /// What is different between two versions; without `to` between one and the live one.
    pub async fn policies_diff(
        &self,
        op: &Op,
        team: &str,
        from: i64,
        to: Option<i64>,
    ) -> Result<VersionsDiff> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::DiffPolicies, resource, Facts::default()).await?;
        let to = to.unwrap_or(scope.team.policy_version);
        let older = version_in(&mut read, &scope, from).await?.map(|row| row.text).unwrap_or_default();
        let newer = version_in(&mut read, &scope, to).await?.map(|row| row.text).unwrap_or_default();
        Ok(VersionsDiff { from, to, diff: diff::lines(&older, &newer) })
    }

    /// Makes a version the live one, if `expected` still is.
    pub async fn policies_publish(
        &self,
        op: &Op,
        team: &str,
        expected: i64,
        new: NewVersion,
    ) -> Result<VersionDetail> {
        let mut findings = Findings::new();
        findings.text(&new.reason, "/reason", 1, 500);
        let either = new.text.is_some() != new.version.is_some();
        findings.check(either, "/text", "either a text with its plan, or the version to go back to");
        let planned = new.text.is_none() || new.plan.is_some();
        findings.check(
            planned,
            "/plan",
            "plan the text first (`policies:plan`) and send the `plan` of its answer",
        );
        findings.done()?;
        check_cases(new.cases.as_deref().unwrap_or_default())?;
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        // Asked before anything is worked out: whoever may not publish shall not keep the server busy.
        self.look(op, &scope.asker, Action::PublishPolicies, resource.clone(), Facts::default()).await?;
        if scope.team.policy_version != expected {
            return Err(stale());
        }
        let (text, cases) = wanted(&mut read, &scope, &new).await?;
        drop(read);
        let _turn = self.planning.acquire().await.map_err(Error::internal)?;
        let candidate = self.candidate(&scope, &new, text, cases).await?;
        let text = candidate.draft.text.clone();
        let row = PolicyVersionRow {
            team: scope.team.id,
            number: expected + 1,
            parent: expected,
            digest: digest(&text),
            policies: i64::try_from(candidate.draft.ids.len()).unwrap_or(i64::MAX),
            cases: serde_json::to_string(&candidate.cases).map_err(Error::internal)?,
            text,
            reason: new.reason.clone(),
            author: op.actor.name(),
            engine: self.policies.digest().to_owned(),
            created_at: op.now(),
        };
        let rules = self.policies.rules(row.number, &row.text);
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let (mut tx, granted) =
            self.permit(op, tx, &scope.asker, Action::PublishPolicies, resource, Facts::default()).await?;
        hasty(&mut tx, &row).await?;
        if !tx.policy_live_set(scope.team.id, expected, row.number).await? {
            return Err(stale());
        }
        tx.policy_version_insert(&row).await?;
        self.shadow_published(op, &mut tx, &scope.team, &row.digest).await?;
        let version = VersionView::of(&row, row.number);
        let detail = VersionDetail { version, text: row.text.clone(), cases: candidate.cases };
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: format!("policies@{}", row.number),
            document: serde_json::json!({
                "version": row.number, "parent": row.parent, "digest": row.digest, "reason": row.reason,
                "back_to": new.version,
            }),
            status: 201,
            answer: &detail,
        };
        self.conclude(op, tx, &granted, outcome).await?;
        self.rule_book.keep(scope.team.id, rules);
        Ok(detail)
    }

    /// What is to be published, checked again: the plan may be older than this server.
    async fn candidate(
        &self,
        scope: &Scope,
        new: &NewVersion,
        text: String,
        cases: Vec<Case>,
    ) -> Result<Candidate> {
        let draft = draft_check(&self.policies, scope.team.preset, text).await?;
        let goes_back = new.version.is_some();
        if !goes_back && new.plan.as_deref() != Some(self.plan_digest(scope, &draft.text, &cases)?.as_str()) {
            let told =
                "this is not the plan of this text on the live version; plan again and look at what changes";
            return Err(Error::conflict("plan-mismatch", told));
        }
        Ok(Candidate { draft, cases })
    }

    /// What a plan proves: that this text with these cases was planned for this team on its live version, with the
    /// policies that this server ships. Nobody else can compute it.
    pub(super) fn plan_digest(&self, scope: &Scope, text: &str, cases: &[Case]) -> Result<String> {
        let whole = serde_json::to_vec(&serde_json::json!({
            "team": scope.team.id, "base": scope.team.policy_version, "engine": self.policies.digest(),
            "text": digest(text), "cases": cases,
        }));
        Ok(self.fingerprint(&whole.map_err(Error::internal)?))
    }
}

/// The text and the cases to publish: those that were sent, or those of the version to go back to.
async fn wanted(conn: &mut Conn, scope: &Scope, new: &NewVersion) -> Result<(String, Vec<Case>)> {
    let number = new.version.unwrap_or(scope.team.policy_version);
    let row = version_in(conn, scope, number).await?;
    let cases = row.as_ref().map(cases_of).transpose()?.unwrap_or_default();
    match &new.text {
        Some(text) => Ok((text.clone(), new.cases.clone().unwrap_or(cases))),
        None => Ok((row.map(|row| row.text).unwrap_or_default(), cases)),
    }
}

/// Refuses a team that publishes without end: versions are kept for good.
async fn hasty(conn: &mut Conn, row: &PolicyVersionRow) -> Result<()> {
    let back = row.number - i64::try_from(MOST_AN_HOUR).unwrap_or(i64::MAX);
    let Some(earlier) = conn.policy_version_fetch(row.team, back).await? else { return Ok(()) };
    let seconds = (row.created_at.as_micros() - earlier.created_at.as_micros()) / crate::time::SECOND;
    if seconds >= HOUR_SECONDS {
        return Ok(());
    }
    let told = format!(
        "{MOST_AN_HOUR} versions were published within an hour, and every version is kept; try out changes with \
         `policies:plan`, which keeps nothing"
    );
    let wait = u32::try_from(HOUR_SECONDS - seconds).unwrap_or(u32::MAX);
    Err(Error::new(Kind::Throttled, "throttled", told).retry_after(wait))
}
