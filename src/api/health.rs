//! `/livez`, `/readyz` and `/metrics`: for the operator's own tools, outside the API.

use std::sync::Arc;

use axum::{Router, http::StatusCode, routing::get};

use crate::app::App;

pub(super) fn routes(app: Arc<App>, render_metrics: Arc<dyn Fn() -> String + Send + Sync>) -> Router {
    let ready = move || {
        let app = app.clone();
        async move {
            match app.ready().await {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {error}\n")),
            }
        }
    };
    Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(async move || render_metrics()))
}
