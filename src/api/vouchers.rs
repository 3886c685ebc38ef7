//! Vouchers over HTTP.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};

use super::{
    extract::{Asked, At, Caller, Sent},
    problem::Problem,
};
use crate::{
    app::{
        App,
        vouchers::{NewVouchers, RedemptionView, VoucherCode, VoucherRedeemed, VoucherView, VouchersMade},
    },
    ids::VoucherId,
    model::page::{Items, Page},
};

type Answer<T> = Result<Json<T>, Problem>;
type Created<T> = Result<(StatusCode, Json<T>), Problem>;

/// Makes vouchers; their codes are shown this once.
#[utoipa::path(post, path = "/vouchers", operation_id = "createVouchers", tag = "money",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewVouchers, responses((status = 201, body = VouchersMade)))]
pub(super) async fn create_vouchers(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<NewVouchers>,
) -> Created<VouchersMade> {
    Ok((StatusCode::CREATED, Json(app.vouchers_create(&op, body).await?)))
}

/// All vouchers, the newest first.
#[utoipa::path(get, path = "/vouchers", operation_id = "listVouchers", tag = "money", params(Page),
    responses((status = 200, body = Items<VoucherView>)))]
pub(super) async fn list_vouchers(
    State(app): State<Arc<App>>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<VoucherView>> {
    Ok(Json(app.vouchers_page(&op, &page).await?))
}

/// Ends a voucher; credits that it brought stay.
#[utoipa::path(post, path = "/vouchers/{voucher}/revoke", operation_id = "revokeVoucher", tag = "money",
    params(("voucher" = VoucherId, Path, description = "The voucher"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    responses((status = 200, body = VoucherView)))]
pub(super) async fn revoke_voucher(
    State(app): State<Arc<App>>,
    At(id): At<VoucherId>,
    Caller(op): Caller,
) -> Answer<VoucherView> {
    Ok(Json(app.voucher_revoke(&op, id).await?))
}

/// Turns a voucher's code into credits of the team's pool.
#[utoipa::path(post, path = "/teams/{team}/vouchers/redeem", operation_id = "redeemVoucher", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = VoucherCode, responses((status = 201, body = VoucherRedeemed)))]
pub(super) async fn redeem_voucher(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<VoucherCode>,
) -> Created<VoucherRedeemed> {
    Ok((StatusCode::CREATED, Json(app.voucher_redeem(&op, &team, body).await?)))
}

/// The vouchers that the team redeemed, the newest first.
#[utoipa::path(get, path = "/teams/{team}/vouchers", operation_id = "listVoucherRedemptions", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"), Page),
    responses((status = 200, body = Items<RedemptionView>)))]
pub(super) async fn list_voucher_redemptions(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<RedemptionView>> {
    Ok(Json(app.redemptions_page(&op, &team, &page).await?))
}
