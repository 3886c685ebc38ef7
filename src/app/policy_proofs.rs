//! Proving what a change of a team's policies can and cannot do: one proof at a time on a server, each on a thread of
//! its own, for a time that the settings bound. Nothing is written.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Semaphore, oneshot},
    time::{Instant, timeout_at},
};

use super::{
    App,
    policies::{draft_check, version_in},
};
pub use crate::policy::{Claim, Proof};
use crate::{
    error::{Error, Kind, Result},
    model::{action::Action, team::Preset},
    op::Op,
    policy::{Comparison, Facts, Resource, Unproven, digest},
};

/// A text to prove something about.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProof {
    /// The text of all policies that the team would have; absent: the live ones stay, and only what is claimed of
    /// single policies and of the owner is of interest.
    #[serde(default)]
    pub text: Option<String>,
}

/// What was proven about a text, compared with the live one.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct ProofView {
    /// The version that is live now.
    pub base: i64,
    /// SHA-256 of the text as it would be kept.
    pub digest: String,
    /// What was proven.
    #[serde(flatten)]
    pub proof: Proof,
}

/// What a plan says of proofs.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(tag = "analysis", rename_all = "snake_case")]
pub enum Analysis {
    /// What was proven.
    Done(Proof),
    /// Nothing was, and why.
    Unavailable {
        /// What is the matter and how to mend it.
        detail: String,
    },
}

/// Proofs that wait for the one that is under way.
const MOST_WAITING: usize = 2;
/// The stack of a proof's thread, in bytes: formulas are walked by recursion, and long ones are deep.
const STACK_BYTES: usize = 256 << 20;

/// Turns at proving.
#[derive(Debug)]
pub(crate) struct Proving {
    /// Who proves or waits.
    places: Semaphore,
    /// Who proves.
    turn: Arc<Semaphore>,
}

impl Default for Proving {
    fn default() -> Self {
        Self { places: Semaphore::new(1 + MOST_WAITING), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl App {
    /// Tries to prove what a text would and would not change.
    pub async fn policies_prove(&self, op: &Op, team: &str, new: NewProof) -> Result<ProofView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ProvePolicies, resource, Facts::default()).await?;
        let live = version_in(&mut read, &scope, scope.team.policy_version).await?;
        drop(read);
        let before = live.map(|row| row.text).unwrap_or_default();
        let after = match new.text {
            Some(text) => {
                let _turn = self.planning.acquire().await.map_err(Error::internal)?;
                draft_check(&self.policies, scope.team.preset, text).await?.text
            }
            None => before.clone(),
        };
        let digest = digest(&after);
        let proof = self.proof(scope.team.preset, before, after).await?;
        Ok(ProofView { base: scope.team.policy_version, digest, proof })
    }

    /// What a plan says of proofs: that they cannot be had is no reason not to have a plan.
    pub(super) async fn analysis(&self, preset: Preset, before: String, after: String) -> Result<Analysis> {
        match self.proof(preset, before, after).await {
            Ok(proof) => Ok(Analysis::Done(proof)),
            Err(error) if error.kind == Kind::Unavailable => {
                Ok(Analysis::Unavailable { detail: error.detail })
            }
            Err(error) => Err(error),
        }
    }

    async fn proof(&self, preset: Preset, before: String, after: String) -> Result<Proof> {
        let settings = self.settings.prove.clone();
        let whole = Duration::from_secs(u64::from(settings.total_seconds));
        let deadline = Instant::now() + whole;
        let busy = || {
            let told = "this server proves one thing at a time and is at it; try again in a while";
            Error::new(Kind::Unavailable, "prover-busy", told).retry_after(settings.total_seconds)
        };
        let _place = self.proving.places.try_acquire().map_err(|_| busy())?;
        let turn = timeout_at(deadline - whole / 2, Arc::clone(&self.proving.turn).acquire_owned()).await;
        let turn = turn.map_err(|_| busy())?.map_err(Error::internal)?;
        let (told, heard) = oneshot::channel();
        let policies = Arc::clone(&self.policies);
        let given = settings.clone();
        let work = move || {
            // The turn ends with the work, also when nobody waits for the answer any more.
            let _turn = turn;
            let change = Comparison { preset, before: &before, after: &after };
            let left = deadline.saturating_duration_since(Instant::now());
            // Nobody may be there to hear it.
            drop(told.send(policies.prove(&change, &given, left)));
        };
        let thread = std::thread::Builder::new().name("prover".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(work).map_err(Error::internal)?;
        heard.await.map_err(Error::internal)?.map_err(|why| match why {
            Unproven::Broken(error) => Error::internal(error),
            Unproven::NoSolver(why) => {
                let told = "proofs are made by a solver, and this server has none that can be started: the operator \
                            installs cvc5 (`apt-get install cvc5`) or says in `policy.prove.solver` where it is. \
                            Everything else about policies works without";
                Error::new(Kind::Unavailable, "analysis-unavailable", told).with_inside(why)
            }
        })
    }
}
