//! Every route in one list, which the OpenAPI document and the tests are held to.

use super::{
    Web, actions, alerts, chrome, confirm, console, digests, error::Error, export, halt, health,
    holds, incidents, metrics, openapi, orders, outer, policy, report, sign_in, system, webhook,
};
use axum::Router;
use axum::routing::{delete, get, post};
use tower_http::catch_panic::CatchPanicLayer;

macro_rules! routes {
    ($($method:ident $path:literal => $handler:expr,)*) => {
        /// Method and path of every route.
        pub const ROUTES: &[(&str, &str)] = &[$((stringify!($method), $path),)*];

        fn all() -> Router<Web> {
            Router::new()$(.route($path, $method($handler)))*
        }
    };
}

routes! {
    post "/webhook/alert" => webhook::alert,

    get "/" => console::list,
    get "/incidents/{id}" => console::incident,
    get "/incidents/{id}/report" => report::page,
    get "/incidents/{id}/report.md" => report::markdown,
    get "/incidents/{id}/report.json" => report::json,
    get "/incidents/{id}/export.json" => export::file,
    post "/incidents/{id}/acknowledge" => incidents::acknowledge_by_form,
    get "/digests/{id}" => digests::page,
    get "/confirm/{id}" => confirm::show,
    post "/confirm/{id}" => confirm::decide,
    get "/orders" => orders::page,
    post "/halt" => halt::halt_by_form,
    post "/resume" => halt::resume_by_form,
    get "/login" => sign_in::form,
    post "/login" => sign_in::submit,
    post "/logout" => sign_in::out,
    get "/assets/style.css" => chrome::style,

    get "/api/v1/incidents" => incidents::list,
    get "/api/v1/incidents/{id}" => incidents::one,
    get "/api/v1/incidents/{id}/timeline" => incidents::timeline,
    get "/api/v1/incidents/{id}/report" => report::api,
    get "/api/v1/incidents/{id}/export" => export::api,
    post "/api/v1/incidents/{id}/acknowledge" => incidents::acknowledge,
    get "/api/v1/alerts" => alerts::list,
    get "/api/v1/digests/{id}" => digests::one,
    get "/api/v1/actions" => actions::list,
    get "/api/v1/actions/{id}" => actions::one,
    post "/api/v1/actions/{id}/approve" => actions::approve,
    post "/api/v1/actions/{id}/reject" => actions::reject,
    get "/api/v1/halt" => halt::show,
    post "/api/v1/halt" => halt::halt,
    delete "/api/v1/halt" => halt::resume,
    get "/api/v1/holds" => holds::list,
    post "/api/v1/holds" => holds::add,
    delete "/api/v1/holds/{id}" => holds::remove,
    get "/api/v1/policy" => policy::show,
    post "/api/v1/policy/quarantine" => policy::quarantine,
    delete "/api/v1/policy/quarantine" => policy::release,
    get "/api/v1/system/timeline" => system::timeline,
    get "/api/v1/openapi.json" => openapi::document,

    get "/healthz" => health::alive,
    get "/readyz" => health::ready,
    get "/-/healthy" => health::alive,
    get "/-/ready" => health::ready,
    post "/-/reload" => policy::reload,
    get "/metrics" => metrics::scrape,
}

/// The whole of the server's paths.
pub fn router(web: Web) -> Router {
    all()
        .fallback(|| async { Error::NotFound("page") })
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .layer(CatchPanicLayer::custom(outer::panicked))
        .layer(axum::middleware::from_fn_with_state(web.clone(), outer::around))
        .with_state(web)
}
