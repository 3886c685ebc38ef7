//! The operator's nouns over HTTP: hosts, accelerators, products and images.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::HeaderName},
};

use super::{
    extract::{Asked, At, Caller, Expected, Sent, etag},
    problem::Problem,
};
use crate::{
    app::{
        App,
        hosts::{FleetAccelerator, HostView, NewHost},
        products::{ImageChange, ImageView, NewImage, NewProduct, ProductChange, ProductView},
    },
    ids::{HostId, ImageId, ProductId},
    model::{
        host::AdminState,
        page::{Items, Page},
    },
};

type Answer<T> = Result<Json<T>, Problem>;
type Tagged<T> = Result<([(HeaderName, String); 1], Json<T>), Problem>;

/// Registers a host: it must answer, be nobody else's, and is probed.
#[utoipa::path(post, path = "/hosts", operation_id = "createHost", tag = "hosts",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewHost, responses((status = 201, body = HostView)))]
pub(super) async fn create_host(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<NewHost>,
) -> Result<(StatusCode, Json<HostView>), Problem> {
    Ok((StatusCode::CREATED, Json(app.host_create(&op, body).await?)))
}

/// All hosts, retired ones too.
#[utoipa::path(get, path = "/hosts", operation_id = "listHosts", tag = "hosts", params(Page),
    responses((status = 200, body = Items<HostView>)))]
pub(super) async fn list_hosts(
    State(app): State<Arc<App>>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<HostView>> {
    Ok(Json(app.hosts_page(&op, &page).await?))
}

/// One host, with what its last probe found.
#[utoipa::path(get, path = "/hosts/{host}", operation_id = "getHost", tag = "hosts",
    params(("host" = HostId, Path, description = "The host")), responses((status = 200, body = HostView)))]
pub(super) async fn get_host(
    State(app): State<Arc<App>>,
    At(id): At<HostId>,
    Caller(op): Caller,
) -> Answer<HostView> {
    Ok(Json(app.host_fetch(&op, id).await?))
}

/// Probes a host now.
#[utoipa::path(post, path = "/hosts/{host}/probe", operation_id = "probeHost", tag = "hosts",
    params(("host" = HostId, Path, description = "The host")), responses((status = 200, body = HostView)))]
pub(super) async fn probe_host(
    State(app): State<Arc<App>>,
    At(id): At<HostId>,
    Caller(op): Caller,
) -> Answer<HostView> {
    Ok(Json(app.host_probe(&op, id).await?))
}

/// Keeps new instances off a host; what runs there goes on.
#[utoipa::path(post, path = "/hosts/{host}/cordon", operation_id = "cordonHost", tag = "hosts",
    params(("host" = HostId, Path, description = "The host")), responses((status = 200, body = HostView)))]
pub(super) async fn cordon_host(
    State(app): State<Arc<App>>,
    At(id): At<HostId>,
    Caller(op): Caller,
) -> Answer<HostView> {
    Ok(Json(app.host_admin(&op, id, AdminState::Cordoned).await?))
}

/// Lets a cordoned host take instances again.
#[utoipa::path(post, path = "/hosts/{host}/uncordon", operation_id = "uncordonHost", tag = "hosts",
    params(("host" = HostId, Path, description = "The host")), responses((status = 200, body = HostView)))]
pub(super) async fn uncordon_host(
    State(app): State<Arc<App>>,
    At(id): At<HostId>,
    Caller(op): Caller,
) -> Answer<HostView> {
    Ok(Json(app.host_admin(&op, id, AdminState::Active).await?))
}

/// Gives a host up; refused while instances are on it.
#[utoipa::path(post, path = "/hosts/{host}/retire", operation_id = "retireHost", tag = "hosts",
    params(("host" = HostId, Path, description = "The host")), responses((status = 200, body = HostView)))]
pub(super) async fn retire_host(
    State(app): State<Arc<App>>,
    At(id): At<HostId>,
    Caller(op): Caller,
) -> Answer<HostView> {
    Ok(Json(app.host_admin(&op, id, AdminState::Retired).await?))
}

/// All accelerators, and who holds them.
#[utoipa::path(get, path = "/accelerators", operation_id = "listAccelerators", tag = "hosts", params(Page),
    responses((status = 200, body = Items<FleetAccelerator>)))]
pub(super) async fn list_accelerators(
    State(app): State<Arc<App>>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<FleetAccelerator>> {
    Ok(Json(app.accelerators_page(&op, &page).await?))
}

/// Offers a product.
#[utoipa::path(post, path = "/products", operation_id = "createProduct", tag = "products",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewProduct, responses((status = 201, body = ProductView)))]
pub(super) async fn create_product(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<NewProduct>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<ProductView>), Problem> {
    let view = app.product_create(&op, body).await?;
    Ok((StatusCode::CREATED, etag(view.version), Json(view)))
}

/// All products, unpublished ones too.
#[utoipa::path(get, path = "/products", operation_id = "listProducts", tag = "products", params(Page),
    responses((status = 200, body = Items<ProductView>)))]
pub(super) async fn list_products(
    State(app): State<Arc<App>>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<ProductView>> {
    Ok(Json(app.products_page(&op, &page).await?))
}

/// Changes price or publication of a product; running instances keep the price that they were quoted.
#[utoipa::path(patch, path = "/products/{product}", operation_id = "updateProduct", tag = "products",
    params(("product" = ProductId, Path, description = "The product"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\"")),
    request_body = ProductChange, responses((status = 200, body = ProductView)))]
pub(super) async fn update_product(
    State(app): State<Arc<App>>,
    At(id): At<ProductId>,
    Expected(version): Expected,
    Sent { op, body }: Sent<ProductChange>,
) -> Tagged<ProductView> {
    let view = app.product_update(&op, id, version, body).await?;
    Ok((etag(view.version), Json(view)))
}

/// Offers an image.
#[utoipa::path(post, path = "/images", operation_id = "createImage", tag = "images",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless")),
    request_body = NewImage, responses((status = 201, body = ImageView)))]
pub(super) async fn create_image(
    State(app): State<Arc<App>>,
    Sent { op, body }: Sent<NewImage>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<ImageView>), Problem> {
    let view = app.image_create(&op, body).await?;
    Ok((StatusCode::CREATED, etag(view.version), Json(view)))
}

/// All images, unpublished ones too.
#[utoipa::path(get, path = "/images", operation_id = "listImages", tag = "images", params(Page),
    responses((status = 200, body = Items<ImageView>)))]
pub(super) async fn list_images(
    State(app): State<Arc<App>>,
    Asked(page): Asked<Page>,
    Caller(op): Caller,
) -> Answer<Items<ImageView>> {
    Ok(Json(app.images_page(&op, &page).await?))
}

/// Changes an image; running instances keep what they were launched from.
#[utoipa::path(patch, path = "/images/{image}", operation_id = "updateImage", tag = "images",
    params(("image" = ImageId, Path, description = "The image"),
           ("If-Match" = String, Header, description = "The version as it was read, such as \"v1\"")),
    request_body = ImageChange, responses((status = 200, body = ImageView)))]
pub(super) async fn update_image(
    State(app): State<Arc<App>>,
    At(id): At<ImageId>,
    Expected(version): Expected,
    Sent { op, body }: Sent<ImageChange>,
) -> Tagged<ImageView> {
    let view = app.image_update(&op, id, version, body).await?;
    Ok((etag(view.version), Json(view)))
}
