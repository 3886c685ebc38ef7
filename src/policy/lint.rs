//! What a team may write: the limits, the rules of writing, and the engine's own check. Every complaint says where in
//! the text it is, and what would be right.
//!
//! A text that passes can always be evaluated: types and attributes are checked strictly, nothing looks further than
//! one reference, and nothing is calculated, so that nothing overflows.

use std::{
    collections::{BTreeSet, HashMap},
    str::FromStr,
    sync::Arc,
};

use cedar_policy::{
    ActionConstraint, Effect, Policy, PolicyId, PolicySet, PrincipalConstraint, Schema, ValidationMode,
    Validator,
};
use cedar_policy_formatter::{Config, policies_str_to_pretty};
use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Policies, floor,
    rules::{self, Rules},
    scan, shipped, text,
};
use crate::model::team::{Preset, Role};

/// The most policies of a team.
pub const MOST_POLICIES: usize = 200;
/// The longest text of a team's policies, in bytes.
pub const MOST_BYTES: usize = 65_536;
/// The longest annotation, in characters.
const LONGEST_ANNOTATION: usize = 300;
/// The longest id, in characters.
const LONGEST_ID: usize = 64;
/// What a team may note at a policy.
const ANNOTATIONS: [&str; 5] = ["advice", "doc", "id", "lifted_by", "ticket"];
/// The layers of others, which no id may pretend to be of.
const RESERVED: [&str; 4] = ["plat/", "preset/", "site/", "team/"];
/// Complaints that are told at once.
const MOST_FAULTS: usize = 50;
/// Engine functions that calculate; what is calculated can overflow.
const CALCULATING: [&str; 6] = ["+", "-", "*", "offset", "durationSince", "toDate"];
/// The width that texts are laid out for.
const WIDTH: usize = 100;

/// What is wrong with a team's text, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The policy's id, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl Fault {
    /// A complaint about the place `offset` bytes into `text`.
    pub(super) fn at(text: &str, offset: usize, policy: Option<String>, detail: String) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, policy, detail }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, column, policy, detail } = self;
        match policy {
            Some(policy) => write!(f, "line {line}, column {column}, {policy}: {detail}"),
            None => write!(f, "line {line}, column {column}: {detail}"),
        }
    }
}

/// A text that can be published: laid out as the engine's formatter does, and ready to be asked.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The text as it will be kept.
    pub text: String,
    /// The ids of its policies, sorted.
    pub ids: Vec<String>,
    /// What it cannot do though it seems to: forbids that do not bind the owner.
    pub notes: Vec<Fault>,
    /// The policies, with the number 0.
    pub rules: Arc<Rules>,
}

/// A policy with the place where it begins.
struct Placed {
    policy: Policy,
    start: usize,
}

impl Policies {
    /// Reads, checks and lays out what a team with this preset wrote.
    ///
    /// # Errors
    /// All that is wrong with it, as far as one can tell at once.
    pub fn draft(&self, preset: Preset, text: &str) -> Result<Draft, Vec<Fault>> {
        let placed = parse(text).map_err(|fault| vec![fault])?;
        let mut faults = Vec::new();
        let mut seen = HashMap::new();
        for placed in &placed {
            let id = placed.policy.annotation("id").map(str::to_owned);
            let mut complain = |detail: String| {
                faults.push(Fault::at(
                    text,
                    placed.start,
                    id.as_ref().map(|id| format!("team/{id}")),
                    detail,
                ));
            };
            annotations(&placed.policy, &mut complain);
            if let Some(id) = &id
                && seen.insert(id.clone(), placed.start).is_some()
            {
                complain(format!("another policy has the @id {id:?} too; every id is given once"));
            }
            self.conditions(&placed.policy, preset, &mut complain);
        }
        told(faults)?;
        let named = placed.iter().map(|placed| {
            let id = placed.policy.annotation("id").unwrap_or_default();
            placed.policy.new_id(PolicyId::new(format!("team/{id}")))
        });
        let mut policies: Vec<Policy> = named.collect();
        told(self.validated(text, &policies))?;
        policies.sort_by(|a, b| a.id().cmp(b.id()));
        let whole = |error: String| vec![Fault::at(text, 0, None, error)];
        let index = self.layer(&policies).map_err(|error| whole(error.to_string()))?;
        let text = laid_out(text).map_err(whole)?;
        let notes = placed.iter().filter_map(|placed| spared(&text, &placed.policy)).collect();
        let ids = policies.iter().map(|policy| policy.id().to_string()).collect();
        let rules = Arc::new(Rules::new(0, &text, Ok(index)));
        Ok(Draft { text, ids, notes, rules })
    }

