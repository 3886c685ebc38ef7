//! The OpenAPI 3.1 document and its offline page.

use axum::{Json, Router};
use utoipa::openapi::{
    Components, Info, OpenApi, RefOr, Response, ResponseBuilder,
    content::ContentBuilder,
    schema::Ref,
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};
use utoipa::{PartialSchema, ToSchema};

use super::{problem::ProblemBody, router};
use crate::error::{Denial, FieldError, LimitUse, RequestOffer};

/// Completes the document that the routes made: title, security, and the problem answer of every operation.
pub(super) fn finish(mut document: OpenApi) -> OpenApi {
    document.info = Info::builder()
        .title("muster")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Policy, money and dispatch for GPU teams, on your own machines."))
        .build();
    document.servers = Some(vec![utoipa::openapi::Server::new("/api/v1")]);
    let components = document.components.get_or_insert_with(Components::new);
    let bearer = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
    components.add_security_scheme("bearer", bearer);
    components.schemas.insert(ProblemBody::name().into(), ProblemBody::schema());
    components.schemas.insert(FieldError::name().into(), FieldError::schema());
    components.schemas.insert(Denial::name().into(), Denial::schema());
    components.schemas.insert(LimitUse::name().into(), LimitUse::schema());
    components.schemas.insert(RequestOffer::name().into(), RequestOffer::schema());
    document.security = Some(vec![SecurityRequirement::new("bearer", Vec::<String>::new())]);
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            operation.responses.responses.insert("default".to_owned(), RefOr::T(problem()));
        }
    }
    document
}

fn problem() -> Response {
    let content =
        ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name(ProblemBody::name())))).build();
    ResponseBuilder::new()
        .description("What happened, why, and the way out")
        .content("application/problem+json", content)
        .build()
}

/// `GET /api/v1/openapi.json`
pub(super) async fn serve() -> Json<OpenApi> {
    Json(router::document())
}

/// The page that shows the document, with every asset in the binary.
pub(super) fn docs_page() -> Router {
    let config = utoipa_swagger_ui::Config::from("/api/v1/openapi.json").validator_url("none");
    utoipa_swagger_ui::SwaggerUi::new("/docs").config(config).into()
}
