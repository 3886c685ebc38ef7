//! Budgets over HTTP.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::HeaderName},
};
use serde::Deserialize;

use super::{
    extract::{Asked, At, Caller, Expected, Sent, etag},
    problem::Problem,
};
use crate::{
    app::{
        App,
        budgets::{BudgetChange, BudgetView, NewBudget},
    },
    ids::BudgetId,
    model::page::{Items, Page, View},
};

type Tagged<T> = Result<([(HeaderName, String); 1], Json<T>), Problem>;

/// Which budgets to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BudgetsQuery {
    /// `self` for the caller's own and those of the caller's keys, `admin` for all.
    #[serde(default)]
    view: View,
    /// Rows of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Makes a budget. It counts its whole present period, also what was charged before.
#[utoipa::path(post, path = "/teams/{team}/budgets", operation_id = "createBudget", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewBudget, responses((status = 201, body = BudgetView)))]
pub(super) async fn create_budget(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<NewBudget>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<BudgetView>), Problem> {
    let view = app.budget_create(&op, &team, body).await?;
    Ok((StatusCode::CREATED, etag(view.version), Json(view)))
}

/// The team's budgets and what was used of them, the oldest first.
#[utoipa::path(get, path = "/teams/{team}/budgets", operation_id = "listBudgets", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"), BudgetsQuery),
    responses((status = 200, body = Items<BudgetView>)))]
pub(super) async fn list_budgets(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<BudgetsQuery>,
    Caller(op): Caller,
) -> Result<Json<Items<BudgetView>>, Problem> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    Ok(Json(app.budgets_page(&op, &team, query.view, &page).await?))
}

/// One budget and what was used of it.
#[utoipa::path(get, path = "/teams/{team}/budgets/{budget}", operation_id = "getBudget", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("budget" = BudgetId, Path, description = "The budget")),
    responses((status = 200, body = BudgetView)))]
pub(super) async fn get_budget(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, BudgetId)>,
    Caller(op): Caller,
) -> Tagged<BudgetView> {
    let view = app.budget_fetch(&op, &team, id).await?;
    Ok((etag(view.version), Json(view)))
}

/// Changes a budget, or makes one that has ended count again.
#[utoipa::path(patch, path = "/teams/{team}/budgets/{budget}", operation_id = "updateBudget", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("budget" = BudgetId, Path, description = "The budget"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\"")),
    request_body = BudgetChange, responses((status = 200, body = BudgetView)))]
pub(super) async fn update_budget(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, BudgetId)>,
    Expected(version): Expected,
    Sent { op, body }: Sent<BudgetChange>,
) -> Tagged<BudgetView> {
    let view = app.budget_update(&op, &team, id, version, body).await?;
    Ok((etag(view.version), Json(view)))
}

/// Ends a budget: it counts and binds no longer.
#[utoipa::path(delete, path = "/teams/{team}/budgets/{budget}", operation_id = "endBudget", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("budget" = BudgetId, Path, description = "The budget")),
    responses((status = 204, description = "It has ended")))]
pub(super) async fn end_budget(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, BudgetId)>,
    Caller(op): Caller,
) -> Result<StatusCode, Problem> {
    app.budget_end(&op, &team, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
