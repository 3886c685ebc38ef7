//! Policy: may this principal do this action to this thing, knowing these facts? The only room that knows
//! Cedar.
//!
//! [`Policies`] holds the shipped texts, ready to be asked; `request` says what is asked about,
//! `decision` what is answered. Rules live in `policies/*.cedar`, their facts are read by the services, and
//! the sentences of refusals are in `advice`. Nothing here waits, reads rows or parses Cedar text while
//! deciding.

mod advice;
mod asking;
mod beside;
mod cases;
mod decision;
mod effects;
mod entities;
mod explain;
mod floor;
mod index;
mod lint;
mod lists;
mod matrix;
mod named;
mod prove;
mod recent;
mod replay;
mod request;
mod rules;
mod scan;
mod shipped;
#[cfg(test)]
mod tests;
mod text;
mod versions;

use std::{
    collections::{BTreeSet, HashMap},
    sync::OnceLock,
};

use cedar_policy::{Authorizer, Decision as Cedar, Entities, Request, Response, Schema};
use sha2::{Digest, Sha256};

pub use self::{
    beside::{Answered, Beside},
    cases::{Case, Expected, Failed, Money, Thing, Who, Whose},
    decision::{Decision, Determining, Permit, Refusal, Versions},
    effects::{Change, Effects, Person, Sample},
    lint::{Draft, Fault, MOST_BYTES, MOST_POLICIES, digest},
    matrix::{Reach, Row},
    named::Named,
    prove::{
        Claim, Comparison, Example, Finding, Proof, Proven, SideAnswer, Unproven, Verdict, solver_version,
    },
    replay::{Flip, Recorded, Replayed},
    request::{
        BudgetRoom, Confirmation, Facts, Launch, MemberPrincipal, PriceChange, PriceEvidence, Principal,
        Resource,
    },
    rules::Rules,
    versions::TextVersions,
};
use self::{
    entities::Types,
    index::{Entry, Index, Note},
    recent::Recent,
};
use crate::{
    error,
    model::{
        action::{Action, Verb},
        team::Preset,
    },
};

/// Why policies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text is not what it should be.
    #[error("policies/{path}: {why}")]
    Text {
        /// The text's path under `policies/`.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A policy breaks a rule of the house.
    #[error("policy {id}: {why}")]
    Policy {
        /// The policy's id.
        id: String,
        /// What is wrong.
        why: String,
    },
    /// A service asked about a thing that the action is never about. A guardrail that looks for the right
    /// type of thing would not see this one, so the answer has to be no.
    #[error("{action} is never about {resource}; the schema says what it is about")]
    Mismatch {
        /// What was asked for.
        action: String,
        /// The thing.
        resource: String,
    },
    /// Something could not be said in Cedar.
    #[error("cannot be said in Cedar: {0}")]
    Value(String),
}

impl Error {
    fn value(error: impl std::fmt::Display) -> Self {
        Self::Value(error.to_string())
    }
}

impl From<Error> for error::Error {
    fn from(error: Error) -> Self {
        Self::internal(error)
    }
}

/// The shipped policies, ready to be asked.
#[derive(Debug)]
pub struct Policies {
    types: Types,
    recent: Recent,
    authorizer: Authorizer,
    anonymous: Index,
    users: Index,
    members: HashMap<Preset, Index>,
    kinds: Vec<String>,
    digest: String,
    schema: Schema,
    actions: Entities,
    /// The schema as a member sees it; made when the first team writes a policy.
    members_schema: OnceLock<Schema>,
}

/// What the roles of a team with this preset may do, in plain words, and the rules that say so to the engine.
pub fn preset_pages(preset: Preset) -> (&'static str, &'static str) {
    (shipped::prose(preset), shipped::preset(preset).text)
}

/// What the policies said to a question: those of the shipped texts, and beside them those of the team.
struct Heard<'a> {
    allowed: bool,
    notes: Vec<&'a Note>,
    errors: Vec<String>,
}

impl<'a> Heard<'a> {
    fn of(response: &Response, index: &'a Index) -> Self {
        Self {
            allowed: response.decision() == Cedar::Allow,
            notes: index.speaking(response),
            errors: response.diagnostics().errors().map(ToString::to_string).collect(),
        }
    }

