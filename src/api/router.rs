//! The one list of routes, and the layers that every request passes.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tower::ServiceBuilder;
use tower_http::{catch_panic::CatchPanicLayer, set_header::SetResponseHeaderLayer};
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt},
    routes,
};

use super::{
    alerts, api_keys, audit, auth, auto_top_ups, books, budgets, charges, credits,
    extract::Deepest,
    health, instances, lots, me, members, openapi, operator, payments, policies, prices,
    problem::{self, Problem},
    quotas, requests, shadows, snapshots, statements, storage_rates, teams, terms, top_ups, users, vouchers,
    webhooks,
};
use crate::{
    app::App,
    error::{Error, Kind},
    ids::{Id, RequestId},
};

/// What the door needs to know besides the services.
#[derive(Debug, Clone)]
pub struct DoorSettings {
    /// The largest JSON body in bytes.
    pub body_bytes: usize,
    /// The largest uploaded plugin in bytes.
    pub plugin_bytes: usize,
    /// The deepest nesting of a JSON body.
    pub json_depth: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
}

/// The largest body with a team's policies: the longest text with every character escaped, and its cases.
const POLICY_BYTES: usize = 1 << 20;

/// Every route under `/api/v1`, with its part of the OpenAPI document.
fn nouns(settings: &DoorSettings) -> OpenApiRouter<Arc<App>> {
    let plugins = DefaultBodyLimit::max(settings.plugin_bytes);
    let texts = DefaultBodyLimit::max(settings.body_bytes.max(POLICY_BYTES));
    OpenApiRouter::new()
        .routes(routes!(auth::claim))
        .routes(routes!(auth::login))
        .routes(routes!(auth::team_login))
        .routes(routes!(auth::password))
        .routes(routes!(auth::logout))
        .routes(routes!(me::get_me))
        .routes(routes!(me::list_my_teams))
        .routes(routes!(me::link_member))
        .routes(routes!(me::list_my_sessions))
        .routes(routes!(me::revoke_my_session))
        .routes(routes!(users::create_user, users::list_users))
        .routes(routes!(users::reset_user_password))
        .routes(routes!(teams::create_team, teams::list_teams))
        .routes(routes!(teams::get_team, teams::update_team))
        .routes(routes!(quotas::get_team_quota, quotas::put_team_quota))
        .routes(routes!(quotas::put_team_ceiling))
        .routes(routes!(quotas::list_team_quota_changes))
        .routes(routes!(audit::list_audit_events))
        .routes(routes!(audit::export_audit_events))
        .routes(routes!(audit::verify_audit_log))
        .routes(routes!(audit::list_site_audit_events))
        .routes(routes!(audit::export_site_audit_events))
        .routes(routes!(audit::verify_site_audit_log))
        .routes(routes!(policies::get_policies))
        .routes(routes!(policies::list_policy_versions))
        .routes(routes!(policies::get_policy_version))
        .routes(routes!(policies::diff_policies))
        .routes(routes!(policies::plan_policies).layer(texts))
        .routes(routes!(policies::replay_policies).layer(texts))
        .routes(routes!(policies::prove_policies).layer(texts))
        .routes(routes!(policies::publish_policies).layer(texts))
        .routes(
            routes!(shadows::start_policy_shadow, shadows::get_policy_shadow, shadows::stop_policy_shadow)
                .layer(texts),
        )
        .routes(routes!(policies::authorize))
        .routes(routes!(policies::explain_decision))
        .routes(routes!(members::create_member, members::list_members))
        .routes(routes!(members::get_member, members::update_member, members::remove_member))
        .routes(routes!(members::reset_member_password))
        .routes(routes!(members::get_member_permissions))
        .routes(routes!(quotas::get_member_quota, quotas::put_member_quota))
        .routes(routes!(quotas::put_temporary_quota, quotas::end_temporary_quota))
        .routes(routes!(quotas::list_member_quota_changes))
        .routes(routes!(requests::create_request, requests::list_requests))
        .routes(routes!(requests::create_team_request))
        .routes(routes!(requests::get_request))
        .routes(routes!(requests::approve_request))
        .routes(routes!(requests::refuse_request))
        .routes(routes!(requests::cancel_request))
        .routes(routes!(requests::list_team_requests))
        .routes(routes!(requests::approve_team_request))
        .routes(routes!(requests::refuse_team_request))
        .routes(routes!(api_keys::create_api_key, api_keys::list_api_keys))
        .routes(routes!(api_keys::revoke_api_key))
        .routes(routes!(operator::create_host, operator::list_hosts))
        .routes(routes!(operator::get_host))
        .routes(routes!(operator::probe_host))
        .routes(routes!(operator::cordon_host))
        .routes(routes!(operator::uncordon_host))
        .routes(routes!(operator::retire_host))
        .routes(routes!(operator::list_accelerators))
        .routes(routes!(operator::create_product, operator::list_products))
        .routes(routes!(operator::update_product))
        .routes(routes!(storage_rates::put_storage_rate, storage_rates::list_storage_rates))
        .routes(routes!(operator::create_image, operator::list_images))
        .routes(routes!(operator::update_image))
        .routes(routes!(credits::assign_credits))
        .routes(routes!(credits::reclaim_credits))
        .routes(routes!(credits::grant_credits))
        .routes(routes!(budgets::create_budget, budgets::list_budgets))
        .routes(routes!(budgets::get_budget, budgets::update_budget, budgets::end_budget))
        .routes(routes!(terms::get_team_terms, terms::put_team_terms))
        .routes(routes!(terms::put_team_credit_limit))
        .routes(routes!(alerts::create_alert, alerts::list_alerts))
        .routes(routes!(alerts::delete_alert))
        .routes(routes!(webhooks::create_webhook, webhooks::list_webhooks))
        .routes(routes!(webhooks::get_webhook, webhooks::update_webhook, webhooks::delete_webhook))
        .routes(routes!(webhooks::test_webhook))
        .routes(routes!(webhooks::list_deliveries))
        .routes(routes!(webhooks::retry_delivery))
        .routes(routes!(credits::give_goodwill))
        .routes(routes!(credits::write_off_debt))
        .routes(routes!(lots::list_lots))
        .routes(routes!(top_ups::create_top_up, top_ups::list_top_ups))
        .routes(routes!(top_ups::confirm_top_up))
        .routes(routes!(top_ups::refuse_top_up))
        .routes(routes!(top_ups::refund_top_up))
        .routes(routes!(top_ups::dispute_top_up))
        .routes(routes!(payments::receive_provider_event))
        .routes(routes!(
            auto_top_ups::get_auto_top_up,
            auto_top_ups::put_auto_top_up,
            auto_top_ups::remove_auto_top_up
        ))
        .routes(routes!(vouchers::create_vouchers, vouchers::list_vouchers))
        .routes(routes!(vouchers::revoke_voucher))
        .routes(routes!(vouchers::redeem_voucher))
        .routes(routes!(vouchers::list_voucher_redemptions))
        .routes(routes!(books::get_balance))
        .routes(routes!(books::list_transactions))
        .routes(routes!(books::list_bills))
        .routes(routes!(statements::list_statements))
        .routes(routes!(statements::get_statement))
        .routes(routes!(statements::list_credit_notes))
        .routes(routes!(statements::export_costs))
        .routes(routes!(books::verify_ledger))
        .routes(routes!(books::export_ledger))
        .routes(routes!(charges::get_charge))
        .routes(routes!(charges::get_charge_proof))
        .routes(routes!(charges::get_component))
        .routes(routes!(charges::re_rate_charges))
        .routes(routes!(charges::correct_charges))
        .routes(routes!(prices::activate_price, prices::list_prices))
        .routes(routes!(prices::roll_back_price))
        .routes(routes!(prices::replay_price, prices::list_price_replays))
        .routes(routes!(prices::activate_site_price, prices::list_site_prices))
        .routes(routes!(prices::upload_plugin, prices::list_plugins).layer(plugins))
        .routes(routes!(prices::get_plugin))
        .routes(routes!(instances::list_catalog))
        .routes(routes!(instances::create_estimate))
        .routes(routes!(instances::create_instance, instances::list_instances))
        .routes(routes!(instances::get_instance))
        .routes(routes!(instances::stop_instance))
        .routes(routes!(instances::start_instance))
        .routes(routes!(instances::release_instance))
        .routes(routes!(instances::get_instance_access))
        .routes(routes!(instances::get_instance_logs))
        .routes(routes!(instances::get_instance_metrics))
        .routes(routes!(instances::get_instance_billing))
        .routes(routes!(instances::get_instance_config))
        .routes(routes!(instances::get_instance_hardware))
        .routes(routes!(snapshots::create_snapshot))
        .routes(routes!(snapshots::list_snapshots))
        .routes(routes!(snapshots::get_snapshot, snapshots::delete_snapshot))
        .routes(routes!(snapshots::share_snapshot))
        .routes(routes!(instances::list_drives))
}

