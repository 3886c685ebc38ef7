//! Webhooks, and the way of each message to each of them.

use serde_json::{Value, json};

use super::{Conn, Json, Result, Tx, journal::list, query::record};
use crate::{
    ids::{OutboxId, TeamId, WebhookId},
    model::delivery::DeliveryState,
    time::Timestamp,
};

record! {
    /// Where a team wants its messages sent.
    pub struct WebhookRow {
        /// The webhook.
        pub id: WebhookId,
        /// Its team.
        pub team: TeamId,
        /// The address.
        pub url: String,
        /// What the kinds of its messages begin with; none for every message.
        pub kinds: Json<Vec<String>>,
        /// What its messages are signed with, sealed.
        pub secret_sealed: Vec<u8>,
        /// Whether it gets messages.
        pub active: bool,
        /// Raised by every change.
        pub version: i64,
        /// Who made it.
        pub created_by: String,
        /// When it was made.
        pub created_at: Timestamp,
    }
}

record! {
    /// A message that nobody was looked for yet.
    pub struct FreshMessage {
        /// The message.
        pub id: OutboxId,
        /// The id of the team, or the empty text for the site.
        pub team: String,
        /// What it tells.
        pub kind: String,
        /// When it was written.
        pub created_at: Timestamp,
    }
}

record! {
    /// How far a message has come on its way to a webhook.
    pub struct DeliveryRow {
        /// The message.
        pub message: OutboxId,
        /// The webhook.
        pub webhook: WebhookId,
        /// What it tells.
        pub kind: String,
        /// Where it stands.
        pub state: DeliveryState,
        /// How often it was sent.
        pub tries: u32,
        /// When it is sent next.
        pub next_at: Timestamp,
        /// Why the last try failed.
        pub last_error: String,
        /// When the message was written.
        pub written_at: Timestamp,
        /// When this changed last.
        pub updated_at: Timestamp,
    }
}

record! {
    /// A message that is due at a webhook.
    pub struct DueRow {
        /// The message.
        pub message: OutboxId,
        /// The webhook.
        pub webhook: WebhookId,
        /// Its team.
        pub team: TeamId,
        /// The webhook's address.
        pub url: String,
        /// What its messages are signed with, sealed.
        pub secret_sealed: Vec<u8>,
        /// What it tells.
        pub kind: String,
        /// Its content, as JSON.
        pub document: String,
        /// How often it was sent.
        pub tries: u32,
        /// When it was written.
        pub written_at: Timestamp,
    }
}

const WEBHOOK_INSERT: &str = "
    INSERT INTO webhooks (id, team, url, kinds, secret_sealed, active, version, created_by, created_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

const WEBHOOK_FETCH: &str = "SELECT * FROM webhooks WHERE id = $1";

const WEBHOOKS_PAGE: &str = "SELECT * FROM webhooks WHERE team = $1 AND id > $2 ORDER BY id LIMIT $3";

const WEBHOOKS_COUNT: &str = "SELECT COUNT(*) FROM webhooks WHERE team = $1";

const WEBHOOKS_ACTIVE_SQLITE: &str = "
    SELECT * FROM webhooks WHERE active AND team IN (SELECT value FROM json_each($1))";
const WEBHOOKS_ACTIVE_POSTGRES: &str = "
    SELECT * FROM webhooks
    WHERE active AND team = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb)))";

const WEBHOOK_UPDATE: &str = "
    UPDATE webhooks SET url = $3, kinds = $4, active = $5, version = version + 1 WHERE id = $1 AND version = $2";

const DELIVERIES_DROP: &str = "DELETE FROM deliveries WHERE webhook = $1";

const WEBHOOK_DELETE: &str = "DELETE FROM webhooks WHERE id = $1";

const OUTBOX_FRESH: &str = "
    SELECT id, team, kind, created_at FROM outbox WHERE fanned_at IS NULL ORDER BY id LIMIT $1";

const OUTBOX_FANNED_SQLITE: &str = "
    UPDATE outbox SET fanned_at = $2 WHERE fanned_at IS NULL AND id IN (SELECT value FROM json_each($1))";
const OUTBOX_FANNED_POSTGRES: &str = "
    UPDATE outbox SET fanned_at = $2
    WHERE fanned_at IS NULL AND id = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb)))";

