//! The door for the messages of payment providers.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};

use super::{
    extract::{At, Foreign},
    problem::Problem,
};
use crate::app::{
    App,
    payments::{Delivery, EventTaken},
};

/// Takes a message of a payment provider, which proves by its own signature that it sent it. Every message counts once.
#[utoipa::path(post, path = "/providers/{provider}/events", operation_id = "receiveProviderEvent", tag = "money",
    security(()), params(("provider" = String, Path, description = "The provider's name")),
    request_body(content = Vec<u8>, description = "The message as the provider signed it",
                 content_type = "application/octet-stream"),
    responses((status = 200, body = EventTaken)))]
pub(super) async fn receive_provider_event(
    State(app): State<Arc<App>>,
    At(provider): At<String>,
    Foreign { op, headers, bytes }: Foreign,
) -> Result<Json<EventTaken>, Problem> {
    let readable = headers.iter().filter_map(|(name, value)| {
        // Names are kept in small letters already.
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    });
    let headers: BTreeMap<String, String> = readable.collect();
    let delivery = Delivery { body: &bytes, headers: &headers };
    Ok(Json(app.provider_event(&op, &provider, delivery).await?))
}
