//! Proofs about a change of a team's policies: not for the questions that somebody thought of, but for all there are.
//!
//! Policies become formulas (`cedar-policy-symcc`), and a solver looks for a question that shows that a claim is wrong.
//! If there is none, it is proved. One that it finds is asked of the policies themselves before it is told, so that no
//! mistake of the solver or of the translation is. Where it finds neither in time, nobody knows. What is compared is
//! the whole, guardrails, preset and the team's own policies, and only in the situations that changed policies speak
//! of: everywhere else both versions are the same set.
//!
//! A proof takes seconds and a processor. Whoever asks for one brings a thread of its own with room on its stack, since
//! formulas are walked by recursion.

mod claims;
pub(super) mod grounds;
mod sketch;
mod solver;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use cedar_policy::{Effect, Policy, PolicyId, PolicySet};
use cedar_policy_symcc::{CompiledPolicy, CompiledPolicySet, Env, SymEnv};
use tokio::time::Instant;

pub use self::claims::{Claim, Example, Finding, Proof, Proven, SideAnswer, Verdict};
use self::{
    claims::Tally,
    grounds::{Grounds, Situation, Version},
    sketch::{Both, Judge},
    solver::Solver,
};
use super::{Error, Policies, index::Index};
use crate::{config::Prove, model::team::Preset};

/// Why there is no proof at all.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// No solver is installed, or none that can be started.
    #[error("no solver: {0}")]
    NoSolver(String),
    /// A text or the server itself is broken.
    #[error(transparent)]
    Broken(#[from] Error),
}

/// What is to be proven about.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// The role rules that the team chose.
    pub preset: Preset,
    /// The text of the live version.
    pub before: &'a str,
    /// The text after the change.
    pub after: &'a str,
}

/// What the solver that the settings name calls itself. Blocks the thread.
///
/// # Errors
/// When there is none, or none that can be started.
pub fn solver_version(settings: &Prove) -> Result<String, Unproven> {
    runtime()?.block_on(async { Ok(Solver::find(settings, Instant::now()).await?.version) })
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::value)
}

impl Policies {
    /// Tries to prove all claims about a change, within the time that is left. Blocks the thread.
    ///
    /// # Errors
    /// When there is no solver, or a text cannot be read.
    pub fn prove(
        &self,
        change: &Comparison<'_>,
        settings: &Prove,
        left: Duration,
    ) -> Result<Proof, Unproven> {
        runtime()?.block_on(async {
            let solver = Solver::find(settings, Instant::now() + left).await?;
            let grounds = Grounds::of(self, change.preset)?;
            let read = |text| Version::of(&grounds, text, || solver.is_over());
            let (Some(before), Some(after)) = (read(change.before)?, read(change.after)?) else {
                return Ok(claims::nothing(&solver.version, &solver.over()));
            };
            let mut prover = Prover::new(solver, &grounds, &before, &after);
            prover.run().await?;
            Ok(prover.done())
        })
    }
}

/// A proof under way.
struct Prover<'a> {
    solver: Solver<'a>,
    grounds: &'a Grounds<'a>,
    before: &'a Version,
    after: &'a Version,
    changed: Vec<Situation>,
    /// The situations that the policies speak of besides: they concern single policies.
    others: Vec<Situation>,
    /// The text of what changed.
    texts: String,
    /// The permits that were not yet the reason for a yes.
    idle: BTreeSet<PolicyId>,
    /// Permits of which nobody knows in some situation.
    doubtful: BTreeSet<PolicyId>,
    gains: Tally,
    loses: Tally,
    guardrails: Tally,
    owner: Tally,
    errors: Tally,
    dead: Tally,
}

/// A comparison of sets that the solver is asked for.
type Sets<'a> = (&'a CompiledPolicySet, &'a CompiledPolicySet);

impl<'a> Prover<'a> {
    fn new(solver: Solver<'a>, grounds: &'a Grounds<'a>, before: &'a Version, after: &'a Version) -> Self {
        let changes = || after.changed(before).chain(before.changed(after));
        let mut changed = after.situations(after.changed(before));
        changed.extend(before.situations(before.changed(after)));
        let changed = grounds::sorted(changed);
        let mut others = after.situations(after.written.iter());
        others.retain(|other| !changed.iter().any(|one| one.env == other.env));
        let permits = after.written.iter().filter(|policy| policy.effect() == Effect::Permit);
        Self {
            solver,
            grounds,
            before,
            after,
            changed,
            others,
            texts: changes().map(ToString::to_string).collect(),
            idle: permits.map(|policy| policy.id().clone()).collect(),
            doubtful: BTreeSet::new(),
            gains: Tally::new(Claim::NobodyGains),
            loses: Tally::new(Claim::NobodyLoses),
            guardrails: Tally::new(Claim::GuardrailsHold),
            owner: Tally::new(Claim::OwnerCanMend),
            errors: Tally::new(Claim::NeverErrors),
            dead: Tally::new(Claim::NoDeadPermits),
        }
    }

