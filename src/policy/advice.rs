//! The sentences of a refusal. A policy carries a short advice code; here it becomes what happened, with the
//! numbers.

use super::request::{BudgetRoom, Confirmation, Facts, Launch, MemberPrincipal, Principal, Resource};
use crate::{error::LimitUse, model::quota::NO_ACCELERATOR, money::Credits};

/// What a sentence is about.
pub(crate) struct Case<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) resource: &'a Resource,
    pub(crate) facts: &'a Facts,
    /// The operationId, or the group that was asked for.
    pub(crate) asked: &'a str,
    /// Whether the principal may see the money that the launch would spend.
    pub(crate) sees_balance: bool,
}

/// All advice codes that policies use.
#[cfg(test)]
pub(crate) const CODES: [&str; 28] = [
    "budget",
    "foreign",
    "funds",
    "hidden-accelerator",
    "hidden-image",
    "hidden-instance-type",
    "hidden-region",
    "key-no-credentials",
    "key-scope",
    "no-raise",
    "not-yours",
    "owner-only",
    "owner-recharges",
    "owner-shield",
    "owner-stays",
    "own-name",
    "quota-gpus",
    "quota-gpus-per-instance",
    "quota-instances",
    "quota-snapshots",
    "quota-spend",
    "quota-team-gpus",
    "quota-team-instances",
    "quota-team-spend",
    "reset-first",
    "site-owned",
    "suspended",
    "two-persons",
];

impl Case<'_> {
    /// The sentence behind an advice code, and the limit if it is one. A code that is not known here is a
    /// sentence itself.
    pub(crate) fn sentence(&self, code: &str) -> (String, Option<LimitUse>) {
        match (code, self.member(), &self.facts.launch) {
            ("quota-instances", Some(member), Some(launch)) => {
                let (max, want) = (member.limits.instances, launch.instances);
                counted("instances", "instances held at once", max, launch.used.instances, want)
            }
            ("quota-gpus", Some(member), Some(launch)) => {
                counted("gpus", "GPUs held at once", member.limits.gpus, launch.used.gpus, launch.gpus)
            }
            ("quota-gpus-per-instance", Some(member), _) => self.too_wide(member),
            ("quota-spend", Some(member), Some(launch)) => {
                let (max, used) = (member.limits.spend_per_hour, launch.used.spend_per_hour);
                spending("spend_per_hour", "all that you run", max, used, launch.per_hour)
            }
            ("quota-team-instances", _, Some(launch)) => {
                let (max, used) = (launch.team_ceiling.instances, launch.team_used.instances);
                of_team("team_instances", "instances held at once", max, used, launch.instances)
            }
            ("quota-team-gpus", _, Some(launch)) => {
                let (max, used) = (launch.team_ceiling.gpus, launch.team_used.gpus);
                of_team("team_gpus", "GPUs held at once", max, used, launch.gpus)
            }
            ("quota-team-spend", _, Some(launch)) => {
                let (max, used) = (launch.team_ceiling.spend_per_hour, launch.team_used.spend_per_hour);
                spending("team_spend_per_hour", "all that the team runs", max, used, launch.per_hour)
            }
            ("quota-snapshots", Some(member), _) => {
                let used = self.facts.snapshots_used.unwrap_or(0);
                counted("snapshots", "snapshots kept", member.limits.snapshots, used, 1)
            }
            ("funds", _, Some(launch)) => self.short_of_funds(launch),
            ("budget", _, Some(launch)) => short_of_budget(launch),
            ("two-persons", _, _) => (self.second_person(), None),
            _ => (self.plain(code), None),
        }
    }

    fn second_person(&self) -> String {
        let Some(Confirmation { amount, alone_up_to: Some(above), .. }) = &self.facts.confirmation else {
            return "another operator still has to confirm this".to_owned();
        };
        format!(
            "{amount} credits are more than the {above} that one operator may confirm alone; you have confirmed, and \
             another operator still has to"
        )
    }

    fn member(&self) -> Option<&MemberPrincipal> {
        match self.principal {
            Principal::Member(member) => Some(member),
            Principal::Anonymous | Principal::User { .. } => None,
        }
    }

    fn plain(&self, code: &str) -> String {
        let asked = self.asked;
        match code {
            "foreign" => "this belongs to another team".to_owned(),
            "site-owned" => "this belongs to the site, not to a team".to_owned(),
            "suspended" => "your membership is suspended".to_owned(),
            "reset-first" => "set a new password first: the present one was given to you".to_owned(),
            "key-scope" => format!("the scopes of this API key leave out {asked}"),
            "key-no-credentials" => {
                "an API key cannot make or revoke keys, change the profile or the password".to_owned()
            }
            "owner-shield" => "only the owner may change the owner's account".to_owned(),
            "owner-stays" => "a team always has its owner, who can neither leave nor step down".to_owned(),
            "no-raise" => "a team has exactly one owner: nobody can be made another".to_owned(),
            "own-name" => {
                "nobody launches instances, takes snapshots, makes keys or asks for more in the name of somebody else"
                    .to_owned()
            }
            "owner-recharges" => "only the team owner brings money in".to_owned(),
            "owner-only" => "this is for the team owner alone".to_owned(),
            "not-yours" => format!("only its creator may do this; it belongs to {}", self.owner_name()),
            hidden if hidden.starts_with("hidden-") => self.hidden(hidden),
            sentence => sentence.to_owned(),
        }
    }

    fn owner_name(&self) -> String {
        match (&self.facts.owner_name, self.resource.owner()) {
            (Some(name), _) => name.clone(),
            (None, Some(id)) => id.to_string(),
            (None, None) => "the whole team".to_owned(),
        }
    }

    fn hidden(&self, code: &str) -> String {
        let (noun, name) = match (code, self.resource) {
            ("hidden-region", Resource::Instance { region, .. } | Resource::Offer { region, .. }) => {
                ("region", region)
            }
            (
                "hidden-instance-type",
                Resource::Instance { instance_type, .. } | Resource::Offer { instance_type, .. },
            ) => ("instance type", instance_type),
            (
                "hidden-accelerator",
                Resource::Instance { accelerator, .. } | Resource::Offer { accelerator, .. },
            ) if accelerator == NO_ACCELERATOR => {
                return "your team does not show you machines without an accelerator".to_owned();
            }
            (
                "hidden-accelerator",
                Resource::Instance { accelerator, .. } | Resource::Offer { accelerator, .. },
            ) => ("accelerator", accelerator),
            ("hidden-image", Resource::Instance { image: name, .. } | Resource::Image { name }) => {
                ("image", name)
            }
            _ => return "your team does not show you this".to_owned(),
        };
        format!("your team does not show you the {noun} {name}")
    }

    fn too_wide(&self, member: &MemberPrincipal) -> (String, Option<LimitUse>) {
        let want = match self.resource {
            Resource::Instance { gpus, .. } => *gpus,
            _ => 0,
        };
        let max = member.limits.gpus_per_instance;
        let sentence = format!("GPUs in one instance: at most {}; you ask for {want}", number(max));
        (sentence, Some(limit("gpus_per_instance", max.map(|max| max.to_string()), None, want.to_string())))
    }

    /// Says how much is there only to those who may see the balance.
    fn short_of_funds(&self, launch: &Launch) -> (String, Option<LimitUse>) {
        let Launch { hold, funds, .. } = launch;
        if !self.sees_balance {
            let sentence = format!("the launch sets {hold} credits aside and there are not as many to spend");
            return (sentence, Some(limit("credits", None, None, hold.to_string())));
        }
        let short = hold.minus(*funds).unwrap_or(*hold);
        let sentence =
            format!("the launch sets {hold} credits aside and {funds} can be spent: {short} are missing");
        (sentence, Some(limit("credits", Some(funds.to_string()), None, hold.to_string())))
    }
}