    /// The schema as a member sees it who asks about the team's nouns. Nobody else asks a team's policies, and about
    /// nothing else, so that they need not say `principal is Member` before they look at a member.
    pub(super) fn members_schema(&self) -> &Schema {
        self.members_schema.get_or_init(|| {
            // It differs from the shipped schema, which was read, only in what is left out. A test reads it.
            let read = Schema::from_cedarschema_str(&members_text());
            read.map_or_else(|_| self.schema.clone(), |(schema, _)| schema)
        })
    }

    fn validated(&self, text: &str, policies: &[Policy]) -> Vec<Fault> {
        let set = match PolicySet::from_policies(policies.iter().cloned()) {
            Ok(set) => set,
            Err(error) => return vec![Fault::at(text, 0, None, error.to_string())],
        };
        let validator = Validator::new(self.members_schema().clone());
        let result = validator.validate_with_level(&set, ValidationMode::Strict, 1);
        let errors = result.validation_errors().map(|error| complaint(text, error));
        errors.chain(result.validation_warnings().map(|warning| complaint(text, warning))).collect()
    }

    /// What the engine lets pass and we do not.
    fn conditions(&self, policy: &Policy, preset: Preset, complain: &mut impl FnMut(String)) {
        if let PrincipalConstraint::Is(name) | PrincipalConstraint::IsIn(name, _) =
            policy.principal_constraint()
            && name != self.types.member
        {
            complain(format!("a team's policies are about its members, not about a {name}"));
        }
        for action in text::action_scope(policy).into_iter().flatten() {
            let name = action.id().unescaped();
            let is_team_wide = |word: &str| word == "view" || word == "use" || word == "write";
            let mut above = self.actions.ancestors(&action).into_iter().flatten();
            if !self.schema.actions().any(|known| *known == action) {
                complain(format!("there is no action {name:?}; `docs/policy.md` says how actions are named"));
            } else if !is_team_wide(name) && !above.any(|group| is_team_wide(group.id().unescaped())) {
                complain(format!("{name} is not about a team's nouns; a team cannot permit or forbid it"));
            }
        }
        if let ActionConstraint::Eq(group) = policy.action_constraint()
            && self.actions.ancestors(&group).is_some()
            && !crate::model::action::Action::ALL.iter().any(|leaf| leaf.name() == group.id().unescaped())
        {
            complain(format!(
                "{group} is a group of actions, and `action ==` is not about what is in it: say `action in [{group}]`"
            ));
        }
        let Ok(json) = policy.to_json() else {
            return complain("this policy cannot be taken apart; write it more plainly".to_owned());
        };
        let conditions = json.get("conditions").unwrap_or(&Value::Null);
        if text::mentions_action(conditions) {
            complain("say which action in the scope (`action in […]`), not in a condition".to_owned());
        }
        if let Some(word) = calculates(conditions) {
            complain(format!(
                "`{word}` calculates, and what is calculated can overflow: a rule that fails would refuse everybody. \
                 Compare with a number instead; left, funds and budget are what is left already"
            ));
        }
        let mut roles = BTreeSet::new();
        named_roles(&json, &mut roles);
        let known: Vec<&str> = preset.roles().iter().map(|role| role.word()).collect();
        for role in roles.iter().filter(|role| !known.contains(&role.as_str())) {
            complain(format!(
                "no member of a team with the preset {preset} has the role {role:?}: it has {}. For kinds of members \
                 of your own use labels: principal.labels.contains({role:?})",
                known.join(", ")
            ));
        }
    }
}