    fn forbids(&self) -> bool {
        !self.allowed && !self.notes.is_empty()
    }

    /// What both together say, exactly as if they were one set: any forbid beats all permits.
    fn and(mut self, other: Heard<'a>) -> Self {
        let forbids = self.forbids() || other.forbids();
        self.allowed = !forbids && (self.allowed || other.allowed);
        self.notes.extend(other.notes);
        if forbids {
            self.notes.retain(|note| note.effect == "forbid");
        }
        self.errors.extend(other.errors);
        self
    }
}

/// One question: who, what (a leaf action or a group), about which thing, knowing what.
#[derive(Clone, Copy)]
struct Question<'a> {
    principal: &'a Principal,
    name: &'a str,
    kind: &'a str,
    operation: &'a str,
    resource: &'a Resource,
    facts: &'a Facts,
}

impl Policies {
    /// Reads the texts that come with the binary and prepares a set for every preset and action.
    ///
    /// # Errors
    /// When a text is broken: a fault of the build, which the tests find.
    pub fn shipped() -> Result<Self, Error> {
        let schema = text::schema(&shipped::SCHEMA)?;
        let actions = schema.action_entities().map_err(Error::value)?;
        let types = Types::new()?;
        let mut digest = Sha256::new();
        digest.update(shipped::SCHEMA.text);
        let mut platform = Vec::new();
        for text in &shipped::PLATFORM {
            digest.update(text.text);
            platform.extend(text::policies(text)?);
        }
        let mut members = HashMap::new();
        for preset in Preset::ALL {
            let text = shipped::preset(*preset);
            digest.update(text.text);
            let mut policies = platform.clone();
            policies.extend(text::policies(&text)?);
            members.insert(*preset, Index::build(&policies, &schema, &actions, &types.member)?);
        }
        let mut digest = hex::encode(digest.finalize());
        digest.truncate(16);
        Ok(Self {
            recent: Recent::default(),
            authorizer: Authorizer::new(),
            anonymous: Index::build(&platform, &schema, &actions, &types.anonymous)?,
            users: Index::build(&platform, &schema, &actions, &types.user)?,
            members,
            kinds: kinds(&schema),
            digest,
            types,
            schema,
            actions,
            members_schema: OnceLock::new(),
        })
    }

    /// Whether `principal` may do `action` to `resource`, knowing `facts`.
    pub fn decide(
        &self,
        principal: &Principal,
        action: Action,
        resource: &Resource,
        facts: &Facts,
    ) -> Decision {
        let (name, kind, operation) = (action.name(), action.kind(), action.operation());
        self.answer(&Question { principal, name, kind, operation, resource, facts })
    }

    /// The same answer without its reasons: for leaving out of a list what may not be seen. No permit comes
    /// of it.
    pub fn may(&self, principal: &Principal, action: Action, resource: &Resource, facts: &Facts) -> bool {
        let (name, kind, operation) = (action.name(), action.kind(), action.operation());
        self.allows(&Question { principal, name, kind, operation, resource, facts })
    }

    /// Whether `principal` may do what the group `<kind>:<verb>` stands for: for nouns that have no route
    /// yet, and for the matrix. Only policies about whole groups speak, quotas and funds do not.
    pub fn decide_group(
        &self,
        principal: &Principal,
        kind: &str,
        verb: Verb,
        resource: &Resource,
        facts: &Facts,
    ) -> Decision {
        let name = group(kind, verb);
        self.answer(&Question { principal, name: &name, kind, operation: &name, resource, facts })
    }

    /// All kinds of nouns that policies know, sorted.
    pub fn kinds(&self) -> &[String] {
        &self.kinds
    }

    /// Digest of the schema and all policies, 16 hexadecimal digits.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Whether the word can be a scope of an API key: `view`, `use`, `write`, `<kind>:<verb>` or an
    /// operationId of a team's noun.
    pub fn is_scope(&self, word: &str) -> bool {
        let index = self.members.get(&Preset::Glows);
        let is_teams = |name: &str| index.and_then(|index| index.get(name)).is_some_and(Entry::is_teams);
        let of_operation = Action::ALL.iter().find(|action| action.operation() == word);
        Verb::from_word(word).is_some()
            || word.contains(':') && is_teams(word)
            || of_operation.is_some_and(|a| is_teams(a.name()))
    }

