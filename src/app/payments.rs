//! Payments: what a payment provider must be able to do, and the door that its messages come in by.
//!
//! A provider is told the top-up's id with everything, and says of a payment where it stands as a whole, never what has
//! changed. So messages may come twice, late, in any order, or not at all: whatever is known last and furthest holds.
//! The server credits on a message or on an answer, never on its own request, and once.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use serde::Serialize;

use super::{
    App,
    gate::{Asker, Outcome},
};
use crate::{
    error::{Error, Findings, Kind, Result},
    ids::{TeamId, TopUpId},
    ledger::top_up::TopUp,
    model::action::Action,
    money::Credits,
    op::Op,
    policy::{Facts, Principal, Resource},
};

/// A payment by hand: the operator sees the money arrive and confirms.
pub(crate) const MANUAL: &str = "manual";

/// A payment that a provider is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The top-up: the provider keeps it beside the payment, and finds the payment by it.
    pub top_up: TopUpId,
    /// The team that pays.
    pub team: TeamId,
    /// How much.
    pub amount: Credits,
    /// What the provider calls the payment, where that is known.
    pub reference: Option<String>,
}

/// A payment as a provider knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// What the provider calls it; no two payments of a provider have the same.
    pub reference: Option<String>,
    /// Where it stands.
    pub standing: Standing,
    /// How much of it the provider has paid back in all.
    pub refunded: Credits,
    /// Whether whoever paid took the money back.
    pub disputed: bool,
}

/// Whether the money of a payment has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Not yet.
    Waiting,
    /// All of it.
    Paid,
    /// It will not; why, for the one who asked for it.
    Failed(String),
}

/// A message of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The provider's id of the message: it counts once.
    pub id: String,
    /// The top-up that it is about.
    pub top_up: TopUpId,
    /// The payment, as the provider knows it.
    pub payment: Payment,
}

/// A message as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The body, byte by byte as it was signed.
    pub body: &'a [u8],
    /// The headers with a readable value, by their names in small letters.
    pub headers: &'a BTreeMap<String, String>,
}

/// A provider gave no answer, or none that can be understood. What was asked for may have happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the provider did not answer: {0}")]
pub struct NoAnswer(pub String);

/// A message that the provider did not send, by its signature, or that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this provider: {0}")]
pub struct NotGenuine(pub String);

/// What a provider answers.
pub type Answered<T> = std::result::Result<T, NoAnswer>;

/// Whoever takes payments.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Its name: in the path of its messages, and in every top-up that it takes.
    fn name(&self) -> &str;

    /// Whether a person decides its payments: the operator confirms or refuses them, and nobody else is asked.
    fn by_hand(&self) -> bool {
        false
    }

    /// Begins a payment.
    async fn start(&self, order: &Order) -> Answered<Payment>;

    /// The payment of a top-up; `None` when none was begun.
    async fn poll(&self, order: &Order) -> Answered<Option<Payment>>;

    /// Pays back, until `total` has been paid back in all: asked twice, it pays once.
    async fn refund(&self, order: &Order, total: Credits) -> Answered<Payment>;

    /// Reads a message and checks that the provider sent it.
    fn event(&self, delivery: Delivery<'_>) -> std::result::Result<Event, NotGenuine>;
}

/// Payment by hand. Nothing is asked of it: the operator is who takes the money and gives it back.
struct Manual;

#[async_trait]
impl Provider for Manual {
    fn name(&self) -> &str {
        MANUAL
    }

    fn by_hand(&self) -> bool {
        true
    }

    async fn start(&self, _: &Order) -> Answered<Payment> {
        Err(NoAnswer("payments by hand are decided by the operator".to_owned()))
    }

    async fn poll(&self, _: &Order) -> Answered<Option<Payment>> {
        Err(NoAnswer("payments by hand are decided by the operator".to_owned()))
    }

    async fn refund(&self, _: &Order, _: Credits) -> Answered<Payment> {
        Err(NoAnswer("payments by hand are paid back by the operator".to_owned()))
    }

    fn event(&self, _: Delivery<'_>) -> std::result::Result<Event, NotGenuine> {
        Err(NotGenuine("payments by hand send no messages".to_owned()))
    }
}

/// The providers of this server, by name.
pub(crate) struct Providers(BTreeMap<String, Arc<dyn Provider>>);

impl Providers {
    /// These, and payment by hand.
    pub(crate) fn new(providers: Vec<Arc<dyn Provider>>) -> Self {
        let manual: Arc<dyn Provider> = Arc::new(Manual);
        let all = std::iter::once(manual).chain(providers);
        Self(all.map(|provider| (provider.name().to_owned(), provider)).collect())
    }

    /// The one with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<dyn Provider>> {
        self.0.get(name)
    }

    /// Whether a person decides the payments of this one.
    pub(crate) fn by_hand(&self, name: &str) -> bool {
        self.get(name).is_some_and(|provider| provider.by_hand())
    }

    /// Finds fault with a name that none has.
    pub(crate) fn check(&self, name: &str, findings: &mut Findings) {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        findings.check(self.0.contains_key(name), "/provider", format!("one of {}", names.join(", ")));
    }
}

impl Order {
    /// What a provider is to know of a top-up.
    pub(crate) fn of(top_up: &TopUp) -> Self {
        Self {
            top_up: top_up.id,
            team: top_up.team,
            amount: top_up.amount,
            reference: top_up.provider_ref.clone(),
        }
    }
}

/// What became of a provider's message.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct EventTaken {
    /// Whether it counted; false when it had come before.
    pub counted: bool,
}

impl App {
    /// Takes a provider's message about a payment. Every message counts once.
    ///
    /// # Errors
    /// `not-found` for a provider or a top-up that is not here, `event-refused` for a message that is not the
    /// provider's own.
    pub async fn provider_event(&self, op: &Op, name: &str, delivery: Delivery<'_>) -> Result<EventTaken> {
        let provider = self.providers.get(name).ok_or_else(|| Error::not_found("payment provider"))?;
        let event = provider.event(delivery).map_err(|not_genuine| {
            let told = "this is no message of the provider: its signature or its form is wrong";
            Error::new(Kind::Unauthenticated, "event-refused", told).with_inside(not_genuine)
        })?;
        let asker = Asker { principal: Principal::Anonymous, team: None, shadow: None };
        let tx = self.begin(op).await?;
        let (mut tx, permit) = self
            .permit(op, tx, &asker, Action::ReceiveProviderEvent, Resource::Site, Facts::default())
            .await?;
        let known = tx.top_up_fetch(event.top_up).await?.filter(|top_up| top_up.provider == name);
        let team = known.ok_or_else(|| Error::not_found("top-up"))?.team;
        tx.team_lock(team).await?;
        if !tx.provider_event_count(name, &event.id, op.now()).await? {
            // It may have been counted by a twin whose commit is under way: wait until that is on disk.
            tx.rollback().await?;
            return Ok(EventTaken { counted: false });
        }
        let top_up = tx.top_up_fetch(event.top_up).await?.ok_or_else(|| Error::not_found("top-up"))?;
        let top_up = self.payment_apply(op, &mut tx, &top_up, &event.payment).await?;
        let taken = EventTaken { counted: true };
        let outcome = Outcome {
            team: team.to_string(),
            target: top_up.id.to_string(),
            document: serde_json::json!({ "provider": name, "event": event.id, "state": top_up.state }),
            status: 200,
            answer: &taken,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(taken)
    }
}
