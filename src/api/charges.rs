//! Single charges over HTTP: explained, proven, and corrected.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use super::{
    extract::{At, Caller, Sent},
    problem::Problem,
};
use crate::{
    app::{
        App,
        charges::ChargeDetail,
        re_rating::{CorrectCharges, ReRate, Revised},
    },
    ledger::{proof::Proof, rating::ChargeId},
};

type Answer<T> = Result<Json<T>, Problem>;
type Revision = Result<(StatusCode, Json<Revised>), Problem>;

/// One charge: what it is of, what it cost by which lines, and which lots paid for it.
#[utoipa::path(get, path = "/teams/{team}/charges/{charge}", operation_id = "getCharge", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("charge" = ChargeId, Path, description = "The charge, as a bill names it")),
    responses((status = 200, body = ChargeDetail)))]
pub(super) async fn get_charge(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, ChargeId)>,
    Caller(op): Caller,
) -> Answer<ChargeDetail> {
    Ok(Json(app.charge_fetch(&op, &team, id).await?))
}

/// All that is needed to compute a charge again on another machine, but for the price's component.
#[utoipa::path(get, path = "/teams/{team}/charges/{charge}/proof", operation_id = "getChargeProof", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("charge" = ChargeId, Path, description = "The charge, as a bill names it")),
    responses((status = 200, body = Proof)))]
pub(super) async fn get_charge_proof(
    State(app): State<Arc<App>>,
    At((team, id)): At<(String, ChargeId)>,
    Caller(op): Caller,
) -> Answer<Proof> {
    Ok(Json(app.charge_proof(&op, &team, id).await?))
}

/// The WebAssembly component of a price that the team, or the site, has or had.
#[utoipa::path(get, path = "/teams/{team}/components/{digest}", operation_id = "getComponent", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("digest" = String, Path, description = "SHA-256 of the component, in hexadecimal")),
    responses((status = 200, content_type = "application/wasm", body = Vec<u8>)))]
pub(super) async fn get_component(
    State(app): State<Arc<App>>,
    At((team, digest)): At<(String, String)>,
    Caller(op): Caller,
) -> Result<Response, Problem> {
    let bytes = app.component_fetch(&op, &team, &digest).await?;
    Ok(([(header::CONTENT_TYPE, "application/wasm")], bytes).into_response())
}

/// Rates charges of a segment again, by their own price or by another one, and posts the exact difference.
#[utoipa::path(post, path = "/teams/{team}/charges/re-rate", operation_id = "reRateCharges", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = ReRate,
    responses((status = 201, body = Revised), (status = 200, body = Revised, description = "A dry run")))]
pub(super) async fn re_rate_charges(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<ReRate>,
) -> Revision {
    Ok(revised(app.charges_re_rate(&op, &team, body).await?))
}

/// Takes back what was charged for a span in which nothing was used, such as while the host was down.
#[utoipa::path(post, path = "/teams/{team}/charges/correct", operation_id = "correctCharges", tag = "money",
    params(("team" = String, Path, description = "Id or slug of the team"),
           ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = CorrectCharges,
    responses((status = 201, body = Revised), (status = 200, body = Revised, description = "A dry run")))]
pub(super) async fn correct_charges(
    State(app): State<Arc<App>>,
    At(team): At<String>,
    Sent { op, body }: Sent<CorrectCharges>,
) -> Revision {
    Ok(revised(app.charges_correct(&op, &team, body).await?))
}

fn revised(revised: Revised) -> (StatusCode, Json<Revised>) {
    (if revised.dry_run { StatusCode::OK } else { StatusCode::CREATED }, Json(revised))
}
