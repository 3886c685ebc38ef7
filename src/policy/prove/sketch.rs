//! A solver's example, asked again of the policies themselves and made as small and as plain as it can be.

use std::{collections::BTreeMap, str::FromStr};

use cedar_policy::{Context, Decision as Verdict, Entities, EntityUid, PolicySet, Request};
use cedar_policy_symcc::Env;
use serde_json::{Value, json};

use super::super::{Heard, Policies, floor, index::Index};
use super::{
    claims::{Example, SideAnswer},
    grounds::{Grounds, Situation},
};
use crate::model::team::Role;

/// What can be asked of, in the words of policies, with where it lies and its plainest value. What hangs on something
/// else comes after it.
const FIELDS: [(&str, &[&str], &str); 32] = [
    ("principal.active", &["/principal/attrs/active"], "true"),
    ("principal.reset", &["/principal/attrs/reset"], "false"),
    ("principal.key", &["/principal/attrs/key"], "false"),
    ("context.in_scope", &["/context/in_scope"], "true"),
    ("principal.account", &["/principal/attrs/account"], "\"somebody\""),
    ("principal.labels", &["/principal/attrs/labels"], "[]"),
    ("principal.visible.regions", &["/principal/attrs/visible/regions"], ALL),
    ("principal.visible.instance_types", &["/principal/attrs/visible/instance_types"], ALL),
    ("principal.visible.accelerators", &["/principal/attrs/visible/accelerators"], ALL),
    ("principal.visible.images", &["/principal/attrs/visible/images"], ALL),
    ("principal.quota.instances", &["/principal/attrs/quota/instances"], NO_LIMIT),
    ("principal.quota.gpus", &["/principal/attrs/quota/gpus"], NO_LIMIT),
    ("principal.quota.gpus_per_instance", &["/principal/attrs/quota/gpus_per_instance"], NO_LIMIT),
    ("resource.region", &["/resource/attrs/region"], "\"any\""),
    ("resource.instance_type", &["/resource/attrs/instance_type"], "\"any\""),
    ("resource.accelerator", &["/resource/attrs/accelerator"], "\"any\""),
    ("resource.image", &["/resource/attrs/image"], "\"any\""),
    ("resource.product", &["/resource/attrs/product"], "\"any\""),
    ("resource.gpus", &["/resource/attrs/gpus"], "1"),
    ("context.left", &["/context/left"], UNBOUND),
    ("context.team_left", &["/context/team_left"], UNBOUND),
    ("context.hold", &["/context/hold"], "0"),
    ("context.budget", &["/context/budget"], NO_LIMIT),
    ("context.funds", &["/context/funds"], "1000000000000"),
    ("context.want", &["/context/want"], "{\"instances\":1,\"gpus\":1,\"spend\":0}"),
    ("context.price_per_hour", &["/context/price_per_hour", "/context/want/spend"], "0"),
    ("context.runway_minutes", &["/context/runway_minutes"], NO_LIMIT),
    ("context.snapshots_left", &["/context/snapshots_left"], "100"),
    ("context.hour", &["/context/hour"], "12"),
    ("context.minute", &["/context/minute"], "0"),
    ("context.weekday", &["/context/weekday"], "3"),
    ("context.now", &["/context/now"], "1767225600"),
];
const ALL: &str = "{\"all\":true,\"names\":[]}";
const NO_LIMIT: &str = "9223372036854775807";
const UNBOUND: &str =
    "{\"instances\":9223372036854775807,\"gpus\":9223372036854775807,\"spend\":9223372036854775807}";

/// What both versions say to an example.
pub(super) struct Both {
    pub(super) before: SideAnswer,
    pub(super) after: SideAnswer,
    /// Whether the version after the change could not be evaluated.
    pub(super) fails: bool,
}