    async fn run(&mut self) -> Result<(), Error> {
        let (changed, others) = (self.changed.clone(), self.others.clone());
        let counted = changed.iter().map(|situation| (situation, true));
        for (situation, is_changed) in counted.chain(others.iter().map(|situation| (situation, false))) {
            match self.grounds.sym_env(situation) {
                Ok(_) if self.solver.is_over() => self.leave(situation, is_changed, &self.solver.over()),
                Ok(symbols) => self.enter(situation, is_changed, &symbols).await?,
                Err(why) => self.leave(situation, is_changed, &why),
            }
        }
        Ok(())
    }

    /// Tries everything that can be claimed of one situation.
    async fn enter(
        &mut self,
        situation: &Situation,
        is_changed: bool,
        symbols: &SymEnv,
    ) -> Result<(), Error> {
        let grounds = self.grounds;
        let compile = |set: PolicySet| {
            let schema = grounds.schema.schema();
            CompiledPolicySet::compile_with_custom_symenv(&set, &situation.env, schema, symbols.clone())
                .map_err(|trouble| format!("this cannot be analysed: {trouble}"))
        };
        let after = match compile(grounds.whole(situation, &self.after.index)?) {
            Ok(after) => after,
            Err(why) => {
                self.leave(situation, is_changed, &why);
                return Ok(());
            }
        };
        if is_changed {
            let before = match compile(grounds.whole(situation, &self.before.index)?) {
                Ok(before) => before,
                Err(why) => {
                    self.leave(situation, is_changed, &why);
                    return Ok(());
                }
            };
            if !self.gains.is_settled() {
                let shows: fn(&Both) -> bool = |both| both.after.allowed && !both.before.allowed;
                let judge = self.judge(situation, Some(&self.before.index), shows)?;
                let found = self.compare((&after, &before), &judge).await;
                self.gains.note(found);
            }
            if !self.loses.is_settled() {
                let judge = self.judge(situation, Some(&self.before.index), LOSES)?;
                let found = self.compare((&before, &after), &judge).await;
                self.loses.note(found);
            }
            if self.permits(situation) {
                let held = match compile(grounds.forbidden(situation)?) {
                    Ok(forbidden) => self.apart(&after, &forbidden).await,
                    Err(why) => Err(why),
                };
                let told = |why| Box::new(unknown(situation, None, why));
                self.guardrails.note(held.map_err(told));
            }
        }
        if super::floor::is_floor(situation.action.kind()) && !self.owner.is_settled() {
            match compile(grounds.owners(situation)?) {
                Err(why) => self.owner.find(unknown(situation, None, why)),
                Ok(owners) => {
                    let judge = self.judge(situation, None, LOSES)?;
                    let found = self.compare((&owners, &after), &judge).await;
                    self.owner.note(found);
                }
            }
        }
        self.singles(situation, symbols, &after).await
    }

    /// Tries what can be claimed of single policies.
    async fn singles(
        &mut self,
        situation: &Situation,
        symbols: &SymEnv,
        after: &CompiledPolicySet,
    ) -> Result<(), Error> {
        let grounds = self.grounds;
        let stripped = self.after.index.get(situation.action.name()).map(|entry| Arc::clone(&entry.set));
        for written in self.after.speakers(situation) {
            let name = written.id().to_string();
            if self.solver.is_over() {
                self.errors.find(unknown(situation, Some(name), self.solver.over()));
                self.doubtful.insert(written.id().clone());
                continue;
            }
            let Some(policy) = stripped.as_ref().and_then(|set| set.policy(written.id())) else { continue };
            let policy = grounds.binding(situation, policy)?;
            let schema = grounds.schema.schema();
            let compiled =
                CompiledPolicy::compile_with_custom_symenv(&policy, &situation.env, schema, symbols.clone());
            let compiled = match compiled {
                Ok(compiled) => compiled,
                Err(trouble) => {
                    let why = format!("this cannot be analysed: {trouble}");
                    self.errors.find(unknown(situation, Some(name), why));
                    self.doubtful.insert(policy.id().clone());
                    continue;
                }
            };
            if !self.errors.is_settled() {
                let asked = async |c: &mut solver::Asked| {
                    c.check_never_errors_with_counterexample_opt(&compiled).await
                };
                match self.solver.ask(asked).await {
                    Ok(None) => self.errors.hold(),
                    Ok(Some(env)) => {
                        let judge = self.judge(situation, Some(&self.before.index), |both| both.fails)?;
                        let why = "it can fail to be evaluated, and would refuse everybody then";
                        let finding = confirmed(&judge, &env, Some(name.clone()), why);
                        self.errors.find(finding);
                    }
                    Err(why) => self.errors.find(unknown(situation, Some(name.clone()), why)),
                }
            }
            if !self.idle.contains(policy.id()) {
                continue;
            }
            let alone = compiled.into_compiled_policyset();
            let asked = async |c: &mut solver::Asked| c.check_disjoint_opt(&alone, after).await;
            match self.solver.ask(asked).await {
                Ok(true) => {}
                Ok(false) => drop(self.idle.remove(policy.id())),
                Err(_) => drop(self.doubtful.insert(policy.id().clone())),
            }
        }
        Ok(())
    }

