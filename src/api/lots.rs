//! Lots over HTTP: where credits came from and until when they are good.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;

use super::{
    extract::{Asked, At, Caller},
    problem::Problem,
};
use crate::{
    app::{App, lots::LotView},
    ids::MemberId,
    model::page::{Items, Page, View},
};

/// Whose lots to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LotsQuery {
    /// `self` for those of the caller's wallet, `admin` for those of the pool and of all wallets.
    #[serde(default)]
    view: View,
    /// Only those of this member's wallet; with `view=admin`.
    member: Option<MemberId>,
    /// Rows of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The lots that have something left, the oldest first.
#[utoipa::path(get, path = "/teams/{team}/lots", operation_id = "listLots", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"), LotsQuery),
    responses((status = 200, body = Items<LotView>)))]
pub(super) async fn list_lots(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<LotsQuery>,
    Caller(op): Caller,
) -> Result<Json<Items<LotView>>, Problem> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    Ok(Json(app.lots_page(&op, &team, query.view, query.member, &page).await?))
}