/// Who asks both versions, and what shows that a claim is refuted.
pub(super) struct Judge<'a> {
    pub(super) grounds: &'a Grounds<'a>,
    pub(super) situation: &'a Situation,
    pub(super) facts: PolicySet,
    /// The versions' policies; `None` for none at all.
    pub(super) before: Option<&'a Index>,
    pub(super) after: Option<&'a Index>,
    pub(super) shows: fn(&Both) -> bool,
    /// The text of policies whose words an example shall tell.
    pub(super) texts: String,
}

/// A question as JSON: `principal`, `resource` and `context`.
#[derive(Clone)]
struct Sketch(Value);

impl Judge<'_> {
    /// The example that the solver's one comes down to; `None` when the policies do not confirm it.
    pub(super) fn example(&self, env: &Env) -> Option<Example> {
        let raw = Sketch::of(env)?;
        let mut best = [raw.renamed(), raw].into_iter().find(|sketch| self.confirms(sketch))?;
        self.shrink(&mut best);
        let both = self.ask(&best)?;
        let role = best.role()?;
        let matters = self.matters(&best);
        Some(Example {
            words: self.words(&best, role, &matters),
            role,
            matters,
            before: both.before,
            after: both.after,
        })
    }

    fn confirms(&self, sketch: &Sketch) -> bool {
        self.ask(sketch).is_some_and(|both| (self.shows)(&both))
    }

    /// What both versions say, by the sets that requests are decided by; `None` for what is never asked.
    fn ask(&self, sketch: &Sketch) -> Option<Both> {
        let (request, entities) = sketch.request(&self.situation.env.action().clone())?;
        let policies = self.grounds.policies;
        let real = policies.authorizer.is_authorized(&request, &self.facts, &entities);
        if real.decision() != Verdict::Allow || real.diagnostics().errors().next().is_some() {
            return None;
        }
        let spared = sketch.role() == Some(Role::Owner)
            && sketch.0.pointer("/principal/attrs/key") == Some(&Value::Bool(false))
            && floor::is_floor(self.situation.action.kind());
        let hear = |own: Option<&Index>| {
            let index = self.grounds.shipped_index()?;
            let heard = hear(policies, index, self.situation, &request, &entities)?;
            let own = own.filter(|_| !spared);
            let heard = match own.and_then(|own| hear(policies, own, self.situation, &request, &entities)) {
                Some(other) => heard.and(other),
                None => heard,
            };
            let fails = !heard.errors.is_empty();
            let by = heard.notes.iter().map(|note| note.id.clone()).collect();
            Some((SideAnswer { allowed: heard.allowed && !fails, by }, fails))
        };
        let ((before, _), (after, fails)) = (hear(self.before)?, hear(self.after)?);
        Some(Both { before, after, fails })
    }

    /// Makes everything plain that can be without the example ceasing to be one.
    fn shrink(&self, best: &mut Sketch) {
        let attempt = |best: &mut Sketch, change: &dyn Fn(&mut Value)| {
            let mut next = best.clone();
            change(&mut next.0);
            let better = self.confirms(&next);
            if better {
                *best = next;
            }
            better
        };
        for who in ["/principal/parents", "/resource/parents"] {
            let is_account = best.0.pointer("/resource/uid/type").is_some_and(|kind| kind == "Account");
            if who.starts_with("/resource") && !is_account {
                continue;
            }
            // The role with the least rights for which it is true.
            for role in self.grounds.preset.roles().iter().rev() {
                let parents = json!([{ "type": "Role", "id": role.word() }]);
                if attempt(best, &|sketch| put(sketch, who, parents.clone())) {
                    break;
                }
            }
        }
        let asker = best.0.pointer("/principal/uid").cloned().unwrap_or_default();
        let stranger = json!({ "type": "Member", "id": "other" });
        for owner in [asker, stranger] {
            if attempt(best, &|sketch| put(sketch, "/resource/attrs/owner", json!({ "__entity": owner }))) {
                break;
            }
        }
        attempt(best, &|sketch| {
            if let Some(context) = sketch.get_mut("context").and_then(Value::as_object_mut) {
                context.remove("target_role");
            }
        });
        for (_, places, plain) in FIELDS {
            let Ok(plain) = serde_json::from_str::<Value>(plain) else { continue };
            let all = |sketch: &mut Value, value: &Value| {
                places.iter().for_each(|place| put(sketch, place, value.clone()));
            };
            if attempt(best, &|sketch| all(sketch, &plain)) {
                continue;
            }
            let Some(first) = places.first() else { continue };
            match best.0.pointer(first).cloned() {
                Some(Value::Object(parts)) => {
                    for (name, part) in &parts {
                        let place = format!("{first}/{name}");
                        let plain = plain.get(name).cloned().unwrap_or_default();
                        if !attempt(best, &|sketch| put(sketch, &place, plain.clone())) {
                            self.approach(best, &[&place], part, &plain);
                        }
                    }
                }
                Some(Value::Array(words)) => {
                    for word in &words {
                        let without: Vec<Value> =
                            list(best, first).into_iter().filter(|w| w != word).collect();
                        attempt(best, &|sketch| put(sketch, first, json!(without)));
                    }
                }
                Some(Value::String(_)) => {
                    // What the policies themselves name is plainer than what a solver makes up.
                    let named = self.texts.split('"').skip(1).step_by(2).map(|word| word.replace('*', ""));
                    for word in named.filter(|word| !word.is_empty()) {
                        if attempt(best, &|sketch| all(sketch, &json!(word))) {
                            break;
                        }
                    }
                }
                Some(value) => self.approach(best, places, &value, &plain),
                None => {}
            }
        }
    }

    /// Moves a number as near to the plain one as the example stays one.
    fn approach(&self, best: &mut Sketch, places: &[&str], value: &Value, plain: &Value) {
        let (Some(mut works), Some(mut fails)) = (value.as_i64(), plain.as_i64()) else { return };
        while i128::from(works).abs_diff(i128::from(fails)) > 1 {
            let middle = i128::midpoint(i128::from(works), i128::from(fails));
            let Ok(middle) = i64::try_from(middle) else { return };
            let mut next = best.clone();
            places.iter().for_each(|place| put(&mut next.0, place, json!(middle)));
            if self.confirms(&next) {
                (works, *best) = (middle, next);
            } else {
                fails = middle;
            }
        }
    }

    /// What is not plain, and what changed policies look at.
    fn matters(&self, best: &Sketch) -> BTreeMap<String, Value> {
        let mut matters = BTreeMap::new();
        for (word, places, plain) in FIELDS {
            let Ok(plain) = serde_json::from_str::<Value>(plain) else { continue };
            let Some(value) = places.first().and_then(|place| best.0.pointer(place)) else { continue };
            match (value, &plain) {
                (Value::Object(parts), Value::Object(plain)) if !word.starts_with("principal.visible") => {
                    for (name, part) in parts {
                        let word = format!("{word}.{name}");
                        if plain.get(name) != Some(part) && word != "context.want.spend"
                            || self.texts.contains(&word)
                        {
                            matters.insert(word, part.clone());
                        }
                    }
                }
                _ if *value != plain || self.texts.contains(word) => {
                    matters.insert(word.to_owned(), value.clone());
                }
                _ => {}
            }
        }
        for (word, place) in
            [("context.target_role", "/context/target_role"), ("resource.role", "/resource/parents/0/id")]
        {
            if let Some(value) = best.0.pointer(place) {
                matters.insert(word.to_owned(), value.clone());
            }
        }
        matters
    }

    fn words(&self, best: &Sketch, role: Role, matters: &BTreeMap<String, Value>) -> String {
        let whose = match best.0.pointer("/resource/attrs/owner/__entity") {
            _ if best.0.pointer("/resource/attrs/team").is_none() => "",
            Some(owner) if best.0.pointer("/principal/uid") == Some(owner) => " of their own",
            Some(_) => " of another member",
            None => " of the team",
        };
        let (action, about) = (self.situation.action.operation(), &self.situation.about);
        let article = if about.starts_with(['A', 'I', 'O']) { "an" } else { "a" };
        let told = |value: &Value| {
            if value.as_i64() == Some(i64::MAX) { "unlimited".to_owned() } else { value.to_string() }
        };
        let facts: Vec<String> =
            matters.iter().map(|(word, value)| format!("{word} is {}", told(value))).collect();
        let facts = if facts.is_empty() { String::new() } else { format!("; {}", facts.join(", ")) };
        format!("{action} for the role {role}, about {article} {about}{whose}{facts}")
    }
}

