//! Planning a change of a team's policies: everything that can be known before it is made. Nothing is written.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    App,
    gate::Scope,
    policies::{cases_of, check_cases, draft_check, version_in},
    policy_proofs::Analysis,
};
pub use crate::policy::Case;
use crate::{
    error::{Error, Result},
    model::{
        action::Action,
        diff,
        team::{MemberState, Preset},
    },
    op::Op,
    policy::{
        Draft, Effects, Facts, Failed, Fault, Person, Policies, Replayed, Resource, Rules, Sample, Thing,
        digest,
    },
    store::{Conn, identity::MemberRow},
};

/// A text to plan.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The text of all policies that the team would have.
    pub text: String,
    /// The cases in the place of the present ones; absent: they stay.
    #[serde(default)]
    pub cases: Option<Vec<Case>>,
    /// How many of the latest recorded decisions are asked again, 0 to 100000; 1000 unless told.
    #[serde(default)]
    pub replay: Option<u32>,
    /// Whether to try to prove what the change cannot do; takes seconds.
    #[serde(default)]
    pub prove: bool,
}

/// What a change would do. Only a plan that found nothing wrong can be published.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Plan {
    /// The version that is live now; the `If-Match` of the publication.
    pub base: i64,
    /// The text as it would be kept.
    pub text: String,
    /// SHA-256 of that text.
    pub digest: String,
    /// How many policies it has.
    pub policies: usize,
    /// What is different from the live text.
    pub diff: String,
    /// What policies cannot do though they seem to.
    pub notes: Vec<Fault>,
    /// How many cases were asked.
    pub cases: usize,
    /// The cases whose answer is another one.
    pub failed: Vec<Failed>,
    /// Who gains and who loses what.
    pub effects: Effects,
    /// What recorded decisions would have been.
    pub replay: Replayed,
    /// What was proven, if that was asked for; it steers nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Analysis>,
    /// What to send with the publication; absent when this cannot be published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Why it cannot be published; absent when it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
}

/// What the check of files without a server finds.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Checked {
    /// What is wrong with the text; nothing else is known then.
    pub faults: Vec<Fault>,
    /// The text as it would be kept.
    pub text: String,
    /// The ids of its policies.
    pub policies: Vec<String>,
    /// What policies cannot do though they seem to.
    pub notes: Vec<Fault>,
    /// How many cases were asked.
    pub cases: usize,
    /// The cases whose answer is another one.
    pub failed: Vec<Failed>,
}

/// What the roles of a preset may do: in words, and as rules.
pub fn preset_pages(preset: Preset) -> (&'static str, &'static str) {
    crate::policy::preset_pages(preset)
}

/// Checks a text and its cases without a server, by the very code that a server checks them with.
///
/// # Errors
/// Cases that are too many or too long, or a broken build.
pub fn files_check(preset: Preset, text: &str, cases: &[Case]) -> Result<Checked> {
    let policies = Policies::shipped()?;
    check_cases(cases)?;
    let draft = match policies.draft(preset, text) {
        Ok(draft) => draft,
        Err(faults) => return Ok(Checked { faults, ..Checked::default() }),
    };
    let failed = policies.cases_failed(preset, Some(&draft.rules), cases);
    Ok(Checked {
        faults: Vec::new(),
        text: draft.text,
        policies: draft.ids,
        notes: draft.notes,
        cases: cases.len(),
        failed,
    })
}

/// Accounts that are looked for because a text names them.
const MOST_NAMED: usize = 20;
/// Decisions that a plan asks again unless told.
const REPLAYED: u32 = 1_000;