const OUTBOX_DELIVERED_SQLITE: &str = "
    UPDATE outbox SET delivered_at = $2
    WHERE delivered_at IS NULL AND id IN (SELECT value FROM json_each($1))
      AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message = outbox.id AND d.state <> 'delivered')";
const OUTBOX_DELIVERED_POSTGRES: &str = "
    UPDATE outbox SET delivered_at = $2
    WHERE delivered_at IS NULL AND id = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS TEXT)::jsonb)))
      AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.message = outbox.id AND d.state <> 'delivered')";

const DELIVERIES_INSERT_SQLITE: &str = "
    INSERT INTO deliveries (message, webhook, state, tries, next_at, last_error, updated_at)
    SELECT value->>'message', value->>'webhook', 'waiting', 0, $2, '', $2 FROM json_each($1) WHERE TRUE
    ON CONFLICT (webhook, message) DO NOTHING";
const DELIVERIES_INSERT_POSTGRES: &str = "
    INSERT INTO deliveries (message, webhook, state, tries, next_at, last_error, updated_at)
    SELECT n.message, n.webhook, 'waiting', 0, CAST($2 AS BIGINT), '', CAST($2 AS BIGINT)
    FROM jsonb_to_recordset(CAST($1 AS TEXT)::jsonb) AS n(message TEXT, webhook TEXT)
    ON CONFLICT (webhook, message) DO NOTHING";

const DELIVERIES_DUE: &str = "
    SELECT d.message, d.webhook, w.team, w.url, w.secret_sealed, o.kind, o.document, d.tries,
           o.created_at AS written_at
      FROM (SELECT message, webhook, tries, next_at,
                   ROW_NUMBER() OVER (PARTITION BY webhook ORDER BY next_at, message) AS place
              FROM deliveries WHERE state = 'waiting' AND next_at <= $1) d
      JOIN webhooks w ON w.id = d.webhook
      JOIN outbox o ON o.id = d.message
     WHERE d.place <= $2 AND w.active
     ORDER BY d.place, d.next_at, d.message LIMIT $3";

const DELIVERY_MOVE: &str = "
    UPDATE deliveries SET state = $3, tries = $4, next_at = $5, last_error = $6, updated_at = $7
     WHERE webhook = $1 AND message = $2 AND state = $8 AND tries = $9";

const DELIVERY_FETCH: &str = "
    SELECT d.message, d.webhook, o.kind, d.state, d.tries, d.next_at, d.last_error, o.created_at AS written_at,
           d.updated_at
      FROM deliveries d JOIN outbox o ON o.id = d.message
     WHERE d.webhook = $1 AND d.message = $2";

const DELIVERIES_PAGE: &str = "
    SELECT d.message, d.webhook, o.kind, d.state, d.tries, d.next_at, d.last_error, o.created_at AS written_at,
           d.updated_at
      FROM deliveries d JOIN outbox o ON o.id = d.message
     WHERE d.webhook = $1 AND ($2 = '' OR d.state = $2) AND ($3 = '' OR d.message < $3)
     ORDER BY d.message DESC LIMIT $4";

impl Conn {
    /// A webhook.
    pub async fn webhook_fetch(&mut self, id: WebhookId) -> Result<Option<WebhookRow>> {
        self.query(WEBHOOK_FETCH).bind(id).optional().await
    }

    /// The team's webhooks with ids above `after`.
    pub async fn webhooks_page(&mut self, team: TeamId, after: &str, limit: u32) -> Result<Vec<WebhookRow>> {
        self.query(WEBHOOKS_PAGE).bind(team).bind(after).bind(limit).all().await
    }

    /// How many webhooks the team has.
    pub async fn webhooks_count(&mut self, team: TeamId) -> Result<u32> {
        Ok(self.query(WEBHOOKS_COUNT).bind(team).one::<(u32,)>().await?.0)
    }

    /// The active webhooks of these teams.
    pub async fn webhooks_active(&mut self, teams: &[String]) -> Result<Vec<WebhookRow>> {
        let query = self.query_by(WEBHOOKS_ACTIVE_SQLITE, WEBHOOKS_ACTIVE_POSTGRES);
        query.bind(list(teams)).all().await
    }

    /// At most `limit` messages that nobody was looked for yet, the oldest first.
    pub async fn outbox_fresh(&mut self, limit: u32) -> Result<Vec<FreshMessage>> {
        self.query(OUTBOX_FRESH).bind(limit).all().await
    }

