//! The door of the AWS Lambda API, version 2015-03-31
//! (<https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html>).
//!
//! Served: CreateFunction, UpdateFunctionCode, UpdateFunctionConfiguration, GetFunction,
//! GetFunctionConfiguration, ListFunctions, DeleteFunction, PutFunctionConcurrency,
//! GetFunctionConcurrency, DeleteFunctionConcurrency, FunctionEventInvokeConfig (Put-, Update-, Get-,
//! Delete-, List-), PublishVersion, ListVersionsByFunction, aliases (CreateAlias, UpdateAlias,
//! GetAlias, ListAliases, DeleteAlias), Invoke, and event source mappings of queues
//! (Create-, Get-, List-, Update- and DeleteEventSourceMapping). A call without a qualifier goes to
//! `$LATEST`, but where `rouse deploy` made a version live it goes there.
//! Functions and services may invoke and no more. The
//! request id that the server gave a request is also that of the call it makes.

mod aliases;
mod code;
mod concurrency;
mod configuration;
mod error;
mod event_invoke;
mod functions;
mod invoke;
mod mappings;
mod name;
mod settings;
mod versions;

use crate::auth::Refused;
use crate::doors::Doors;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use error::Error;
use http::{Method, Uri};

/// The routes of this door.
pub(crate) fn router(doors: Doors) -> Router {
    let functions = get(functions::list).post(functions::create);
    let mappings = get(mappings::list).post(mappings::create);
    let function = get(functions::get).delete(functions::delete);
    Router::new()
        .route("/2015-03-31/functions", functions.clone())
        .route("/2015-03-31/functions/", functions)
        .route("/2015-03-31/functions/{name}", function)
        .route("/2015-03-31/functions/{name}/code", put(code::put))
        .route(
            "/2015-03-31/functions/{name}/configuration",
            get(configuration::get).put(configuration::put),
        )
        .route(
            "/2015-03-31/functions/{name}/versions",
            get(versions::list).post(versions::publish),
        )
        .route(
            "/2015-03-31/functions/{name}/aliases",
            get(aliases::list).post(aliases::create),
        )
        .route(
            "/2015-03-31/functions/{name}/aliases/{alias}",
            get(aliases::get)
                .put(aliases::update)
                .delete(aliases::delete),
        )
        // Each operation has the date of the version that brought it.
        .route(
            "/2017-10-31/functions/{name}/concurrency",
            put(concurrency::put).delete(concurrency::delete),
        )
        .route(
            "/2019-09-30/functions/{name}/concurrency",
            get(concurrency::get),
        )
        .route(
            "/2019-09-25/functions/{name}/event-invoke-config",
            get(event_invoke::get)
                .put(event_invoke::put)
                .post(event_invoke::update)
                .delete(event_invoke::delete),
        )
        .route(
            "/2019-09-25/functions/{name}/event-invoke-config/list",
            get(event_invoke::list),
        )
        .route(
            "/2015-03-31/functions/{name}/invocations",
            post(invoke::invoke),
        )
        .route("/2015-03-31/event-source-mappings", mappings.clone())
        .route("/2015-03-31/event-source-mappings/", mappings)
        .route(
            "/2015-03-31/event-source-mappings/{id}",
            get(mappings::get)
                .put(mappings::update)
                .delete(mappings::delete),
        )
        .fallback(not_served)
        .method_not_allowed_fallback(not_served)
        // Each operation has its own bound, which is larger than axum's.
        .layer(DefaultBodyLimit::disable())
        .with_state(doors)
}

/// Says in the dialect of this door why a request was not let in.
pub(crate) fn refuse(refused: &Refused) -> Response {
    Error::of_refused(refused).into_response()
}

async fn not_served(method: Method, uri: Uri) -> Error {
    let path: String = uri.path().chars().take(200).collect();
    Error::not_served(&format!("{method} {}", path.escape_debug()))
}