    /// Asks whether the first set allows nothing that the second does not; an example that it does is confirmed first.
    async fn compare(&mut self, (one, other): Sets<'_>, judge: &Judge<'_>) -> Result<(), Box<Finding>> {
        let asked = async |c: &mut solver::Asked| c.check_implies_with_counterexample_opt(one, other).await;
        match self.solver.ask(asked).await {
            Ok(None) => Ok(()),
            Ok(Some(env)) => Err(Box::new(confirmed(judge, &env, None, "there is a question that shows it"))),
            Err(why) => Err(Box::new(unknown(judge.situation, None, why))),
        }
    }

    /// Asks whether the two sets never allow the same.
    async fn apart(&mut self, one: &CompiledPolicySet, other: &CompiledPolicySet) -> Result<(), String> {
        let asked = async |c: &mut solver::Asked| c.check_disjoint_opt(one, other).await;
        match self.solver.ask(asked).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(UNCONFIRMED.to_owned()),
            Err(why) => Err(why),
        }
    }

    fn judge<'j>(
        &self,
        situation: &'j Situation,
        before: Option<&'j Index>,
        shows: fn(&Both) -> bool,
    ) -> Result<Judge<'j>, Error>
    where
        'a: 'j,
    {
        let facts = self.grounds.facts(situation)?;
        let after = Some(&self.after.index);
        Ok(Judge { grounds: self.grounds, situation, facts, before, after, shows, texts: self.texts.clone() })
    }

    /// Whether a permit of the team speaks there.
    fn permits(&self, situation: &Situation) -> bool {
        let entry = self.after.index.get(situation.action.name());
        entry.is_some_and(|entry| entry.set.policies().any(|policy| policy.effect() == Effect::Permit))
    }

    /// Notes that nothing is known of a situation.
    fn leave(&mut self, situation: &Situation, is_changed: bool, why: &str) {
        let about = |policy: Option<&Policy>| {
            unknown(situation, policy.map(|policy| policy.id().to_string()), why.to_owned())
        };
        if is_changed {
            self.gains.find(about(None));
            self.loses.find(about(None));
            if self.permits(situation) {
                self.guardrails.find(about(None));
            }
        }
        if super::floor::is_floor(situation.action.kind()) {
            self.owner.find(about(None));
        }
        for policy in self.after.speakers(situation) {
            self.errors.find(about(Some(policy)));
            self.doubtful.insert(policy.id().clone());
        }
    }

    fn done(mut self) -> Proof {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let permits = self.after.written.iter().filter(|policy| policy.effect() == Effect::Permit);
        for policy in permits {
            let name = policy.id();
            let (verdict, why) = match (self.idle.contains(name), self.doubtful.contains(name)) {
                (false, _) => {
                    self.dead.hold();
                    continue;
                }
                (true, true) => (Verdict::Undecided, "nobody knows whether it is ever the reason for a yes"),
                (true, false) => (
                    Verdict::Refuted,
                    "it is never the reason for a yes: it matches nothing, or what it matches is always forbidden",
                ),
            };
            let policy = Some(name.to_string());
            self.dead.find(Finding {
                verdict,
                policy,
                action: None,
                about: None,
                why: why.to_owned(),
                example: None,
            });
        }
        let tallies = [self.gains, self.loses, self.guardrails, self.owner, self.errors, self.dead];
        Proof {
            solver: self.solver.version,
            situations: count(self.changed.len()),
            untouched: count(self.grounds.all().saturating_sub(self.changed.len())),
            claims: tallies.map(Tally::done).into(),
        }
    }
}

const LOSES: fn(&Both) -> bool = |both| both.before.allowed && !both.after.allowed;

/// What is said of an example that the policies themselves do not confirm.
const UNCONFIRMED: &str =
    "the solver told of a question for which it would not hold, but the policies answer it otherwise";

/// The finding that an example makes; undecided when the policies do not confirm it.
fn confirmed(judge: &Judge<'_>, env: &Env, policy: Option<String>, why: &str) -> Finding {
    match judge.example(env) {
        Some(example) => {
            let example = Some(example);
            Finding { verdict: Verdict::Refuted, example, ..unknown(judge.situation, policy, why.to_owned()) }
        }
        None => unknown(judge.situation, policy, UNCONFIRMED.to_owned()),
    }
}

fn unknown(situation: &Situation, policy: Option<String>, why: String) -> Finding {
    Finding {
        verdict: Verdict::Undecided,
        policy,
        action: Some(situation.action.operation().to_owned()),
        about: Some(situation.about.clone()),
        why,
        example: None,
    }
}