fn hear<'a>(
    policies: &Policies,
    index: &'a Index,
    situation: &Situation,
    request: &Request,
    entities: &Entities,
) -> Option<Heard<'a>> {
    let entry = index.get(situation.action.name())?;
    Some(Heard::of(&policies.authorizer.is_authorized(request, &entry.set, entities), index))
}

impl Sketch {
    fn of(env: &Env) -> Option<Self> {
        let entity = |uid: Option<&EntityUid>| env.entities.get(uid?)?.to_json_value().ok();
        Some(Self(json!({
            "principal": entity(env.request.principal())?,
            "resource": entity(env.request.resource())?,
            "context": env.request.context()?.to_json_value().ok()?,
        })))
    }

    /// With names for people, teams and things that say what they are.
    fn renamed(&self) -> Self {
        let id = |place: &str| self.0.pointer(place).cloned().unwrap_or_default();
        let (asker, thing) = (id("/principal/uid/id"), id("/resource/uid/id"));
        let team = id("/principal/attrs/team/__entity/id");
        let name = |kind: &str, id: &Value| match kind {
            "Member" if *id == asker => Some("asker"),
            "Member" => Some("other"),
            "Team" if *id == team => Some("team"),
            "Team" => Some("other-team"),
            "Role" => None,
            _ if *id == thing => Some("it"),
            _ => None,
        };
        let mut renamed = self.clone();
        rename(&mut renamed.0, &name);
        renamed
    }

