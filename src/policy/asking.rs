//! What a refused launch or snapshot can ask for: the request that would have let it through, filled in.

use serde_json::json;

use super::{
    advice::Case,
    request::{Principal, Resource},
};
use crate::{error::RequestOffer, model::quota::Limits, model::team::Role, money::Credits};

/// What would lift one reason.
enum Wish {
    /// The member's own limits.
    Own(Limits),
    /// What the whole team may hold.
    Team(Limits),
    /// Credits in the member's wallet.
    Credits(Credits),
}

/// For each advice code the request that would lift it, if there is anybody to ask. What lifts the limits of one launch
/// is asked for together, for a member has one open request of a kind.
pub(super) fn offers(case: &Case<'_>, codes: &[Option<&str>]) -> Vec<Option<RequestOffer>> {
    let wishes: Vec<Option<Wish>> = codes.iter().map(|code| wish(case, (*code)?)).collect();
    let (mut own, mut whole) = (Limits::default(), Limits::default());
    for wish in wishes.iter().flatten() {
        match wish {
            Wish::Own(limits) => own = own.or(limits),
            Wish::Team(limits) => whole = whole.or(limits),
            Wish::Credits(_) => {}
        }
    }
    let offer = |wish: Option<Wish>| {
        let Principal::Member(member) = case.principal else { return None };
        let (noun, mut body) = match wish? {
            Wish::Own(_) => ("requests", json!({ "kind": "quota", "limits": own })),
            Wish::Team(_) => ("quota-requests", json!({ "limits": whole })),
            Wish::Credits(amount) => ("requests", json!({ "kind": "credits", "amount": amount })),
        };
        body["reason"] = json!(reason(case));
        let path = format!("/api/v1/teams/{}/{noun}", member.team);
        Some(RequestOffer { method: "POST".to_owned(), path, body })
    };
    wishes.into_iter().map(offer).collect()
}

fn wish(case: &Case<'_>, code: &str) -> Option<Wish> {
    if code == "quota-snapshots" {
        let snapshots = case.facts.snapshots_used?.checked_add(1);
        return Some(Wish::Own(Limits { snapshots, ..Limits::default() }));
    }
    let (Principal::Member(member), Some(launch)) = (case.principal, &case.facts.launch) else { return None };
    let (used, whole, none) = (&launch.used, &launch.team_used, Limits::default());
    let instances = |used: u32| Some(used.saturating_add(launch.instances));
    let gpus = |used: u32| Some(used.saturating_add(launch.gpus));
    let spend = |used: Credits| used.plus(launch.per_hour).ok();
    let runs = member.role.runs_the_team();
    Some(match code {
        "quota-instances" => Wish::Own(Limits { instances: instances(used.instances), ..none }),
        "quota-gpus" => Wish::Own(Limits { gpus: gpus(used.gpus), ..none }),
        "quota-gpus-per-instance" => {
            let Resource::Instance { gpus, .. } = case.resource else { return None };
            Wish::Own(Limits { gpus_per_instance: Some(*gpus), ..none })
        }
        "quota-spend" => Wish::Own(Limits { spend_per_hour: spend(used.spend_per_hour), ..none }),
        "quota-team-instances" if runs => {
            Wish::Team(Limits { instances: instances(whole.instances), ..none })
        }
        "quota-team-gpus" if runs => Wish::Team(Limits { gpus: gpus(whole.gpus), ..none }),
        "quota-team-spend" if runs => {
            Wish::Team(Limits { spend_per_hour: spend(whole.spend_per_hour), ..none })
        }
        // An owner has nobody to ask for credits, and credits in a wallet are of no use where the pool is spent.
        "funds" if launch.own_wallet && member.role != Role::Owner => {
            let short = launch.hold.minus(launch.funds).ok().filter(|_| case.sees_balance);
            Wish::Credits(short.unwrap_or(launch.hold))
        }
        _ => return None,
    })
}

fn reason(case: &Case<'_>) -> String {
    match case.resource {
        Resource::Instance { instance_type, region, .. } => format!("to run {instance_type} in {region}"),
        _ => "to keep a snapshot".to_owned(),
    }
}
