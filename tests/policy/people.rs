//! Two teams and the people in them.

use std::sync::{Arc, LazyLock};

use muster::{
    ids::{Id, MemberId, TeamId, UserId},
    model::{
        action::Action,
        quota::{Limits, NO_ACCELERATOR, Usage},
        team::{Preset, Role},
    },
    money::Credits,
    policy::{Facts, Launch, MemberPrincipal, Policies, Principal, Resource},
};

/// The shipped policies, read once.
pub(crate) static POLICIES: LazyLock<Policies> = LazyLock::new(|| Policies::shipped().unwrap());

pub(crate) fn ours() -> TeamId {
    TeamId::from_uuid(uuid::Uuid::from_u128(1))
}

pub(crate) fn theirs() -> TeamId {
    TeamId::from_uuid(uuid::Uuid::from_u128(2))
}

pub(crate) fn me() -> MemberId {
    MemberId::from_uuid(uuid::Uuid::from_u128(10))
}

pub(crate) fn colleague() -> MemberId {
    MemberId::from_uuid(uuid::Uuid::from_u128(11))
}

/// An active member of our team with a session and no limits.
pub(crate) fn seat(preset: Preset, role: Role) -> MemberPrincipal {
    MemberPrincipal {
        id: me(),
        team: ours(),
        role,
        preset,
        account: "ada".to_owned(),
        labels: Default::default(),
        active: true,
        reset_only: false,
        limits: Limits::default(),
        key_scopes: None,
        version: 1,
        wall: Default::default(),
        rules: None,
    }
}

pub(crate) fn member(preset: Preset, role: Role) -> Principal {
    Principal::Member(Arc::new(seat(preset, role)))
}

pub(crate) fn user(operator: bool) -> Principal {
    Principal::User { id: UserId::from_uuid(uuid::Uuid::from_u128(20)), operator, reset_only: false }
}

/// An instance of our team with two GPUs in region tw-03.
pub(crate) fn instance_of(owner: MemberId) -> Resource {
    Resource::Instance {
        team: ours(),
        owner,
        region: "tw-03".to_owned(),
        instance_type: "gpu-2".to_owned(),
        accelerator: "rtx-4090".to_owned(),
        image: "cuda-12.8".to_owned(),
        product: "gpu-2".to_owned(),
        product_labels: Default::default(),
        gpus: 2,
    }
}

pub(crate) fn account(id: MemberId, role: Role) -> Resource {
    Resource::Member { team: ours(), id, role }
}

pub(crate) fn machine_without_gpu() -> Resource {
    Resource::Offer {
        region: "tw-03".to_owned(),
        instance_type: "cpu-8".to_owned(),
        accelerator: NO_ACCELERATOR.to_owned(),
        product_labels: Default::default(),
    }
}

pub(crate) fn credits(amount: &str) -> Credits {
    amount.parse().unwrap()
}

/// The facts that an action is decided with: those of a launch where it is one, and of a first snapshot.
pub(crate) fn facts_for(action: Action) -> Facts {
    match action {
        Action::CreateInstance | Action::StartInstance => launch(),
        Action::CreateSnapshot => Facts { snapshots_used: Some(0), ..Facts::default() },
        _ => Facts::default(),
    }
}

/// One instance with two GPUs, nothing held yet, 10 credits to spend and 4 to hold.
pub(crate) fn launch() -> Facts {
    let launch = Launch {
        instances: 1,
        gpus: 2,
        used: Usage::default(),
        hold: credits("4"),
        funds: credits("10"),
        per_hour: credits("2"),
        budget: None,
        ..Launch::default()
    };
    Facts { launch: Some(launch), ..Facts::default() }
}