fn short_of_budget(launch: &Launch) -> (String, Option<LimitUse>) {
    let hold = launch.hold;
    let Some(room) = &launch.budget else {
        return (format!("the launch sets {hold} credits aside, more than a budget leaves"), None);
    };
    let BudgetRoom { name, left, ceiling } = room;
    let sentence =
        format!("the launch sets {hold} credits aside and the budget {name} has {left} of {ceiling} left");
    let used = ceiling.minus(*left).unwrap_or(*ceiling);
    (sentence, Some(limit("budget", Some(ceiling.to_string()), Some(used.to_string()), hold.to_string())))
}

fn counted(name: &str, what: &str, max: Option<u32>, used: u32, want: u32) -> (String, Option<LimitUse>) {
    let sentence = format!("{what}: at most {}; you hold {used} and ask for {want} more", number(max));
    let max = max.map(|max| max.to_string());
    (sentence, Some(limit(name, max, Some(used.to_string()), want.to_string())))
}

fn of_team(name: &str, what: &str, max: Option<u32>, used: u32, want: u32) -> (String, Option<LimitUse>) {
    let max_said = number(max);
    let sentence =
        format!("{what} by the whole team: at most {max_said}; it holds {used} and you ask for {want} more");
    let max = max.map(|max| max.to_string());
    (sentence, Some(limit(name, max, Some(used.to_string()), want.to_string())))
}

/// What runs costs for an hour, and what one more would.
fn spending(
    name: &str,
    what: &str,
    max: Option<Credits>,
    used: Credits,
    want: Credits,
) -> (String, Option<LimitUse>) {
    let max = max.map_or_else(|| "any number of".to_owned(), |max| max.to_string());
    let sentence = format!(
        "{what} may cost {max} credits an hour at once: it costs {used} now, and this would cost {want} more"
    );
    (sentence, Some(limit(name, Some(max), Some(used.to_string()), want.to_string())))
}

fn limit(name: &str, max: Option<String>, used: Option<String>, requested: String) -> LimitUse {
    LimitUse { name: name.to_owned(), max, used, requested: Some(requested) }
}

fn number(max: Option<u32>) -> String {
    max.map_or_else(|| "any number".to_owned(), |max| max.to_string())
}

/// `owner`, `owner or admin`, `owner, admin or developer`.
pub(crate) fn either(words: &[&str]) -> String {
    match words {
        [] => "nobody".to_owned(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}
