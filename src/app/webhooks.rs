//! Webhooks: where a team wants the server's messages sent, and what became of each message on its way there.

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{App, gate::Outcome, products::stale};
use crate::{
    error::{Error, Findings, Result},
    ids::{OutboxId, TeamId, WebhookId},
    model::{
        action::Action,
        delivery::{DeliveryState, is_wanted, pause_after},
        page::{Items, Page},
    },
    op::Op,
    policy::{Facts, Resource},
    store::{
        Conn, Json,
        webhooks::{DeliveryRow, DueRow, FreshMessage, WebhookRow},
    },
    time::Timestamp,
    webhook::{Message, Secret},
};

/// A webhook to make.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// Where messages are sent, by POST: an http or https URL on the public internet, or one that the operator allows.
    pub url: String,
    /// What the kinds of wanted messages begin with, such as `budget.` or `instance.draining`; at most 32. Empty: every
    /// message.
    #[serde(default)]
    pub kinds: Vec<String>,
}

/// A change of a webhook; what is absent stays.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChange {
    /// Where messages are sent, as for a new one. What is on its way goes there too.
    pub url: Option<String>,
    /// What the kinds of wanted messages begin with; at most 32. Empty: every message.
    pub kinds: Option<Vec<String>>,
    /// Whether it gets messages. One that rests gets none of those that are written meanwhile; what was on its way
    /// waits.
    pub active: Option<bool>,
}

/// A webhook, without its secret.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct WebhookView {
    /// Its id.
    pub id: WebhookId,
    /// Where messages are sent.
    pub url: String,
    /// What the kinds of wanted messages begin with; empty: every message.
    pub kinds: Vec<String>,
    /// Whether it gets messages.
    pub active: bool,
    /// Raised by every change; the ETag is made of it.
    pub version: i64,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A webhook with its secret.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct IssuedWebhook {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: WebhookView,
    /// What messages are signed with, as Standard Webhooks say; shown this once. A repetition does not show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// How far a message has come on its way to a webhook.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct DeliveryView {
    /// The message; the same id in every try, as `webhook-id` and as the event's id.
    pub message: OutboxId,
    /// What it tells.
    pub kind: String,
    /// Where it stands.
    pub state: DeliveryState,
    /// How often it was sent.
    pub tries: u32,
    /// When it is sent next; `null` unless it waits.
    pub next_at: Option<Timestamp>,
    /// Why the last try failed; the empty text if none did.
    pub last_error: String,
    /// When the message was written.
    pub written_at: Timestamp,
    /// When this changed last.
    pub updated_at: Timestamp,
}

/// What became of a message that was sent as a test.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct WebhookTest {
    /// Whether it was taken.
    pub delivered: bool,
    /// The status of the answer, if it was taken.
    pub status: Option<u16>,
    /// Why it was not taken.
    pub error: Option<String>,
}

impl From<WebhookRow> for WebhookView {
    fn from(row: WebhookRow) -> Self {
        Self {
            id: row.id,
            url: row.url,
            kinds: row.kinds.0,
            active: row.active,
            version: row.version,
            created_by: row.created_by,
            created_at: row.created_at,
        }
    }
}

impl From<DeliveryRow> for DeliveryView {
    fn from(row: DeliveryRow) -> Self {
        Self {
            message: row.message,
            kind: row.kind,
            state: row.state,
            tries: row.tries,
            next_at: (row.state == DeliveryState::Waiting).then_some(row.next_at),
            last_error: row.last_error,
            written_at: row.written_at,
            updated_at: row.updated_at,
        }
    }
}

/// The most webhooks of one team: every message may go to each of them.
const MOST_WEBHOOKS: u32 = 10;
/// Messages for which webhooks are looked for in one transaction.
const FAN_PAGE: u32 = 500;
/// Messages of one webhook in one pass: one that does not answer must not hold up the others.
const MOST_EACH: u32 = 8;
/// Messages of one pass.
const MOST_DUE: u32 = 128;
/// Messages that are under way at the same time.
const ABREAST: usize = 16;

fn check(kinds: &[String]) -> Result<()> {
    let mut findings = Findings::new();
    findings.check(kinds.len() <= 32, "/kinds", "at most 32 beginnings");
    for (index, kind) in kinds.iter().enumerate().take(32) {
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_');
        let fine = (1..=64).contains(&kind.len()) && kind.chars().all(word);
        findings.check(
            fine,
            &format!("/kinds/{index}"),
            "1 to 64 of a-z, 0-9, `.` and `_`, such as `budget.`",
        );
    }
    findings.done()
}

