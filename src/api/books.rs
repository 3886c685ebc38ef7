//! The books over HTTP: balances, transactions, bills, and their check.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use serde::Deserialize;

use super::{
    extract::{Asked, At, Caller},
    problem::Problem,
};
use crate::{
    app::{
        App,
        balance::Balance,
        bills::{Bill, BillFilter},
        export::ExportForm,
        ledger::LedgerReport,
        transactions::TransactionView,
    },
    error::Error,
    ids::MemberId,
    model::page::{Items, Page, View},
    time::Timestamp,
};

type Answer<T> = Result<Json<T>, Problem>;

/// Whose balance.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BalanceQuery {
    /// `self` for the caller's own, `admin` for the team with its members.
    #[serde(default)]
    view: View,
    /// Members of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `members.next_cursor` of the page before.
    cursor: Option<String>,
    /// What was in the books at this moment, by the time of writing; now unless told.
    at: Option<Timestamp>,
}

/// What to export.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// `dump` for everything in the books as it stands, `log` for the transactions in order.
    form: ExportForm,
}

/// Which transactions to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TransactionsQuery {
    /// `self` for the caller's own, `admin` for everybody's.
    #[serde(default)]
    view: View,
    /// Only what concerns this member; with `view=admin`.
    member: Option<MemberId>,
    /// Rows of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which charges to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BillsQuery {
    /// `self` for the caller's own, `admin` for everybody's.
    #[serde(default)]
    view: View,
    /// Only what this member used; with `view=admin`.
    member: Option<MemberId>,
    /// Only what was metered as this, such as `instance`.
    #[serde(default, rename = "type")]
    kind: String,
    /// Rows of a page, 1 to 200; 50 unless told.
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What there is to spend, and what was spent.
#[utoipa::path(get, path = "/teams/{team}/balance", operation_id = "getBalance", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"), BalanceQuery),
    responses((status = 200, body = Balance)))]
pub(super) async fn get_balance(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<BalanceQuery>,
    Caller(op): Caller,
) -> Answer<Balance> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    Ok(Json(app.balance(&op, &team, query.view, query.at, &page).await?))
}

/// The team's books, the newest transaction first.
#[utoipa::path(get, path = "/teams/{team}/transactions", operation_id = "listTransactions", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"), TransactionsQuery),
    responses((status = 200, body = Items<TransactionView>)))]
pub(super) async fn list_transactions(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<TransactionsQuery>,
    Caller(op): Caller,
) -> Answer<Items<TransactionView>> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    Ok(Json(app.transactions_page(&op, &team, query.view, query.member, &page).await?))
}

/// What was charged, the newest interval first, and what it sums to.
#[utoipa::path(get, path = "/teams/{team}/bills", operation_id = "listBills", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"), BillsQuery),
    responses((status = 200, body = Bill)))]
pub(super) async fn list_bills(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(query): Asked<BillsQuery>,
    Caller(op): Caller,
) -> Answer<Bill> {
    let page = Page { limit: query.limit, cursor: query.cursor };
    let filter = BillFilter { view: query.view, member: query.member, kind: query.kind };
    Ok(Json(app.bill(&op, &team, filter, &page).await?))
}

/// Checks all books of all teams in one snapshot.
#[utoipa::path(get, path = "/ledger/verify", operation_id = "verifyLedger", tag = "money",
    responses((status = 200, body = LedgerReport)))]
pub(super) async fn verify_ledger(State(app): State<Arc<App>>, Caller(op): Caller) -> Answer<LedgerReport> {
    Ok(Json(app.ledger_verify(&op).await?))
}

/// The books of all teams as they stand, a line of JSON for each row, in an order that does not depend on the database.
/// Money is in micro-credits, times are in microseconds since 1970. An export that fails half way ends without its last
/// chunk.
#[utoipa::path(get, path = "/ledger/export", operation_id = "exportLedger", tag = "money", params(ExportQuery),
    responses((status = 200, body = String, content_type = "application/x-ndjson")))]
pub(super) async fn export_ledger(
    State(app): State<Arc<App>>,
    Asked(query): Asked<ExportQuery>,
    Caller(op): Caller,
) -> Result<Response, Problem> {
    let export = app.ledger_export(&op, query.form).await?;
    let lines = stream::try_unfold(export, async |mut export| {
        let lines = export.lines().await?;
        Ok::<_, Error>(lines.map(|lines| (lines, export)))
    });
    let form = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((form, Body::from_stream(lines)).into_response())
}
