//! Asking recorded decisions again, and keeping as many of them as are of use.

use std::sync::Arc;

use serde::Deserialize;

use super::{App, gate::Scope, policies::draft_check};
pub use crate::policy::Replayed;
use crate::{
    error::{Error, Findings, Result},
    model::action::Action,
    op::Op,
    policy::{Facts, Recorded, Resource, Rules},
    store::record::DecisionRow,
    time::Timestamp,
};

/// Which recorded decisions to ask again, of a text.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReplay {
    /// The text of all policies that the team would have; absent: the live ones are asked, and `drifted` says what
    /// would be otherwise today.
    #[serde(default)]
    pub text: Option<String>,
    /// How many of the latest, 0 to 100000; 10000 unless told.
    #[serde(default)]
    pub last: Option<u32>,
    /// Only those from here on.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Only those before this.
    #[serde(default)]
    pub until: Option<Timestamp>,
}

/// The most decisions that are asked again at once, and the most that are kept of a team.
const MOST: u32 = 100_000;
const USUAL: u32 = 10_000;
/// Decisions that are read and asked at once.
const PAGE: u32 = 1_000;

/// A stretch of recorded decisions.
pub(super) struct Span {
    last: u32,
    since: Timestamp,
    until: Timestamp,
}

impl Span {
    /// The latest ones.
    pub(super) fn last(last: u32) -> Result<Self> {
        let mut findings = Findings::new();
        findings.check(last <= MOST, "/replay", format!("0 to {MOST}, got {last}"));
        findings.done()?;
        Ok(Self { last, since: Timestamp::from_micros(0), until: Timestamp::from_micros(i64::MAX) })
    }
}

impl From<DecisionRow> for Recorded {
    fn from(row: DecisionRow) -> Self {
        let DecisionRow { id, at, action, allowed, document, .. } = row;
        Self { id, at, action, allowed, document }
    }
}

impl App {
    /// What a text would have answered to what was really asked.
    pub async fn policies_replay(&self, op: &Op, team: &str, new: NewReplay) -> Result<Replayed> {
        let last = new.last.unwrap_or(USUAL);
        let mut findings = Findings::new();
        findings.check(last <= MOST, "/last", format!("0 to {MOST}, got {last}"));
        findings.done()?;
        let since = new.since.unwrap_or(Timestamp::from_micros(0));
        let until = new.until.unwrap_or(Timestamp::from_micros(i64::MAX));
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ReplayPolicies, resource, Facts::default()).await?;
        let live = self.rules_of(&mut read, &scope.team).await?;
        drop(read);
        let _turn = self.planning.acquire().await.map_err(Error::internal)?;
        let draft = match new.text {
            Some(text) => Some(draft_check(&self.policies, scope.team.preset, text).await?.rules),
            None => live.clone(),
        };
        let span = Span { last, since, until };
        match draft {
            Some(draft) => self.replay_run(&scope, &live, &draft, span).await,
            // A team without policies of its own, asked what would be otherwise today.
            None => self.replay_run(&scope, &None, &self.policies.rules(0, ""), span).await,
        }
    }

    /// Reads the decisions page by page, and asks each page apart from the threads that serve requests.
    pub(super) async fn replay_run(
        &self,
        scope: &Scope,
        live: &Option<Arc<Rules>>,
        draft: &Arc<Rules>,
        span: Span,
    ) -> Result<Replayed> {
        let (mut whole, mut before, mut left) = (Replayed::default(), String::new(), span.last);
        while left > 0 {
            let mut read = self.db.glance().await?;
            let (since, until) = (span.since, span.until);
            let rows = read.decisions_back(scope.team.id, &before, since, until, left.min(PAGE)).await?;
            drop(read);
            let Some(oldest) = rows.last() else { break };
            before = oldest.id.to_string();
            left = left.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
            let (policies, live, draft) = (Arc::clone(&self.policies), live.clone(), Arc::clone(draft));
            let work = tokio::task::spawn_blocking(move || {
                policies.replay(live.as_ref(), Some(&draft), rows.into_iter().map(Recorded::from))
            });
            whole.add(work.await.map_err(Error::internal)?);
        }
        Ok(whole)
    }

    /// Forgets the oldest recorded decisions of teams that have more than are of use; how many there were.
    pub async fn decisions_prune(&self, op: &Op) -> Result<u64> {
        let mut read = self.db.glance().await?;
        let crowded = read.decisions_crowded(MOST).await?;
        drop(read);
        let mut forgotten = 0;
        for team in crowded {
            let mut tx = self.begin(op).await?;
            let Some(last) = tx.decision_nth(team, MOST).await? else { continue };
            forgotten += tx.decisions_forget(team, last).await?;
            self.system_commit(op, tx).await?;
        }
        Ok(forgotten)
    }
}