impl App {
    /// Works out what a change would do.
    pub async fn policies_plan(&self, op: &Op, team: &str, proposal: Proposal) -> Result<Plan> {
        check_cases(proposal.cases.as_deref().unwrap_or_default())?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::PlanPolicies, resource, Facts::default()).await?;
        let live = version_in(&mut read, &scope, scope.team.policy_version).await?;
        let kept = live.as_ref().map(cases_of).transpose()?.unwrap_or_default();
        let cases = proposal.cases.unwrap_or(kept);
        let mut sample = sample_of(&mut read, &scope).await?;
        let before = self.rules_of(&mut read, &scope.team).await?;
        drop(read);
        let turn = self.planning.acquire().await.map_err(Error::internal)?;
        let draft = draft_check(&self.policies, scope.team.preset, proposal.text).await?;
        sample.people = self.people_named(&scope, before.iter().chain([&draft.rules])).await?;
        let last = proposal.replay.unwrap_or(REPLAYED);
        let replay = self.replay_run(&scope, &before, &draft.rules, super::policy_replays::Span::last(last)?);
        let replay = replay.await?;
        let (failed, effects) = self.compared(&scope, before, &draft, &cases, sample).await?;
        let blocked = blocked(&failed, &effects);
        let plan = match blocked {
            None => Some(self.plan_digest(&scope, &draft.text, &cases)?),
            Some(_) => None,
        };
        drop(turn);
        let older = live.map(|row| row.text).unwrap_or_default();
        let proof = match proposal.prove {
            true => Some(self.analysis(scope.team.preset, older.clone(), draft.text.clone()).await?),
            false => None,
        };
        Ok(Plan {
            base: scope.team.policy_version,
            digest: digest(&draft.text),
            policies: draft.ids.len(),
            diff: diff::lines(&older, &draft.text),
            text: draft.text,
            notes: draft.notes,
            cases: cases.len(),
            failed,
            effects,
            replay,
            proof,
            plan,
            blocked,
        })
    }

    /// The members whom texts name. A name that nobody has is asked about for every role: it may be given yet.
    async fn people_named<'a>(
        &self,
        scope: &Scope,
        texts: impl Iterator<Item = &'a Arc<Rules>>,
    ) -> Result<Vec<Person>> {
        let (team, preset) = (scope.team.id, scope.team.preset);
        let (mut accounts, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for named in texts.map(|rules| rules.named()) {
            accounts.extend(named.accounts.iter().cloned());
            ids.extend(named.members.iter().copied());
        }
        let mut people = Vec::new();
        if accounts.is_empty() && ids.is_empty() {
            return Ok(people);
        }
        let mut read = self.db.glance().await?;
        for account in accounts.into_iter().take(MOST_NAMED) {
            match read.member_by_account(team, &account).await? {
                Some(row) => people.extend(person_of(row)),
                None => people.extend(preset.roles().iter().map(|role| Person {
                    id: None,
                    account: account.clone(),
                    role: *role,
                    labels: BTreeSet::new(),
                })),
            }
        }
        for id in ids.into_iter().take(MOST_NAMED) {
            let row = read.member_fetch(id).await?.filter(|row| row.team == team);
            let is_new = |row: &MemberRow| people.iter().all(|person| person.id != Some(row.id));
            people.extend(row.filter(is_new).and_then(person_of));
        }
        Ok(people)
    }

    /// Asks the cases, and both versions the same questions, apart from the threads that serve requests.
    async fn compared(
        &self,
        scope: &Scope,
        before: Option<Arc<Rules>>,
        draft: &Draft,
        cases: &[Case],
        sample: Sample,
    ) -> Result<(Vec<Failed>, Effects)> {
        let (policies, after) = (Arc::clone(&self.policies), Arc::clone(&draft.rules));
        let (preset, cases) = (scope.team.preset, cases.to_vec());
        let work = tokio::task::spawn_blocking(move || {
            let failed = policies.cases_failed(preset, Some(&after), &cases);
            (failed, policies.effects(preset, before.as_ref(), Some(&after), &sample))
        });
        work.await.map_err(Error::internal)
    }
}

/// A member whom a policy names; who was removed asks for nothing any more.
fn person_of(row: MemberRow) -> Option<Person> {
    let is_there = row.state != MemberState::Removed;
    is_there.then_some(Person {
        id: Some(row.id),
        account: row.account,
        role: row.role,
        labels: row.labels.0,
    })
}

fn blocked(failed: &[Failed], effects: &Effects) -> Option<String> {
    if !effects.errors.is_empty() {
        return Some("policies could not be evaluated; a rule that fails would refuse everybody".to_owned());
    }
    let first = failed.first()?;
    Some(format!(
        "{} of the team's cases would be answered otherwise, such as {:?}: {}. Change the text, or the cases if \
         that is what is wanted",
        failed.len(),
        first.name,
        first.detail
    ))
}

/// What there is in the team and in the catalogue to ask about.
async fn sample_of(conn: &mut Conn, scope: &Scope) -> Result<Sample> {
    let products = conn.products_published().await?;
    let machines = products.into_iter().map(|product| {
        let thing = Thing {
            product: product.name,
            product_labels: product.labels.0,
            instance_type: product.instance_type,
            accelerator: product.accelerator,
            region: product.region,
            gpus: product.gpus_per_unit,
            ..Thing::default()
        };
        (thing, product.price_per_hour)
    });
    let images = conn.images_published().await?.into_iter().map(|image| image.name).collect();
    let labels = conn.labels_of_team(scope.team.id).await?;
    Ok(Sample { machines: machines.collect(), images, labels, people: Vec::new() })
}