async fn webhook_in(conn: &mut Conn, team: TeamId, id: WebhookId) -> Result<WebhookRow> {
    let found = conn.webhook_fetch(id).await?.filter(|row| row.team == team);
    found.ok_or_else(|| Error::not_found("webhook"))
}

impl App {
    /// Makes a webhook: it gets the messages that are written from now on.
    pub async fn webhook_create(&self, op: &Op, team: &str, new: NewWebhook) -> Result<IssuedWebhook> {
        check(&new.kinds)?;
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        drop(read);
        let resource = Resource::team(scope.team.id);
        // Only who may make one learns what an address resolves to.
        self.look(op, &scope.asker, Action::CreateWebhook, resource.clone(), Facts::default()).await?;
        self.webhooks.check(&new.url).await.map_err(|told| Error::field("/url", told))?;
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::CreateWebhook, resource, Facts::default()).await?;
        if tx.webhooks_count(scope.team.id).await? >= MOST_WEBHOOKS {
            let told = format!("a team can have {MOST_WEBHOOKS} webhooks; delete one that is no longer used");
            return Err(Error::conflict("too-many", told));
        }
        let (id, secret): (WebhookId, _) = (op.id(), Secret::fresh(op.chance()));
        let row = WebhookRow {
            id,
            team: scope.team.id,
            url: new.url,
            kinds: Json(new.kinds),
            secret_sealed: self.seal.seal(secret.reveal().as_bytes(), &id.to_string(), op.chance())?,
            active: true,
            version: 1,
            created_by: op.actor.name(),
            created_at: op.now(),
        };
        tx.webhook_insert(&row).await?;
        let mut issued = IssuedWebhook { webhook: row.into(), secret: None };
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: id.to_string(),
            document: serde_json::json!({ "url": issued.webhook.url, "kinds": issued.webhook.kinds }),
            status: 201,
            answer: &issued,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        issued.secret = Some(secret.reveal().to_owned());
        Ok(issued)
    }

    /// The team's webhooks, the oldest first.
    pub async fn webhooks_page(&self, op: &Op, team: &str, page: &Page) -> Result<Items<WebhookView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::ListWebhooks, resource, Facts::default()).await?;
        let rows = read.webhooks_page(scope.team.id, page.after(), limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.id.to_string()).map(WebhookView::from))
    }

    /// One webhook.
    pub async fn webhook_fetch(&self, op: &Op, team: &str, id: WebhookId) -> Result<WebhookView> {
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = webhook_in(&mut read, scope.team.id, id).await?;
        let resource = Resource::team(row.team);
        self.look(op, &scope.asker, Action::GetWebhook, resource, Facts::default()).await?;
        Ok(row.into())
    }

    /// Changes a webhook, if it is still at the expected version.
    pub async fn webhook_update(
        &self,
        op: &Op,
        team: &str,
        id: WebhookId,
        expected: i64,
        change: WebhookChange,
    ) -> Result<WebhookView> {
        check(change.kinds.as_deref().unwrap_or_default())?;
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        drop(read);
        let resource = Resource::team(scope.team.id);
        self.look(op, &scope.asker, Action::UpdateWebhook, resource.clone(), Facts::default()).await?;
        if let Some(url) = &change.url {
            self.webhooks.check(url).await.map_err(|told| Error::field("/url", told))?;
        }
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let mut row = webhook_in(&mut tx, scope.team.id, id).await?;
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::UpdateWebhook, resource, Facts::default()).await?;
        row.url = change.url.unwrap_or(row.url);
        row.kinds = change.kinds.map_or(row.kinds, Json);
        row.active = change.active.unwrap_or(row.active);
        row.version = expected;
        if !tx.webhook_update(&row).await? {
            return Err(stale());
        }
        row.version += 1;
        let view = WebhookView::from(row);
        let outcome = Outcome {
            team: scope.team.id.to_string(),
            target: id.to_string(),
            document: serde_json::json!({ "url": view.url, "kinds": view.kinds, "active": view.active }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// Takes a webhook away; what was on its way there is not sent any more.
    pub async fn webhook_delete(&self, op: &Op, team: &str, id: WebhookId) -> Result<()> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let row = webhook_in(&mut tx, scope.team.id, id).await?;
        let resource = Resource::team(row.team);
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::DeleteWebhook, resource, Facts::default()).await?;
        tx.webhook_delete(id).await?;
        let outcome = Outcome {
            team: row.team.to_string(),
            target: id.to_string(),
            document: serde_json::json!({ "url": row.url }),
            status: 204,
            answer: &(),
        };
        self.conclude(op, tx, &permit, outcome).await
    }

    /// Sends a message of the kind `webhook.test` now, once, and says what became of it.
    pub async fn webhook_test(&self, op: &Op, team: &str, id: WebhookId) -> Result<WebhookTest> {
        self.unless_answered(op).await?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = webhook_in(&mut read, scope.team.id, id).await?;
        drop(read);
        let resource = Resource::team(row.team);
        self.look(op, &scope.asker, Action::TestWebhook, resource.clone(), Facts::default()).await?;
        let message: OutboxId = op.id();
        let due = DueRow {
            message,
            webhook: id,
            team: row.team,
            url: row.url,
            secret_sealed: row.secret_sealed,
            kind: "webhook.test".to_owned(),
            document: serde_json::json!({ "webhook": id }).to_string(),
            tries: 0,
            written_at: op.now(),
        };
        let sent = self.message_send(op, &due).await;
        let (status, error) = match sent {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error)),
        };
        let told = WebhookTest { delivered: status.is_some(), status, error };
        let tx = self.begin(op).await?;
        let (tx, permit) =
            self.permit(op, tx, &scope.asker, Action::TestWebhook, resource, Facts::default()).await?;
        let outcome = Outcome {
            team: row.team.to_string(),
            target: id.to_string(),
            document: serde_json::json!({ "message": message, "delivered": told.delivered }),
            status: 200,
            answer: &told,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(told)
    }

    /// Messages for a webhook, the newest first; with `state` only those that stand there.
    pub async fn deliveries_page(
        &self,
        op: &Op,
        team: &str,
        id: WebhookId,
        state: Option<DeliveryState>,
        page: &Page,
    ) -> Result<Items<DeliveryView>> {
        let limit = page.limit()?;
        let mut read = self.db.read().await?;
        let scope = self.enter(op, &mut read, team).await?;
        let row = webhook_in(&mut read, scope.team.id, id).await?;
        let resource = Resource::team(row.team);
        self.look(op, &scope.asker, Action::ListDeliveries, resource, Facts::default()).await?;
        let rows = read.deliveries_page(id, state, page.after(), limit + 1).await?;
        Ok(Items::cut(rows, limit, |row| row.message.to_string()).map(DeliveryView::from))
    }

    /// Sends a message that was given up again, with as many tries as at first.
    ///
    /// # Errors
    /// The conflict `illegal-state` when it was not given up.
    pub async fn delivery_retry(
        &self,
        op: &Op,
        team: &str,
        id: WebhookId,
        message: OutboxId,
    ) -> Result<DeliveryView> {
        let mut tx = self.begin(op).await?;
        let scope = self.enter(op, &mut tx, team).await?;
        let webhook = webhook_in(&mut tx, scope.team.id, id).await?;
        let resource = Resource::team(webhook.team);
        let (mut tx, permit) =
            self.permit(op, tx, &scope.asker, Action::RetryDelivery, resource, Facts::default()).await?;
        let found = tx.delivery_fetch(id, message).await?;
        let before = found.ok_or_else(|| Error::not_found("delivery"))?;
        let (state, tries) = (DeliveryState::Waiting, 0);
        let row = DeliveryRow { state, tries, next_at: op.now(), updated_at: op.now(), ..before.clone() };
        if before.state != DeliveryState::Dead || !tx.delivery_move(&row, before.state, before.tries).await? {
            let told =
                format!("this message is {}; only one that was given up can be sent again", before.state);
            return Err(Error::conflict("illegal-state", told));
        }
        let view = DeliveryView::from(row);
        let outcome = Outcome {
            team: webhook.team.to_string(),
            target: id.to_string(),
            document: serde_json::json!({ "message": message, "kind": view.kind }),
            status: 200,
            answer: &view,
        };
        self.conclude(op, tx, &permit, outcome).await?;
        Ok(view)
    }

    /// One pass over the messages: new ones are handed to the webhooks that want them, and what is due is sent. Gives
    /// the number of messages that were taken.
    pub async fn messages_deliver(&self, op: &Op) -> Result<usize> {
        self.messages_fan(op).await?;
        let mut read = self.db.read().await?;
        let due = read.deliveries_due(op.now(), MOST_EACH, MOST_DUE).await?;
        drop(read);
        if due.is_empty() {
            return Ok(0);
        }
        let sending = stream::iter(due).map(async |due| {
            let sent = self.message_send(op, &due).await;
            (due, sent)
        });
        let sent: Vec<_> = sending.buffer_unordered(ABREAST).collect().await;
        let (mut tx, mut taken) = (self.db.begin().await?, Vec::new());
        for (due, sent) in sent {
            let row = tried(op, &due, &sent);
            let moved = tx.delivery_move(&row, DeliveryState::Waiting, due.tries).await?;
            metrics::counter!("muster_webhook_tries_total", "state" => row.state.word()).increment(1);
            if moved && row.state == DeliveryState::Delivered {
                taken.push(due.message);
            }
        }
        tx.outbox_deliver(&taken, op.now()).await?;
        self.system_commit(op, tx).await?;
        Ok(taken.len())
    }

    /// Finds the webhooks of messages that are new.
    async fn messages_fan(&self, op: &Op) -> Result<()> {
        loop {
            let mut glance = self.db.glance().await?;
            let waiting = !glance.outbox_fresh(1).await?.is_empty();
            drop(glance);
            if !waiting {
                return Ok(());
            }
            let mut tx = self.db.begin().await?;
            let messages = tx.outbox_fresh(FAN_PAGE).await?;
            let mut teams: Vec<String> = messages.iter().map(|message| message.team.clone()).collect();
            teams.sort_unstable();
            teams.dedup();
            let webhooks = tx.webhooks_active(&teams).await?;
            let deliveries: Vec<(OutboxId, WebhookId)> = messages
                .iter()
                .flat_map(|message| {
                    let wanting = webhooks.iter().filter(|webhook| wants(webhook, message));
                    wanting.map(|webhook| (message.id, webhook.id))
                })
                .collect();
            let ids: Vec<OutboxId> = messages.iter().map(|message| message.id).collect();
            tx.outbox_fan(&ids, &deliveries, op.now()).await?;
            self.system_commit(op, tx).await?;
        }
    }

    /// Sends a message once; the status of the answer, or why it was not taken.
    async fn message_send(&self, op: &Op, due: &DueRow) -> std::result::Result<u16, String> {
        let opened = self.seal.open(&due.secret_sealed, &due.webhook.to_string());
        let secret = opened.ok().and_then(|plain| String::from_utf8(plain.to_vec()).ok());
        let secret = secret.ok_or("the secret of this webhook does not open; make a new webhook")?;
        let data: serde_json::Value =
            serde_json::from_str(&due.document).map_err(|error| error.to_string())?;
        let (id, source) =
            (due.message.to_string(), format!("{}/api/v1/teams/{}", self.settings.public_url, due.team));
        let message = Message::new(&id, &source, &due.kind, due.written_at, &data);
        self.webhooks.send(&due.url, &Secret::shown(secret), &message, op.now()).await
    }
}

/// Whether a webhook gets a message: of its team, wanted, and written since the webhook was made.
fn wants(webhook: &WebhookRow, message: &FreshMessage) -> bool {
    message.team == webhook.team.to_string()
        && message.created_at >= webhook.created_at
        && is_wanted(&webhook.kinds.0, &message.kind)
}

/// Where a message stands after it was sent once more.
fn tried(op: &Op, due: &DueRow, sent: &std::result::Result<u16, String>) -> DeliveryRow {
    let (now, tries) = (op.now(), due.tries + 1);
    let (state, next_at, last_error) = match sent {
        Ok(_) => (DeliveryState::Delivered, now, String::new()),
        Err(error) => match pause_after(tries) {
            Some(pause) => (DeliveryState::Waiting, now + pause, error.clone()),
            None => (DeliveryState::Dead, now, error.clone()),
        },
    };
    DeliveryRow {
        message: due.message,
        webhook: due.webhook,
        kind: due.kind.clone(),
        state,
        tries,
        next_at,
        last_error,
        written_at: due.written_at,
        updated_at: now,
    }
}
