//! A payment provider that behaves as badly as its seed makes it: it loses answers after it has acted and before, sends
//! messages twice, late and in any order, declines, is paid late, pays back by itself, and has its payments disputed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use async_trait::async_trait;
use muster::{
    app::payments::{Delivery, Event, NoAnswer, NotGenuine, Order, Payment, Provider, Standing},
    chance::{Chance as _, Seeded},
    ids::TopUpId,
    money::Credits,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const SECRET: &str = "shared with the server";

/// The provider.
pub(crate) struct Fake {
    chance: Seeded,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    payments: BTreeMap<TopUpId, Known>,
    queue: Vec<(String, Vec<u8>)>,
    messages: u32,
    calm: bool,
}

/// A payment as the provider knows it.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) amount: i64,
    pub(crate) paid: bool,
    pub(crate) refunded: i64,
    pub(crate) disputed: bool,
    /// How often it was begun: more than once would take the money twice.
    pub(crate) begun: u32,
    declined: bool,
    reference: String,
}

impl Known {
    fn payment(&self) -> Payment {
        let standing = match (self.paid, self.declined) {
            (true, _) => Standing::Paid,
            (false, true) => Standing::Failed("the card was declined".to_owned()),
            (false, false) => Standing::Waiting,
        };
        // Money that was taken back is back as well.
        let refunded = Credits::from_micros(if self.disputed { self.amount } else { self.refunded });
        Payment { reference: Some(self.reference.clone()), standing, refunded, disputed: self.disputed }
    }
}

/// The signature of a body.
pub(crate) fn signature(body: &[u8]) -> String {
    hex::encode(Sha256::new().chain_update(SECRET).chain_update(body).finalize())
}

/// A message as it is sent.
pub(crate) fn message(id: &str, top_up: TopUpId, payment: &Payment) -> Vec<u8> {
    let (standing, why) = match &payment.standing {
        Standing::Waiting => ("waiting", ""),
        Standing::Paid => ("paid", ""),
        Standing::Failed(why) => ("failed", why.as_str()),
    };
    let message = json!({
        "id": id, "top_up": top_up, "reference": payment.reference, "standing": standing, "why": why,
        "refunded": payment.refunded, "disputed": payment.disputed,
    });
    message.to_string().into_bytes()
}

impl Fake {
    /// A provider whose misdeeds follow from `seed`; without one it is honest.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        let inner = Inner { calm: seed.is_none(), ..Inner::default() };
        Self { chance: Seeded::new(seed.unwrap_or(0)), inner: Mutex::new(inner) }
    }

    /// A number below `below`.
    pub(crate) fn roll(&self, below: u64) -> u64 {
        let mut bytes = [0u8; 8];
        self.chance.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below
    }

    /// From now on nothing is lost and nothing new happens.
    pub(crate) fn calm(&self) {
        self.inner.lock().unwrap().calm = true;
    }

    /// All payments.
    pub(crate) fn payments(&self) -> BTreeMap<TopUpId, Known> {
        self.inner.lock().unwrap().payments.clone()
    }

    /// Changes a payment and sends a message about it.
    pub(crate) fn change(&self, top_up: TopUpId, change: impl FnOnce(&mut Known)) {
        let copies = 1 + self.roll(3);
        let mut inner = self.inner.lock().unwrap();
        let known = inner.payments.get_mut(&top_up).unwrap();
        change(known);
        let payment = known.payment();
        inner.messages += 1;
        let id = format!("event-{}", inner.messages);
        let body = message(&id, top_up, &payment);
        for _ in 0..copies {
            inner.queue.push((signature(&body), body.clone()));
        }
    }

    /// Something happens to each payment, or nothing.
    pub(crate) fn live(&self) {
        for (top_up, known) in self.payments() {
            let left = known.amount - known.refunded;
            match (self.roll(8), known.paid) {
                (0 | 1, false) => self.change(top_up, |known| known.paid = true),
                (2, false) => self.change(top_up, |known| known.declined = true),
                (3, true) if left > 0 && !known.disputed => {
                    let part = 1 + i64::try_from(self.roll(left.unsigned_abs())).unwrap();
                    self.change(top_up, |known| known.refunded += part);
                }
                (4, true) if left > 0 && self.roll(4) == 0 => {
                    self.change(top_up, |known| known.disputed = true)
                }
                _ => {}
            }
        }
    }

    /// A message that waits for delivery, whichever; when `all` are to come, the oldest.
    pub(crate) fn next_message(&self, all: bool) -> Option<(String, Vec<u8>)> {
        let place = self.roll(1 << 20);
        let mut inner = self.inner.lock().unwrap();
        if inner.queue.is_empty() {
            return None;
        }
        let place = if all { 0 } else { usize::try_from(place).unwrap() % inner.queue.len() };
        Some(inner.queue.swap_remove(place))
    }

    fn lost(&self, told: &str) -> Result<(), NoAnswer> {
        let calm = self.inner.lock().unwrap().calm;
        if !calm && self.roll(4) == 0 { Err(NoAnswer(told.to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Provider for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn start(&self, order: &Order) -> Result<Payment, NoAnswer> {
        self.lost("the request was lost")?;
        let payment = {
            let mut inner = self.inner.lock().unwrap();
            let known = inner.payments.entry(order.top_up).or_insert_with(|| Known {
                amount: order.amount.as_micros(),
                paid: false,
                refunded: 0,
                disputed: false,
                begun: 0,
                declined: false,
                reference: format!("pay-{}", order.top_up),
            });
            known.begun += 1;
            known.payment()
        };
        self.lost("the answer was lost")?;
        Ok(payment)
    }

    async fn poll(&self, order: &Order) -> Result<Option<Payment>, NoAnswer> {
        self.lost("the answer was lost")?;
        Ok(self.inner.lock().unwrap().payments.get(&order.top_up).map(Known::payment))
    }

    async fn refund(&self, order: &Order, total: Credits) -> Result<Payment, NoAnswer> {
        self.lost("the request was lost")?;
        let payment = {
            let mut inner = self.inner.lock().unwrap();
            let known = inner.payments.get_mut(&order.top_up).unwrap();
            known.refunded = known.refunded.max(total.as_micros());
            known.payment()
        };
        self.lost("the answer was lost")?;
        Ok(payment)
    }

    fn event(&self, delivery: Delivery<'_>) -> Result<Event, NotGenuine> {
        if delivery.headers.get("fake-signature") != Some(&signature(delivery.body)) {
            return Err(NotGenuine("the signature is wrong".to_owned()));
        }
        let message: HashMap<String, Value> =
            serde_json::from_slice(delivery.body).map_err(|error| NotGenuine(error.to_string()))?;
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let standing = match text("standing").as_str() {
            "paid" => Standing::Paid,
            "failed" => Standing::Failed(text("why")),
            _ => Standing::Waiting,
        };
        Ok(Event {
            id: text("id"),
            top_up: text("top_up").parse().map_err(|_| NotGenuine("no top-up".to_owned()))?,
            payment: Payment {
                reference: Some(text("reference")),
                standing,
                refunded: text("refunded").parse().unwrap(),
                disputed: message["disputed"] == json!(true),
            },
        })
    }
}
