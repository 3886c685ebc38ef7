//! From the engine's answer to ours: which policies decided, and for a refusal every reason with its way out.

use std::sync::Arc;

use super::{
    Heard, Policies, Question,
    advice::{Case, either},
    asking::offers,
    decision::{Decision, Determining, Manner, Versions},
    index::Note,
    request::{Facts, Launch, MemberPrincipal, Principal, Resource},
};
use crate::{
    error::{Denial, RequestOffer},
    model::{
        action::Verb,
        quota::Limits,
        team::{Role, Spending},
    },
    money::Credits,
};

/// The `policy` of a denial that no policy spoke for.
const NO_PERMIT: &str = "no-permit";

impl Policies {
    /// The answer before anything is known: no.
    pub(super) fn undecided(&self, question: &Question<'_>) -> Decision {
        let (manner, member) = match question.principal {
            Principal::Anonymous => (Manner::SignIn, None),
            Principal::User { .. } => (Manner::Openly, None),
            Principal::Member(member) => (Manner::Openly, Some(member)),
        };
        let versions = Versions {
            policies: self.digest().to_owned(),
            preset: member.map(|member| member.preset),
            team: member.and_then(|member| Some(member.rules.as_ref()?.number())),
            member: member.map(|member| member.version),
        };
        Decision {
            allowed: false,
            action: question.name.to_owned(),
            kind: question.kind.to_owned(),
            determining: Vec::new(),
            denials: Vec::new(),
            errors: Vec::new(),
            forced: false,
            manner,
            versions,
        }
    }

    /// Fills in what the engine answered.
    pub(super) fn explain(&self, decision: &mut Decision, heard: Heard<'_>, question: &Question<'_>) {
        let Heard { allowed, notes, errors } = heard;
        (decision.errors, decision.allowed) = (errors, allowed);
        decision.determining = notes.iter().map(|note| determining(note)).collect();
        if decision.allowed {
            return;
        }
        let case = Case {
            principal: question.principal,
            resource: question.resource,
            facts: question.facts,
            asked: question.operation,
            sees_balance: self.sees_balance(question),
        };
        let codes: Vec<Option<&str>> = notes.iter().map(|note| note.advice.as_deref()).collect();
        let offers = offers(&case, &codes);
        decision.denials = notes.iter().zip(offers).map(|(note, offer)| denial(note, &case, offer)).collect();
        // Only a guardrail can say so: what a team says of its own policies is a sentence and steers nothing.
        if notes.iter().any(|note| note.layer == "plat" && note.advice.as_deref() == Some("foreign")) {
            decision.manner = Manner::AsAbsent;
        }
        if decision.denials.is_empty() {
            decision.denials.push(self.no_permit(question));
        }
    }

    /// Whether whoever launches may see the money that it would spend: their own wallet, or the team's pool.
    fn sees_balance(&self, question: &Question<'_>) -> bool {
        let (Principal::Member(member), Some(_)) = (question.principal, &question.facts.launch) else {
            return false;
        };
        let spent = match member.preset.spending() {
            Spending::Wallet => Resource::own(member.team, member.id),
            Spending::Pool => Resource::team(member.team),
        };
        self.allows_group(question.principal, "balance", Verb::View, &spent)
    }

    /// Why no permit spoke: which roles it would speak for, and whether it would if the thing were one's own.
    fn no_permit(&self, question: &Question<'_>) -> Denial {
        let operation = question.operation;
        let (advice, lifted_by) = match (question.principal, question.resource) {
            (Principal::Member(member), thing) => {
                let own = self.would(question, member, member.role, &thing.given_to(member.id));
                let advice = if own {
                    format!("your role {} may do {operation} only with what is your own", member.role)
                } else {
                    format!("your role {} may not do {operation}", member.role)
                };
                let roles = member.preset.roles().iter();
                let able = roles.filter(|role| self.would(question, member, **role, thing));
                let able: Vec<&str> = able.map(|role| role.word()).collect();
                (
                    advice,
                    if able.is_empty() { "nobody".to_owned() } else { format!("team {}", either(&able)) },
                )
            }
            (Principal::Anonymous, _) => ("sign in first".to_owned(), "yourself, signed in".to_owned()),
            (Principal::User { .. }, Resource::Site) => {
                (format!("only the operator of this site may do {operation}"), "operator".to_owned())
            }
            (Principal::User { .. }, _) => (
                format!("{operation} is for the members of the team"),
                "team owner or admin, by making you a member".to_owned(),
            ),
        };
        Denial { policy: NO_PERMIT.to_owned(), advice, limit: None, lifted_by, request: None }
    }

    /// Whether `role` alone would do for `thing`, money and the member's limits left aside.
    fn would(&self, question: &Question<'_>, member: &MemberPrincipal, role: Role, thing: &Resource) -> bool {
        let member = MemberPrincipal { role, limits: Limits::default(), ..member.clone() };
        let free = |launch: Launch| Launch {
            hold: Credits::ZERO,
            funds: Credits::ZERO,
            budget: None,
            team_ceiling: Limits::default(),
            ..launch
        };
        let facts = Facts { launch: question.facts.launch.clone().map(free), ..question.facts.clone() };
        let principal = Principal::Member(Arc::new(member));
        self.allows(&Question { principal: &principal, resource: thing, facts: &facts, ..*question })
    }
}

fn determining(note: &Note) -> Determining {
    Determining {
        id: note.id.clone(),
        layer: note.layer.clone(),
        effect: note.effect,
        advice: note.advice.clone(),
    }
}

fn denial(note: &Note, case: &Case<'_>, request: Option<RequestOffer>) -> Denial {
    let said = note.advice.as_deref().unwrap_or("a rule of the team forbids this");
    let (advice, limit) = if note.layer == "team" { (said.to_owned(), None) } else { case.sentence(said) };
    let lifted_by = note.lifted_by.clone().unwrap_or_else(|| "team owner or admin".to_owned());
    Denial { policy: note.id.clone(), advice, limit, lifted_by, request }
}

/// The denial for an action that principals of this kind can never ask for.
pub(super) fn not_for_such(question: &Question<'_>) -> Denial {
    let operation = question.operation;
    let (advice, lifted_by) = match question.principal {
        Principal::Anonymous => ("sign in first".to_owned(), "yourself, signed in"),
        Principal::User { .. } | Principal::Member(_) => (
            format!("{operation} is done outside of teams, with a user account"),
            "yourself, signed in with a user account that may do it",
        ),
    };
    let (policy, lifted_by) = (NO_PERMIT.to_owned(), lifted_by.to_owned());
    Denial { policy, advice, limit: None, lifted_by, request: None }
}

/// The denial when a policy could not be evaluated: what cannot be checked is not allowed.
pub(super) fn not_evaluated() -> Denial {
    Denial {
        policy: "plat/not-evaluated".to_owned(),
        advice: "this could not be checked, so the answer is no; nothing was changed".to_owned(),
        limit: None,
        lifted_by: "operator".to_owned(),
        request: None,
    }
}