    fn index(&self, principal: &Principal) -> Option<&Index> {
        match principal {
            Principal::Anonymous => Some(&self.anonymous),
            Principal::User { .. } => Some(&self.users),
            Principal::Member(member) => self.members.get(&member.preset),
        }
    }

    /// Whether the kind belongs in the principal's matrix: for members the nouns of teams, for users all they
    /// can ask.
    fn concerns(&self, principal: &Principal, kind: &str) -> bool {
        let entry = self.index(principal).and_then(|index| index.get(&group(kind, Verb::View)));
        let is_teams = |entry: &Entry| entry.groups.iter().any(|group| group == "view");
        entry.is_some_and(|entry| is_teams(entry) || !matches!(principal, Principal::Member(_)))
    }

    fn answer(&self, question: &Question<'_>) -> Decision {
        let mut decision = self.undecided(question);
        let index = self.index(question.principal);
        let Some((index, entry)) = index.and_then(|index| Some((index, index.get(question.name)?))) else {
            decision.denials.push(explain::not_for_such(question));
            return decision;
        };
        match self.evaluate(question, index, entry) {
            Ok(heard) => self.explain(&mut decision, heard, question),
            Err(error) => decision.errors.push(error.to_string()),
        }
        if !decision.errors.is_empty() {
            decision.forced = decision.allowed || decision.denials.is_empty();
            decision.allowed = false;
            decision.denials.push(explain::not_evaluated());
        }
        decision
    }

    fn allows(&self, question: &Question<'_>) -> bool {
        let found = self.index(question.principal).and_then(|index| Some((index, index.get(question.name)?)));
        found.is_some_and(|(index, entry)| {
            self.evaluate(question, index, entry).is_ok_and(|heard| heard.allowed && heard.errors.is_empty())
        })
    }

    fn allows_group(&self, principal: &Principal, kind: &str, verb: Verb, resource: &Resource) -> bool {
        let (name, facts) = (group(kind, verb), Facts::default());
        self.allows(&Question { principal, name: &name, kind, operation: &name, resource, facts: &facts })
    }

    fn evaluate<'a>(
        &self,
        question: &Question<'a>,
        index: &'a Index,
        entry: &'a Entry,
    ) -> Result<Heard<'a>, Error> {
        let who = self.recent.principal(&self.types, question.principal)?;
        let what = self.types.resource(question.resource)?;
        if !entry.resources.contains(what.uid.type_name()) {
            return Err(Error::Mismatch { action: question.name.to_owned(), resource: what.uid.to_string() });
        }
        let context = entities::context(question.principal, in_scope(question, entry), question.facts)?;
        let request =
            Request::new(who.uid, entry.action.clone(), what.uid, context, None).map_err(Error::value)?;
        let entities = Entities::from_entities([who.entity, what.entity], None).map_err(Error::value)?;
        let shipped = Heard::of(&self.authorizer.is_authorized(&request, &entry.set, &entities), index);
        let Some(rules) = floor::binding(question) else { return Ok(shipped) };
        let own = rules.index()?;
        let Some(entry) = own.get(question.name) else { return Ok(shipped) };
        Ok(shipped.and(Heard::of(&self.authorizer.is_authorized(&request, &entry.set, &entities), own)))
    }
}

/// Whether the scopes of the API key that asks leave the action in; true for whoever asks without a key.
fn in_scope(question: &Question<'_>, entry: &Entry) -> bool {
    let scopes = match question.principal {
        Principal::Member(member) => member.key_scopes.as_deref().unwrap_or_default(),
        Principal::Anonymous | Principal::User { .. } => return true,
    };
    let names_it = |scope: &String| {
        scope == question.operation || scope == question.name || entry.groups.binary_search(scope).is_ok()
    };
    scopes.is_empty() || scopes.iter().any(names_it)
}

fn group(kind: &str, verb: Verb) -> String {
    format!("{kind}:{}", verb.word())
}

/// The kinds of nouns: whatever has a group.
fn kinds(schema: &Schema) -> Vec<String> {
    let names = schema.actions().filter_map(|action| action.id().unescaped().split_once(':'));
    let kinds: BTreeSet<String> = names.map(|(kind, _)| kind.to_owned()).collect();
    kinds.into_iter().collect()
}
