//! What storage costs, over HTTP: for the operator.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::{
    extract::{Caller, Sent},
    problem::Problem,
};
use crate::{
    app::{
        App,
        storage_rates::{NewStorageRate, StorageRateView},
    },
    model::page::Items,
};

type Answer<T> = Result<Json<T>, Problem>;

/// Sets what a gibibyte of storage costs. What is stored already costs it from the next measurement on.
#[utoipa::path(put, path = "/storage-rates", operation_id = "putStorageRate", tag = "products",
    request_body = NewStorageRate, responses((status = 200, body = StorageRateView)))]
pub(super) async fn put_storage_rate(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<NewStorageRate>,
) -> Answer<StorageRateView> {
    Ok(Json(app.storage_rate_put(&op, body).await?))
}

/// What storage costs. What has no rate is not billed.
#[utoipa::path(get, path = "/storage-rates", operation_id = "listStorageRates", tag = "products",
    responses((status = 200, body = Items<StorageRateView>)))]
pub(super) async fn list_storage_rates(
    State(app): State<Arc<App>>,
    Caller(op): Caller,
) -> Answer<Items<StorageRateView>> {
    Ok(Json(app.storage_rates(&op).await?))
}
