//! Webhooks over HTTP.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderName, StatusCode},
};
use serde::Deserialize;

use super::{
    extract::{Asked, At, Caller, Expected, Sent, etag},
    problem::Problem,
};
use crate::{
    app::{
        App,
        webhooks::{DeliveryView, IssuedWebhook, NewWebhook, WebhookChange, WebhookTest, WebhookView},
    },
    ids::{OutboxId, WebhookId},
    model::{
        delivery::DeliveryState,
        page::{Items, Page},
    },
};

type Answer<T> = Result<Json<T>, Problem>;
type Tagged<T> = Result<([(HeaderName, String); 1], Json<T>), Problem>;

/// Which messages for a webhook to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// Only those that stand here, such as `dead`.
    state: Option<DeliveryState>,
    /// Rows of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Makes a webhook: the team's messages are sent there from now on, signed as Standard Webhooks say.
#[utoipa::path(post, path = "/teams/{team}/webhooks", operation_id = "createWebhook", tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewWebhook, responses((status = 201, body = IssuedWebhook)))]
pub(super) async fn create_webhook(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewWebhook>,
) -> Result<(StatusCode, Json<IssuedWebhook>), Problem> {
    Ok((StatusCode::CREATED, Json(app.webhook_create(&op, &team, body).await?)))
}

/// The team's webhooks, the oldest first.
#[utoipa::path(get, path = "/teams/{team}/webhooks", operation_id = "listWebhooks", tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"), Page),
    responses((status = 200, body = Items<WebhookView>)))]
pub(super) async fn list_webhooks(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<WebhookView>> {
    Ok(Json(app.webhooks_page(&op, &team, &page).await?))
}

/// One webhook.
#[utoipa::path(get, path = "/teams/{team}/webhooks/{webhook}", operation_id = "getWebhook", tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("webhook" = WebhookId, Path, description = "The webhook")),
    responses((status = 200, body = WebhookView)))]
pub(super) async fn get_webhook(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, WebhookId)>,
    Caller(op): Caller,
) -> Tagged<WebhookView> {
    let view = app.webhook_fetch(&op, &team, id).await?;
    Ok((etag(view.version), Json(view)))
}

/// Changes a webhook: where it sends to, what it wants, whether it rests.
#[utoipa::path(patch, path = "/teams/{team}/webhooks/{webhook}", operation_id = "updateWebhook", tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("webhook" = WebhookId, Path, description = "The webhook"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\"")),
    request_body = WebhookChange, responses((status = 200, body = WebhookView)))]
pub(super) async fn update_webhook(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, WebhookId)>,
    Expected(version): Expected,
    Sent { op, body }: Sent<WebhookChange>,
) -> Tagged<WebhookView> {
    let view = app.webhook_update(&op, &team, id, version, body).await?;
    Ok((etag(view.version), Json(view)))
}

/// Takes a webhook away; what was on its way there is not sent any more.
#[utoipa::path(delete, path = "/teams/{team}/webhooks/{webhook}", operation_id = "deleteWebhook", tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("webhook" = WebhookId, Path, description = "The webhook")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete_webhook(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, WebhookId)>,
    Caller(op): Caller,
) -> Result<StatusCode, Problem> {
    app.webhook_delete(&op, &team, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a message of the kind `webhook.test` now, once, and says what became of it.
#[utoipa::path(post, path = "/teams/{team}/webhooks/{webhook}/test", operation_id = "testWebhook", tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("webhook" = WebhookId, Path, description = "The webhook"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    responses((status = 200, body = WebhookTest)))]
pub(super) async fn test_webhook(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, WebhookId)>,
    Caller(op): Caller,
) -> Answer<WebhookTest> {
    Ok(Json(app.webhook_test(&op, &team, id).await?))
}

/// Messages for a webhook and how far they have come, the newest first.
#[utoipa::path(get, path = "/teams/{team}/webhooks/{webhook}/deliveries", operation_id = "listDeliveries",
    tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("webhook" = WebhookId, Path, description = "The webhook"), DeliveriesQuery),
    responses((status = 200, body = Items<DeliveryView>)))]
pub(super) async fn list_deliveries(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, WebhookId)>,
    Asked(query): Asked<DeliveriesQuery>,
    Caller(op): Caller,
) -> Answer<Items<DeliveryView>> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    Ok(Json(app.deliveries_page(&op, &team, id, query.state, &page).await?))
}

/// Sends a message that was given up again.
#[utoipa::path(post, path = "/teams/{team}/webhooks/{webhook}/deliveries/{message}/retry",
    operation_id = "retryDelivery", tag = "messages",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("webhook" = WebhookId, Path, description = "The webhook"),
           ("message" = OutboxId, Path, description = "The message"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    responses((status = 200, body = DeliveryView)))]
pub(super) async fn retry_delivery(
    State(app): State<Arc<App>>,
    At((team, id, message)): At<(String, WebhookId, OutboxId)>,
    Caller(op): Caller,
) -> Answer<DeliveryView> {
    Ok(Json(app.delivery_retry(&op, &team, id, message).await?))
}
