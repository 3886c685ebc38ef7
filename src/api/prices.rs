//! Prices and the plugins that compute them over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;

use super::{
    extract::{Asked, At, Caller, Sent, Uploaded},
    problem::Problem,
};
use crate::{
    app::{
        App,
        plugins::PluginView,
        price_replays::{NewPriceReplay, PriceReplayView},
        prices::{NewPrice, PriceView, RollBack},
    },
    ids::PluginId,
    model::page::{Items, Page},
};

type Answer<T> = Result<Json<T>, Problem>;
type Created<T> = Result<(StatusCode, Json<T>), Problem>;

/// What to call an uploaded plugin.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UploadQuery {
    /// Its name, 1 to 64 characters.
    name: String,
}

/// Makes a plugin with a configuration the team's price; running instances keep the price they were quoted.
#[utoipa::path(post, path = "/teams/{team}/prices", operation_id = "activatePrice", tag = "prices",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewPrice, responses((status = 201, body = PriceView)))]
pub(super) async fn activate_price(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewPrice>,
) -> Created<PriceView> {
    Ok((StatusCode::CREATED, Json(app.price_activate(&op, &team, body).await?)))
}

/// The team's price versions, the newest first, and after them the site's that are active or to come.
#[utoipa::path(get, path = "/teams/{team}/prices", operation_id = "listPrices", tag = "prices",
    params(("team" = String, Path, description = "Id or slug of the team"), Page),
    responses((status = 200, body = Items<PriceView>)))]
pub(super) async fn list_prices(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<PriceView>> {
    Ok(Json(app.prices_page(&op, &team, &page).await?))
}

/// Makes the price that the team had before its present one its price again; running instances keep theirs.
#[utoipa::path(post, path = "/teams/{team}/prices/rollback", operation_id = "rollBackPrice", tag = "prices",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = RollBack, responses((status = 201, body = PriceView)))]
pub(super) async fn roll_back_price(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<RollBack>,
) -> Created<PriceView> {
    Ok((StatusCode::CREATED, Json(app.price_roll_back(&op, &team, body).await?)))
}

/// Tells what a past span of the team would have cost by another price, and keeps that as evidence. Nothing is charged.
#[utoipa::path(post, path = "/teams/{team}/price-replays", operation_id = "replayPrice", tag = "prices",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewPriceReplay, responses((status = 201, body = PriceReplayView)))]
pub(super) async fn replay_price(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewPriceReplay>,
) -> Created<PriceReplayView> {
    Ok((StatusCode::CREATED, Json(app.price_replay(&op, &team, body).await?)))
}

/// The team's replays of prices, the newest first.
#[utoipa::path(get, path = "/teams/{team}/price-replays", operation_id = "listPriceReplays", tag = "prices",
    params(("team" = String, Path, description = "Id or slug of the team"), Page),
    responses((status = 200, body = Items<PriceReplayView>)))]
pub(super) async fn list_price_replays(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<PriceReplayView>> {
    Ok(Json(app.price_replays_page(&op, &team, &page).await?))
}

/// Makes a plugin with a configuration the price of the whole site, where no team has its own.
#[utoipa::path(post, path = "/prices", operation_id = "activateSitePrice", tag = "prices",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewPrice, responses((status = 201, body = PriceView)))]
pub(super) async fn activate_site_price(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<NewPrice>,
) -> Created<PriceView> {
    Ok((StatusCode::CREATED, Json(app.site_price_activate(&op, body).await?)))
}

/// The site's price versions, the newest first.
#[utoipa::path(get, path = "/prices", operation_id = "listSitePrices", tag = "prices",
    params(Page), responses((status = 200, body = Items<PriceView>)))]
pub(super) async fn list_site_prices(
    State(app): State<Arc<App>>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<PriceView>> {
    Ok(Json(app.site_prices_page(&op, &page).await?))
}

/// Takes a WebAssembly component that computes prices. It is compiled and tried out before it is kept; a component
/// that is there under the same name is answered with 200.
#[utoipa::path(post, path = "/teams/{team}/plugins", operation_id = "uploadPlugin", tag = "prices",
    params(("team" = String, Path, description = "Id or slug of the team"), UploadQuery,
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body(content = Vec<u8>, content_type = "application/wasm", description = "The component"),
    responses((status = 201, body = PluginView), (status = 200, body = PluginView)))]
pub(super) async fn upload_plugin(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<UploadQuery>,
    Uploaded { op, bytes }: Uploaded,
) -> Created<PluginView> {
    let (view, is_new) = app.plugin_upload(&op, &team, &query.name, bytes).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(view)))
}

/// The plugins that the team can use: the site's and its own.
#[utoipa::path(get, path = "/teams/{team}/plugins", operation_id = "listPlugins", tag = "prices",
    params(("team" = String, Path, description = "Id or slug of the team"), Page),
    responses((status = 200, body = Items<PluginView>)))]
pub(super) async fn list_plugins(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<PluginView>> {
    Ok(Json(app.plugins_page(&op, &team, &page).await?))
}

/// One plugin.
#[utoipa::path(get, path = "/teams/{team}/plugins/{plugin}", operation_id = "getPlugin", tag = "prices",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("plugin" = PluginId, Path, description = "The plugin")),
    responses((status = 200, body = PluginView)))]
pub(super) async fn get_plugin(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, PluginId)>,
    Caller(op): Caller,
) -> Answer<PluginView> {
    Ok(Json(app.plugin_fetch(&op, &team, id).await?))
}