/// The OpenAPI document, from the same list as the routes.
pub fn document() -> utoipa::openapi::OpenApi {
    let settings =
        DoorSettings { body_bytes: 0, plugin_bytes: 0, json_depth: 0, request_timeout: Duration::ZERO };
    openapi::finish(nouns(&settings).into_openapi())
}

/// The whole HTTP door.
pub fn router(
    app: Arc<App>,
    settings: &DoorSettings,
    render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
) -> Router {
    let (routes, _) = nouns(settings).split_for_parts();
    let api = routes
        .route("/openapi.json", get(openapi::serve))
        .layer(DefaultBodyLimit::max(settings.body_bytes))
        .layer(axum::Extension(Deepest(settings.json_depth)))
        .with_state(app.clone());
    let timeout = settings.request_timeout;
    let layers = ServiceBuilder::new()
        .layer(middleware::from_fn_with_state(app.clone(), identify))
        .layer(middleware::from_fn(measure))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(move |request: Request, next: Next| within(timeout, request, next)))
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ));
    Router::new()
        .nest("/api/v1", api)
        .merge(openapi::docs_page())
        .merge(health::routes(app, render_metrics))
        .layer(layers)
}

/// Serves until `told` resolves, then finishes the requests that are under way.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    routes: Router,
    told: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, routes).with_graceful_shutdown(told).await
}

async fn identify(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let op = app.op(crate::op::Actor::Anonymous);
    problem::render(RequestId::fresh(op.now(), op.chance()), request, next).await
}

/// Counts requests and their time by route template, never by id.
async fn measure(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<axum::extract::MatchedPath>()
        .map_or("unmatched", axum::extract::MatchedPath::as_str)
        .to_owned();
    let method = request.method().to_string();
    let started = tokio::time::Instant::now();
    let response = next.run(request).await;
    let labels = [("route", route), ("method", method), ("status", response.status().as_u16().to_string())];
    metrics::histogram!("muster_http_request_seconds", &labels).record(started.elapsed());
    response
}

async fn within(timeout: Duration, request: Request, next: Next) -> Response {
    tokio::time::timeout(timeout, next.run(request)).await.unwrap_or_else(|_| {
        let told = "the request took too long and was given up; nothing was changed unless a retry says so";
        Problem(Error::new(Kind::Unavailable, "timeout", told).retry_after(1)).into_response()
    })
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let said = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned());
    Problem(Error::internal(format!("a handler panicked: {said}"))).into_response()
}