    /// What is due at `now`: at most `most_each` messages of a webhook and `most` together, those that wait longest.
    pub async fn deliveries_due(&mut self, now: Timestamp, most_each: u32, most: u32) -> Result<Vec<DueRow>> {
        self.query(DELIVERIES_DUE).bind(now).bind(most_each).bind(most).all().await
    }

    /// How far a message has come on its way to a webhook.
    pub async fn delivery_fetch(
        &mut self,
        webhook: WebhookId,
        message: OutboxId,
    ) -> Result<Option<DeliveryRow>> {
        self.query(DELIVERY_FETCH).bind(webhook).bind(message).optional().await
    }

    /// Messages of a webhook, the newest first, with ids below `before`; the empty text begins at the newest.
    pub async fn deliveries_page(
        &mut self,
        webhook: WebhookId,
        state: Option<DeliveryState>,
        before: &str,
        limit: u32,
    ) -> Result<Vec<DeliveryRow>> {
        let state = state.map_or("", DeliveryState::word);
        self.query(DELIVERIES_PAGE).bind(webhook).bind(state).bind(before).bind(limit).all().await
    }
}

impl Tx {
    /// Writes a new webhook.
    pub async fn webhook_insert(&mut self, row: &WebhookRow) -> Result<()> {
        let insert = self.query(WEBHOOK_INSERT).bind(row.id).bind(row.team).bind(&row.url).bind(&row.kinds);
        let insert = insert.bind(&row.secret_sealed).bind(row.active).bind(row.version);
        insert.bind(&row.created_by).bind(row.created_at).execute().await.map(drop)
    }

    /// Writes address, kinds and rest of a webhook, if it is still at the version of the row; whether it was.
    pub async fn webhook_update(&mut self, row: &WebhookRow) -> Result<bool> {
        let update = self.query(WEBHOOK_UPDATE).bind(row.id).bind(row.version);
        let update = update.bind(&row.url).bind(&row.kinds).bind(row.active);
        Ok(update.execute().await? == 1)
    }

    /// Takes a webhook away, with what was on its way there.
    pub async fn webhook_delete(&mut self, id: WebhookId) -> Result<()> {
        self.query(DELIVERIES_DROP).bind(id).execute().await?;
        self.query(WEBHOOK_DELETE).bind(id).execute().await.map(drop)
    }

    /// Says who is to get messages, and that nobody is to be looked for any more.
    pub async fn outbox_fan(
        &mut self,
        messages: &[OutboxId],
        deliveries: &[(OutboxId, WebhookId)],
        now: Timestamp,
    ) -> Result<()> {
        if !deliveries.is_empty() {
            let rows =
                deliveries.iter().map(|(message, webhook)| json!({ "message": message, "webhook": webhook }));
            let insert = self.query_by(DELIVERIES_INSERT_SQLITE, DELIVERIES_INSERT_POSTGRES);
            insert.bind(Value::from_iter(rows).to_string()).bind(now).execute().await?;
        }
        let fanned = self.query_by(OUTBOX_FANNED_SQLITE, OUTBOX_FANNED_POSTGRES);
        fanned.bind(list(messages)).bind(now).execute().await?;
        self.outbox_deliver(messages, now).await
    }

    /// Notes of these messages that they were delivered, if they were to everybody.
    pub async fn outbox_deliver(&mut self, messages: &[OutboxId], now: Timestamp) -> Result<()> {
        let delivered = self.query_by(OUTBOX_DELIVERED_SQLITE, OUTBOX_DELIVERED_POSTGRES);
        delivered.bind(list(messages)).bind(now).execute().await.map(drop)
    }

    /// Writes where a message stands on its way, if it still stood in `state` after `tries`; whether it did.
    pub async fn delivery_move(
        &mut self,
        row: &DeliveryRow,
        state: DeliveryState,
        tries: u32,
    ) -> Result<bool> {
        let update = self.query(DELIVERY_MOVE).bind(row.webhook).bind(row.message).bind(row.state);
        let update = update.bind(row.tries).bind(row.next_at).bind(&row.last_error).bind(row.updated_at);
        Ok(update.bind(state).bind(tries).execute().await? == 1)
    }
}