/// The text of the shipped schema without what is about the site, and without users.
pub(super) fn members_text() -> String {
    let is_prose = |line: &&str| line.trim_start().starts_with("//");
    let plain: Vec<&str> = shipped::SCHEMA.text.lines().filter(|line| !is_prose(line)).collect();
    let plain = plain.join("\n");
    let statements = plain.split(';').filter(|statement| !statement.contains("resource: [Site]"));
    let kept: Vec<&str> = statements.collect();
    kept.join(";")
        .replace("principal: [User, Member]", "principal: [Member]")
        .replace("[Record, Site]", "[Record]")
}

fn told(mut faults: Vec<Fault>) -> Result<(), Vec<Fault>> {
    faults.sort_by_key(|fault| (fault.line, fault.column));
    faults.truncate(MOST_FAULTS);
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Reads a text that is not too large.
fn parse(text: &str) -> Result<Vec<Placed>, Fault> {
    if text.len() > MOST_BYTES {
        let told = format!(
            "the text has {} bytes and may have {MOST_BYTES}; a set of names is shorter than a policy for each",
            text.len()
        );
        return Err(Fault::at(text, MOST_BYTES, None, told));
    }
    let starts = scan::starts(text)?;
    if let Some(start) = starts.get(MOST_POLICIES) {
        let told = format!(
            "{} policies, and a team may have {MOST_POLICIES}; put what differs only in a name into one \
             policy with a set",
            starts.len()
        );
        return Err(Fault::at(text, *start, None, told));
    }
    let set = PolicySet::from_str(text).map_err(|errors| {
        let first = errors.iter().next();
        first.map_or_else(|| Fault::at(text, 0, None, errors.to_string()), |error| complaint(text, error))
    })?;
    if set.num_of_templates() > 0 {
        let at = text.find("?principal").or_else(|| text.find("?resource")).unwrap_or_default();
        let told =
            "templates cannot be used: a policy names whom it is about, by role or by label".to_owned();
        return Err(Fault::at(text, at, None, told));
    }
    let mut placed: Vec<Placed> = set
        .policies()
        .map(|policy| {
            // The engine calls them policy0, policy1, … as it reads them.
            let number = policy.id().to_string().trim_start_matches("policy").parse::<usize>();
            let start = number.ok().and_then(|number| starts.get(number).copied()).unwrap_or_default();
            Placed { policy: policy.clone(), start }
        })
        .collect();
    placed.sort_by_key(|placed| placed.start);
    Ok(placed)
}

/// What the engine complains about, with the place that it points at.
fn complaint(text: &str, error: &(impl Diagnostic + std::fmt::Display)) -> Fault {
    let label = error.labels().and_then(|mut labels| labels.next());
    let offset = label.as_ref().map_or(0, |label| label.offset());
    let mut detail = error.to_string();
    if let Some(why) = label.as_ref().and_then(|label| label.label()) {
        detail = format!("{detail} ({why})");
    }
    if let Some(help) = error.help() {
        detail = format!("{detail}; {help}");
    }
    Fault::at(text, offset, None, detail)
}

fn annotations(policy: &Policy, complain: &mut impl FnMut(String)) {
    match policy.annotation("id") {
        None => complain("give it an @id, such as @id(\"no-spot-at-night\"), which refusals name".to_owned()),
        Some(id) => {
            let allowed =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '/');
            if id.is_empty() || id.len() > LONGEST_ID || !id.chars().all(allowed) {
                complain(format!("@id({id:?}): 1 to {LONGEST_ID} of a-z, 0-9, `-`, `_` and `/`"));
            }
            if let Some(prefix) = RESERVED.iter().find(|prefix| id.starts_with(**prefix)) {
                complain(format!(
                    "@id({id:?}): ids that begin with {prefix} are not yours to give; the server puts team/ in front"
                ));
            }
        }
    }
    for (key, value) in policy.annotations() {
        if !ANNOTATIONS.contains(&key) {
            complain(format!("@{key} means nothing here; a policy can have @{}", ANNOTATIONS.join(", @")));
        }
        let length = value.chars().count();
        if !(1..=LONGEST_ANNOTATION).contains(&length) || value.chars().any(char::is_control) {
            complain(format!("@{key}: one line of 1 to {LONGEST_ANNOTATION} characters, got {length}"));
        }
    }
    if policy.effect() == Effect::Forbid && policy.annotation("advice").is_none() {
        let told = "give it an @advice: the sentence that whoever is refused reads, such as @advice(\"no spot GPUs \
                    after 18:00\")";
        complain(told.to_owned());
    }
}

