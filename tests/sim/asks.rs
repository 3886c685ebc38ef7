//! What people ask the server for, and how it is asked.

use muster::{
    app::App,
    error::Error,
    ids::{BudgetId, InstanceId, SegmentId, TopUpId},
    money::Credits,
    op::{Actor, Idempotency},
    time::Timestamp,
};
use serde_json::{Value, json};

use crate::foundation::Foundation;

/// A request of somebody, which can be made again.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Grant { team: usize, amount: Credits, expires_at: Option<Timestamp> },
    Goodwill { team: usize, member: Option<usize>, amount: Credits },
    TopUp { team: usize, amount: Credits, provider: &'static str },
    Decide { team: usize, top_up: TopUpId, confirm: bool },
    Refund { team: usize, top_up: TopUpId, amount: Credits },
    Dispute { team: usize, top_up: TopUpId },
    WriteOff { team: usize, amount: Credits },
    Mint { team: Option<usize>, amount: Credits, count: u32, uses: u32, until: Timestamp, days: Option<u32> },
    Redeem { team: usize, code: String },
    AutoTopUp { team: usize, setting: Value, version: i64 },
    Assign { team: usize, member: usize, amount: Credits },
    Reclaim { team: usize, member: usize, amount: Credits },
    Budget { team: usize, new: Value },
    BudgetChange { team: usize, budget: BudgetId, version: i64, change: Value },
    Terms { team: usize, version: i64, terms: Value },
    CreditLimit { team: usize, amount: Credits },
    StorageRate { kind: &'static str, price: Credits },
    Correct { team: usize, segment: SegmentId, from: Timestamp, to: Timestamp },
    Launch { team: usize, by: By, name: String, product: &'static str, units: u32, drives: (bool, bool) },
    Stop { team: usize, by: By, instance: InstanceId },
    Start { team: usize, by: By, instance: InstanceId },
    Release { team: usize, by: By, instance: InstanceId },
}

/// Which member of a team asks, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct By {
    pub(crate) member: usize,
    /// With an API key.
    pub(crate) key: bool,
}

impl Ask {
    /// The team that it is about.
    pub(crate) fn team(&self) -> Option<usize> {
        match self {
            Self::Mint { .. } | Self::StorageRate { .. } => None,
            Self::Grant { team, .. }
            | Self::Goodwill { team, .. }
            | Self::TopUp { team, .. }
            | Self::Decide { team, .. }
            | Self::Refund { team, .. }
            | Self::Dispute { team, .. }
            | Self::WriteOff { team, .. }
            | Self::Redeem { team, .. }
            | Self::AutoTopUp { team, .. }
            | Self::Assign { team, .. }
            | Self::Reclaim { team, .. }
            | Self::Budget { team, .. }
            | Self::BudgetChange { team, .. }
            | Self::Terms { team, .. }
            | Self::CreditLimit { team, .. }
            | Self::Correct { team, .. }
            | Self::Launch { team, .. }
            | Self::Stop { team, .. }
            | Self::Start { team, .. }
            | Self::Release { team, .. } => Some(*team),
        }
    }

    /// Its name, for counting.
    pub(crate) fn name(&self) -> String {
        let told = format!("{self:?}");
        told.split([' ', '{']).next().unwrap_or_default().to_owned()
    }

    /// Asks `app`, under this idempotency key.
    pub(crate) async fn put(&self, foundation: &Foundation, app: &App, key: &str) -> Result<Value, Error> {
        let op = |actor: &Actor| {
            let mut op = app.op(actor.clone());
            let (key, scope) = (key.to_owned(), actor.name());
            op.idempotency = Some(Idempotency { key, scope, digest: format!("{self:?}") });
            op
        };
        let operator = op(&foundation.operator);
        let team = &foundation.teams[self.team().unwrap_or(0)];
        let (slug, owner) = (team.slug, op(&team.owner));
        let who = |by: &By| op(if by.key { &team.keys[by.member] } else { &team.members[by.member].1 });
        let id = |member: usize| team.members[member].0;
        match self {
            Self::Grant { amount, expires_at, .. } => {
                let new = of(json!({ "amount": amount, "expires_at": expires_at }));
                app.credits_grant(&operator, slug, new).await.map(text)
            }
            Self::Goodwill { member, amount, .. } => {
                let new = json!({ "amount": amount, "member": member.map(id), "note": "we are sorry" });
                app.credits_goodwill(&operator, slug, of(new)).await.map(text)
            }
            Self::TopUp { amount, provider, .. } => {
                let new = of(json!({ "amount": amount, "provider": provider }));
                app.top_up_create(&owner, slug, new).await.map(text)
            }
            Self::Decide { top_up, confirm: true, .. } => {
                app.top_up_confirm(&operator, slug, *top_up, of(json!({}))).await.map(text)
            }
            Self::Decide { top_up, confirm: false, .. } => {
                app.top_up_refuse(&operator, slug, *top_up, of(json!({}))).await.map(text)
            }
            Self::Refund { top_up, amount, .. } => {
                let refund = of(json!({ "amount": amount }));
                app.top_up_refund(&operator, slug, *top_up, refund).await.map(text)
            }
            Self::Dispute { top_up, .. } => {
                app.top_up_dispute(&operator, slug, *top_up, of(json!({}))).await.map(text)
            }
            Self::WriteOff { amount, .. } => {
                let new = of(json!({ "amount": amount, "note": "given up" }));
                app.credits_write_off(&operator, slug, new).await.map(text)
            }
            Self::Mint { team, amount, count, uses, until, days } => {
                let team = team.map(|team| foundation.teams[team].slug);
                let new = json!({ "amount": amount, "count": count, "note": "a gift", "valid_until": until,
                    "credit_days": days, "most_uses": uses, "team": team });
                app.vouchers_create(&operator, of(new)).await.map(text)
            }
            Self::Redeem { code, .. } => {
                app.voucher_redeem(&owner, slug, of(json!({ "code": code }))).await.map(text)
            }
            Self::AutoTopUp { setting, version, .. } => {
                app.auto_top_up_put(&owner, slug, *version, of(setting.clone())).await.map(text)
            }
            Self::Assign { member, amount, .. } => {
                let new = of(json!({ "member": id(*member), "amount": amount }));
                app.credits_assign(&owner, slug, new).await.map(text)
            }
            Self::Reclaim { member, amount, .. } => {
                let new = of(json!({ "member": id(*member), "amount": amount }));
                app.credits_reclaim(&owner, slug, new).await.map(text)
            }
            Self::Budget { new, .. } => app.budget_create(&owner, slug, of(new.clone())).await.map(text),
            Self::BudgetChange { budget, version, change, .. } => {
                app.budget_update(&owner, slug, *budget, *version, of(change.clone())).await.map(text)
            }
            Self::Terms { version, terms, .. } => {
                app.terms_put(&owner, slug, *version, of(terms.clone())).await.map(text)
            }
            Self::CreditLimit { amount, .. } => {
                let new = of(json!({ "credit_limit": amount }));
                app.credit_limit_put(&operator, slug, new).await.map(text)
            }
            Self::StorageRate { kind, price } => {
                let new = json!({ "kind": kind, "price_per_gib_hour": price });
                app.storage_rate_put(&operator, of(new)).await.map(text)
            }
            Self::Correct { segment, from, to, .. } => {
                let wish = json!({ "segment": segment, "from": from, "to": to, "reason": "it was away" });
                app.charges_correct(&operator, slug, of(wish)).await.map(text)
            }
            Self::Launch { by, name, product, units, drives, .. } => {
                let new = json!({ "name": name, "product": product, "image": "base", "unit_qty": units,
                    "mount_team_drive": drives.0, "mount_personal_drive": drives.1 });
                app.instance_create(&who(by), slug, of(new)).await.map(text)
            }
            Self::Stop { by, instance, .. } => app.instance_stop(&who(by), slug, *instance).await.map(text),
            Self::Start { by, instance, .. } => app.instance_start(&who(by), slug, *instance).await.map(text),
            Self::Release { by, instance, .. } => {
                app.instance_release(&who(by), slug, *instance).await.map(text)
            }
        }
    }
}

/// A body as it would come over the wire.
pub(crate) fn of<T: serde::de::DeserializeOwned>(body: Value) -> T {
    serde_json::from_value(body).unwrap()
}

fn text<T: serde::Serialize>(view: T) -> Value {
    serde_json::to_value(view).unwrap()
}
