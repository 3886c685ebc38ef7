//! The answer: allowed or not, which policies decided, and the permit that only an allowed decision can
//! become.

use serde::{Deserialize, Serialize};

use crate::{
    error::{self, Denial},
    ids::DecisionId,
    model::team::Preset,
    op::Warrant,
};

/// Which texts and rows a decision was made from, so that it can be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Versions {
    /// Digest of the schema and of all shipped policies, 16 hexadecimal digits.
    pub policies: String,
    /// The preset of the principal's team.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The version of the team's own policies; absent when the team has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<i64>,
    /// The version of the member's rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<i64>,
}

/// A policy that decided: all satisfied forbids when there is one, else all satisfied permits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Determining {
    /// The policy's id, such as `plat/funds`.
    pub id: String,
    /// Where it comes from: `plat`, `site`, `preset` or `team`.
    pub layer: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// The advice code of a forbid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// What the answer to a refusal looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Manner {
    /// With its reasons.
    Openly,
    /// As if there were no such thing: it is another team's.
    AsAbsent,
    /// By asking to sign in.
    SignIn,
}

/// An answer of the policies; serialises to what the decision record keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Decision {
    pub(super) allowed: bool,
    pub(super) action: String,
    pub(super) kind: String,
    pub(super) determining: Vec<Determining>,
    pub(super) denials: Vec<Denial>,
    pub(super) errors: Vec<String>,
    pub(super) forced: bool,
    pub(super) manner: Manner,
    pub(super) versions: Versions,
}

impl Decision {
    /// Whether the answer is yes.
    pub const fn allowed(&self) -> bool {
        self.allowed
    }
    /// The Cedar action or group that was asked for.
    pub fn action(&self) -> &str {
        &self.action
    }
    /// The policies that decided; empty when no policy spoke.
    pub fn determining(&self) -> &[Determining] {
        &self.determining
    }
    /// All reasons of a refusal; empty when allowed.
    pub fn denials(&self) -> &[Denial] {
        &self.denials
    }
    /// The policies that could not be evaluated, and why: for the log.
    pub fn errors(&self) -> &[String] {
        &self.errors
    }
    /// Whether the answer is no only because a policy could not be evaluated.
    pub const fn forced(&self) -> bool {
        self.forced
    }
    /// Whether the thing is another team's, so that the answer must be "not found".
    pub const fn foreign(&self) -> bool {
        matches!(self.manner, Manner::AsAbsent)
    }
    /// The texts and rows behind the answer.
    pub const fn versions(&self) -> &Versions {
        &self.versions
    }

    /// Leave to act, if the answer is yes. `id` is the id under which the decision is recorded.
    ///
    /// # Errors
    /// The refusal, which a service turns into its error with `?`.
    pub fn permit(self, id: DecisionId) -> Result<Permit, Refusal> {
        if self.allowed {
            Ok(Permit { id, action: self.action })
        } else {
            Err(Refusal { id, decision: Box::new(self) })
        }
    }
}

/// Leave to act: an allowed decision. Nothing else makes one, and no change commits without one.
#[derive(Debug)]
pub struct Permit {
    id: DecisionId,
    action: String,
}

impl Permit {
    /// The id under which the decision is recorded.
    pub const fn id(&self) -> DecisionId {
        self.id
    }
    /// The Cedar action that it allows.
    pub fn action(&self) -> &str {
        &self.action
    }
}

impl Warrant for Permit {
    fn decision(&self) -> Option<String> {
        Some(self.id.to_string())
    }
}

/// A refusal with the decision behind it, which is still to be recorded.
#[derive(Debug)]
pub struct Refusal {
    id: DecisionId,
    decision: Box<Decision>,
}

impl Refusal {
    /// The id under which the decision is recorded.
    pub const fn id(&self) -> DecisionId {
        self.id
    }
    /// The decision.
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }
}

/// A refusal warrants its own record, and nothing else is written with it.
impl Warrant for Refusal {
    fn decision(&self) -> Option<String> {
        Some(self.id.to_string())
    }
}

impl From<Refusal> for error::Error {
    fn from(refusal: Refusal) -> Self {
        let decision = *refusal.decision;
        let told = match decision.manner {
            // Somebody from outside learns nothing of the team, not even that there is one.
            Manner::AsAbsent if decision.versions.member.is_none() => error::Error::not_found("team"),
            Manner::AsAbsent => error::Error::not_found(&decision.kind.replace('_', " ")),
            Manner::SignIn => {
                error::Error::new(error::Kind::Unauthenticated, "unauthenticated", "sign in first")
            }
            Manner::Openly => {
                error::Error { decision: Some(refusal.id), ..error::Error::refused(decision.denials) }
            }
        };
        if decision.errors.is_empty() { told } else { told.with_inside(decision.errors.join("; ")) }
    }
}