/// The first word that calculates. A negative number is not a calculation.
fn calculates(json: &Value) -> Option<&str> {
    match json {
        Value::Object(fields) => fields.iter().find_map(|(key, inner)| {
            let is_number = key == "neg" && inner.pointer("/arg/Value").is_some();
            // Keys of records are names and no words of the language.
            let is_record = key == "Record" || key == "Value";
            if is_record {
                return inner.as_object().and_then(|fields| fields.values().find_map(calculates));
            }
            if (CALCULATING.contains(&key.as_str()) || key == "neg") && !is_number {
                return Some(key.as_str());
            }
            calculates(inner)
        }),
        Value::Array(items) => items.iter().find_map(calculates),
        _ => None,
    }
}

/// The roles that a policy names, in its scope or in a condition.
fn named_roles(json: &Value, roles: &mut BTreeSet<String>) {
    match json {
        Value::Object(fields) => {
            if let (Some(Value::String(kind)), Some(Value::String(id))) =
                (fields.get("type"), fields.get("id"))
                && kind == "Role"
            {
                roles.insert(id.clone());
            }
            fields.values().for_each(|inner| named_roles(inner, roles));
        }
        Value::Array(items) => items.iter().for_each(|inner| named_roles(inner, roles)),
        _ => {}
    }
}

/// A note that a forbid does not bind the owner where the owner always gets through.
fn spared(text: &str, policy: &Policy) -> Option<Fault> {
    let id = policy.annotation("id").unwrap_or_default();
    let names_floor = text::action_scope(policy).is_some_and(|actions| {
        actions.iter().any(|action| {
            let name = action.id().unescaped();
            let leaf = crate::model::action::Action::ALL.iter().find(|leaf| leaf.name() == name);
            let kind = leaf.map_or_else(|| name.split(':').next().unwrap_or_default(), |leaf| leaf.kind());
            floor::is_floor(kind)
        })
    });
    let may_be_owner = match policy.principal_constraint() {
        PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
            uid.id().unescaped() == Role::Owner.word()
        }
        _ => true,
    };
    if policy.effect() != Effect::Forbid || !names_floor || !may_be_owner {
        return None;
    }
    let offset = text.find(&format!("@id(\"{id}\")")).unwrap_or_default();
    let told = "the owner, signed in, is not bound by this: policies, members, roles and money stay in reach of the \
                owner, so that a team can always be mended";
    Some(Fault::at(text, offset, Some(format!("team/{id}")), told.to_owned()))
}

/// The text as the engine's formatter lays it out; an empty text stays empty.
fn laid_out(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let config = Config { line_width: WIDTH, indent_width: 2 };
    policies_str_to_pretty(text, &config).map_err(|error| error.to_string())
}

/// The digest of a text of policies, SHA-256 in hexadecimal.
pub fn digest(text: &str) -> String {
    rules::digest(text)
}
