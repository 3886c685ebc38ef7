//! Statements, credit notes and cost files over HTTP. What may be long is sent as it is read.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_util::{Stream, stream};
use serde::Deserialize;

use super::{
    extract::{Asked, At, Caller},
    problem::Problem,
};
use crate::{
    app::{
        App,
        statements::{CreditNoteView, StatementItem, StatementView},
    },
    error::{Error, Result},
    model::page::{Items, Page, View},
};

type Answer<T> = std::result::Result<T, Problem>;

/// Which statements or credit notes to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MonthsQuery {
    /// `self` for the caller's own part, `admin` for the whole team's.
    #[serde(default)]
    view: View,
    /// Rows of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The form of a statement.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StatementForm {
    /// The statement itself.
    #[default]
    Json,
    /// The transactions and charges behind it, one a line.
    Csv,
}

/// Which part of a month, and how.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatementQuery {
    /// `self` for the caller's own part, `admin` for the whole team's.
    #[serde(default)]
    view: View,
    /// `json` for the statement, `csv` for what is behind it.
    #[serde(default)]
    form: StatementForm,
}

/// The form of a cost file.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CostForm {
    /// FOCUS 1.2, as CSV.
    #[default]
    Focus,
}

/// Whose costs, of which month.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CostsQuery {
    /// `self` for the caller's own, `admin` for the whole team's.
    #[serde(default)]
    view: View,
    /// The month, such as `2026-11`.
    month: String,
    /// `focus` for FOCUS 1.2.
    #[serde(default)]
    form: CostForm,
}

/// The team's months, the latest first: closed ones with their sums, open ones by name.
#[utoipa::path(get, path = "/teams/{team}/statements", operation_id = "listStatements", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"), MonthsQuery),
    responses((status = 200, body = Items<StatementItem>)))]
pub(super) async fn list_statements(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<MonthsQuery>,
    Caller(op): Caller,
) -> Answer<Json<Items<StatementItem>>> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    Ok(Json(app.statements_page(&op, &team, query.view, &page).await?))
}

/// A month of the team: opening, what came in and went out, closing, and what was used.
#[utoipa::path(get, path = "/teams/{team}/statements/{month}", operation_id = "getStatement", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("month" = String, Path, description = "The month, such as `2026-11`"), StatementQuery),
    responses((status = 200, content((StatementView = "application/json"), (String = "text/csv")))))]
pub(super) async fn get_statement(
    State(app): State<Arc<App>>,
    At((team, month)): At<(String, String)>,
    Asked(query): Asked<StatementQuery>,
    Caller(op): Caller,
) -> Answer<Response> {
    match query.form {
        StatementForm::Json => Ok(Json(app.statement(&op, &team, &month, query.view).await?).into_response()),
        StatementForm::Csv => {
            let export = app.statement_export(&op, &team, &month, query.view).await?;
            let lines = stream::try_unfold((app, export), |(app, mut export)| async move {
                let lines = app.statement_export_next(&mut export).await?;
                Result::Ok(lines.map(|lines| (lines, (app, export))))
            });
            csv_file(&format!("statement-{month}.csv"), lines)
        }
    }
}

/// Differences to months that were closed before, the latest first.
#[utoipa::path(get, path = "/teams/{team}/credit-notes", operation_id = "listCreditNotes", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"), MonthsQuery),
    responses((status = 200, body = Items<CreditNoteView>)))]
pub(super) async fn list_credit_notes(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<MonthsQuery>,
    Caller(op): Caller,
) -> Answer<Json<Items<CreditNoteView>>> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    Ok(Json(app.credit_notes_page(&op, &team, query.view, &page).await?))
}

/// A month's costs, for programs that compare clouds.
#[utoipa::path(get, path = "/teams/{team}/costs", operation_id = "exportCosts", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"), CostsQuery),
    responses((status = 200, body = String, content_type = "text/csv")))]
pub(super) async fn export_costs(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<CostsQuery>,
    Caller(op): Caller,
) -> Answer<Response> {
    let CostForm::Focus = query.form;
    let export = app.cost_export(&op, &team, &query.month, query.view).await?;
    let lines = stream::try_unfold((app, export), |(app, mut export)| async move {
        let lines = app.cost_export_next(&mut export).await?;
        Result::Ok(lines.map(|lines| (lines, (app, export))))
    });
    csv_file(&format!("focus-{}.csv", query.month), lines)
}

/// A file that is sent while it is read. Should that fail half way, the connection breaks off, so that nobody takes a
/// part for the whole.
fn csv_file(name: &str, lines: impl Stream<Item = Result<String>> + Send + 'static) -> Answer<Response> {
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""));
    let disposition = disposition.map_err(Error::internal)?;
    let kind = HeaderValue::from_static("text/csv; charset=utf-8");
    let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::from_stream(lines)).into_response())
}