    fn request(&self, action: &EntityUid) -> Option<(Request, Entities)> {
        let uid = |place: &str| EntityUid::from_json(self.0.pointer(place)?.clone()).ok();
        let context = Context::from_json_value(self.0.get("context")?.clone(), None).ok()?;
        let request =
            Request::new(uid("/principal/uid")?, action.clone(), uid("/resource/uid")?, context, None)
                .ok()?;
        let entities = json!([self.0.get("principal")?, self.0.get("resource")?]);
        Some((request, Entities::from_json_value(entities, None).ok()?))
    }

    fn role(&self) -> Option<Role> {
        let parents = self.0.pointer("/principal/parents")?.as_array()?;
        parents.iter().find_map(|parent| Role::from_str(parent.get("id")?.as_str()?).ok())
    }
}

fn rename(json: &mut Value, name: &dyn Fn(&str, &Value) -> Option<&'static str>) {
    match json {
        Value::Object(fields) => {
            let renamed = match (fields.get("type").and_then(Value::as_str), fields.get("id")) {
                (Some(kind), Some(id)) if fields.len() == 2 => name(kind, id),
                _ => None,
            };
            if let Some(id) = renamed {
                fields.insert("id".to_owned(), json!(id));
            }
            fields.values_mut().for_each(|inner| rename(inner, name));
        }
        Value::Array(items) => items.iter_mut().for_each(|inner| rename(inner, name)),
        _ => {}
    }
}

/// Puts a value where one is.
fn put(json: &mut Value, place: &str, value: Value) {
    if let Some(slot) = json.pointer_mut(place) {
        *slot = value;
    }
}

fn list(sketch: &Sketch, place: &str) -> Vec<Value> {
    sketch.0.pointer(place).and_then(Value::as_array).cloned().unwrap_or_default()
}
