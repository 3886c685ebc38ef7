//! What is claimed of a change of a team's policies, and what came of trying to prove it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::team::Role;

/// A claim. All are about the whole: guardrails, preset and the team's own policies together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// Whatever will be allowed is allowed now.
    NobodyGains,
    /// Whatever is allowed now will be allowed.
    NobodyLoses,
    /// Nothing will be allowed that a guardrail forbids.
    GuardrailsHold,
    /// The owner, signed in, reaches policies, members, roles and money as if the team had no policies.
    OwnerCanMend,
    /// No policy of the team can fail to be evaluated.
    NeverErrors,
    /// Every permit of the team can be the reason for a yes.
    NoDeadPermits,
}

impl Claim {
    /// All claims, in the order in which they are told.
    pub const ALL: [Self; 6] = [
        Self::NobodyGains,
        Self::NobodyLoses,
        Self::GuardrailsHold,
        Self::OwnerCanMend,
        Self::NeverErrors,
        Self::NoDeadPermits,
    ];
}

/// What came of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds for every question that can be asked.
    Proved,
    /// It does not hold: there is an example that the policies themselves confirm.
    Refuted,
    /// Nobody knows.
    Undecided,
}

/// How one version answers an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SideAnswer {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that decide, by id; none: nothing permits it.
    pub by: Vec<String>,
}

/// A question that shows that a claim does not hold, as small as it could be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Example {
    /// The example in words.
    pub words: String,
    /// The role of whoever asks.
    pub role: Role,
    /// What matters of who asks, of the thing and of the facts, in the words of policies, such as `principal.labels` or
    /// `context.hour`; all else is as plain as can be.
    #[schema(value_type = Object)]
    pub matters: BTreeMap<String, Value>,
    /// The answer now.
    pub before: SideAnswer,
    /// The answer after the change.
    pub after: SideAnswer,
}

/// Where a claim does not hold, or is not decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// `refuted` or `undecided`.
    pub verdict: Verdict,
    /// The policy that it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The action's operationId, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The type of thing that the action is about there, such as `Instance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What is the matter, in a sentence.
    pub why: String,
    /// The example of what is refuted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<Example>,
}

/// A claim with what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Proven {
    /// The claim.
    pub claim: Claim,
    /// What came of it.
    pub verdict: Verdict,
    /// In how many cases (situations, or policies in situations, or permits) it was tried.
    pub asked: u32,
    /// In how many of them it holds.
    pub held: u32,
    /// How many were not tried any more: it was refuted often enough, or the time was over.
    pub skipped: u32,
    /// Where it does not hold or is not decided; the first few.
    pub findings: Vec<Finding>,
}

/// What was proven about a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Proof {
    /// The solver that was asked.
    pub solver: String,
    /// Situations (an action with the type of thing that it is about) of which changed policies speak.
    pub situations: u32,
    /// Situations of which no changed policy speaks: there both versions answer alike, and no solver is needed.
    pub untouched: u32,
    /// The claims.
    pub claims: Vec<Proven>,
}

/// The proof of nothing, because of `why`.
pub(super) fn nothing(solver: &str, why: &str) -> Proof {
    let claims = Claim::ALL.map(|claim| {
        let (verdict, why) = (Verdict::Undecided, why.to_owned());
        let finding = Finding { verdict, policy: None, action: None, about: None, why, example: None };
        Proven { claim, verdict, asked: 1, held: 0, skipped: 0, findings: vec![finding] }
    });
    Proof { solver: solver.to_owned(), situations: 0, untouched: 0, claims: claims.into() }
}

/// Findings that are told of one claim, and refuted ones after which a claim is not tried any more.
const MOST_FINDINGS: usize = 20;
const REFUTED_ENOUGH: u32 = 5;

/// What is known of a claim so far.
#[derive(Debug)]
pub(super) struct Tally {
    claim: Claim,
    held: u32,
    refuted: u32,
    undecided: u32,
    skipped: u32,
    findings: Vec<Finding>,
}

impl Tally {
    pub(super) const fn new(claim: Claim) -> Self {
        Self { claim, held: 0, refuted: 0, undecided: 0, skipped: 0, findings: Vec::new() }
    }

    /// Whether more examples would tell nothing new. Notes that one case is not tried if so.
    pub(super) const fn is_settled(&mut self) -> bool {
        let settled = self.refuted >= REFUTED_ENOUGH;
        if settled {
            self.skipped += 1;
        }
        settled
    }

    pub(super) const fn hold(&mut self) {
        self.held += 1;
    }

    /// Notes what came of one case.
    pub(super) fn note(&mut self, found: Result<(), Box<Finding>>) {
        match found {
            Ok(()) => self.hold(),
            Err(finding) => self.find(*finding),
        }
    }

    pub(super) fn find(&mut self, finding: Finding) {
        match finding.verdict {
            Verdict::Refuted => self.refuted += 1,
            Verdict::Proved | Verdict::Undecided => self.undecided += 1,
        }
        // What is refuted is told before what nobody knows.
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(finding);
        } else if finding.verdict == Verdict::Refuted {
            let unknown = self.findings.iter().rposition(|old| old.verdict != Verdict::Refuted);
            if let Some(slot) = unknown.and_then(|at| self.findings.get_mut(at)) {
                *slot = finding;
            }
        }
    }

    pub(super) fn done(mut self) -> Proven {
        self.findings.sort_by_key(|finding| finding.verdict != Verdict::Refuted);
        let verdict = match (self.refuted, self.undecided) {
            (0, 0) => Verdict::Proved,
            (0, _) => Verdict::Undecided,
            _ => Verdict::Refuted,
        };
        Proven {
            claim: self.claim,
            verdict,
            asked: self.held + self.refuted + self.undecided,
            held: self.held,
            skipped: self.skipped,
            findings: self.findings,
        }
    }
}
