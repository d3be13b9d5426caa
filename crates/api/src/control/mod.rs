//! The control API, under `/_rouse/v1/`: JSON, for the owner of the server.
//!
//! | request | what |
//! |---|---|
//! | `HEAD`, `PUT blobs/{digest}` | archives of code |
//! | `POST deployments` | a [`model::Deployment`], answered with a [`model::DeploymentReport`] |
//! | `POST deployments/preview` | the same, changing nothing, answered with what there is of it now |
//! | `GET functions`; `GET`, `DELETE functions/{name}` | [`model::Function`] |
//! | `GET functions/{name}/versions`; `POST functions/{name}/rollback` | [`model::FunctionVersion`], [`model::Alias`] |
//! | `PUT`, `DELETE functions/{name}/aliases/{alias}` | [`model::Alias`] |
//! | `POST functions/{name}/invocations?type=wait\|event` | calls |
//! | `GET services`; `DELETE services/{name}` | [`model::ServiceStatus`] |
//! | `GET buckets` | names and what they wake |
//! | `GET queues` | names, settings, and how many messages are where |
//! | `GET instances` | [`model::InstanceStatus`] |
//! | `GET drivers` | the driver of what does not choose, and where Docker Engine is looked for |
//! | `GET events`; `GET events/{id}`; `POST events/{id}/replay` | events |
//! | `GET events/export` | events that fit, as NDJSON of CloudEvents |
//! | `POST events/{id}/cancel`; `POST events/cancel` | ends events that wait |
//! | `GET`, `POST replays`; `GET`, `DELETE replays/{id}` | [`model::Replay`] |
//! | `POST events`; `POST buses/{name}/events` | CloudEvents for a bus |
//! | `GET webhooks`; `GET`, `PUT`, `DELETE webhooks/{name}` | addresses that rules can wake |
//! | `GET secrets`; `PUT`, `DELETE secrets/{name}` | secrets: the value goes in and never comes out |
//! | `GET configs`; `GET`, `PUT`, `DELETE configs/{name}` | configs |
//! | `GET runs?target=&limit=` | [`model::Run`] |
//! | `GET schedules`; `GET schedules/{group}/{name}` | [`model::Schedule`] |
//! | `POST schedules/{group}/{name}/pause\|resume\|run` | schedules |
//! | `GET logs?key=&since=&request=&tail=&follow=` | lines of [`model::LogLine`] |
//! | `GET metrics` | in Prometheus' text format |
//! | `GET`, `POST images`; `DELETE images/{reference}` | [`model::ImageRecord`] |
//! | `GET images/{reference}` | what a name means now: its reference and digest |
//! | `POST pulls?reference=` | pulls an image through and makes it ready, with progress |
//! | `GET upstreams`; `PUT`, `DELETE upstreams/{name}` | other registries that images are pulled through |
//! | `POST registry/collections?grace=` | blobs and uploads that the registry does not need |
//!
//! Errors are `{"error":{"kind":…,"message":…}}`, the kind being a [`model::Kind`].

mod blobs;
mod buckets;
mod cancellations;
mod cloudevents;
mod deployments;
mod drivers;
mod error;
mod events;
mod export;
mod functions;
mod images;
mod instances;
mod invocations;
mod logs;
mod metrics;
mod owner;
mod query;
mod queues;
mod registry;
mod replays;
mod runs;
mod schedules;
mod secrets;
mod services;
mod targets;
mod upload;
mod upstreams;
mod versions;
mod webhooks;

pub(crate) use error::status_of;

use crate::auth::Refused;
use crate::doors::Doors;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, head, post, put};
use error::Error;
use http::{Method, Uri};
use model::Kind;

/// The routes of this door.
pub(crate) fn router(doors: Doors) -> Router {
    let routes = Router::new()
        .route("/blobs/{digest}", head(blobs::head).put(blobs::put))
        .route("/deployments", post(deployments::create))
        .route("/deployments/preview", post(deployments::preview))
        .route("/functions", get(functions::list))
        .route(
            "/functions/{name}",
            get(functions::get).delete(functions::delete),
        )
        .route("/functions/{name}/invocations", post(invocations::create))
        .route("/functions/{name}/versions", get(versions::list))
        .route("/functions/{name}/history", get(versions::history))
        .route("/functions/{name}/image", put(versions::put_image))
        .route("/functions/{name}/rollback", post(versions::rollback))
        .route(
            "/functions/{name}/aliases/{alias}",
            put(versions::put_alias).delete(versions::delete_alias),
        )
        .route("/services", get(services::list))
        .route("/services/{name}", delete(services::delete))
        .route("/buckets", get(buckets::list))
        .route("/queues", get(queues::list))
        .route("/targets", get(targets::list))
        .route("/instances", get(instances::list))
        .route("/drivers", get(drivers::get))
        .route("/events", get(events::list).post(cloudevents::put))
        .route("/buses/{name}/events", post(cloudevents::put_on))
        .route("/events/export", get(export::read))
        .route("/events/cancel", post(cancellations::chosen))
        .route("/events/{id}", get(events::get))
        .route("/events/{id}/cancel", post(cancellations::one))
        .route("/events/{id}/replay", post(events::replay))
        .route("/replays", get(replays::list).post(replays::create))
        .route("/replays/{id}", get(replays::get).delete(replays::cancel))
        .route("/runs", get(runs::list))
        .route("/schedules", get(schedules::list))
        .route("/schedules/{group}/{name}", get(schedules::get))
        .route("/schedules/{group}/{name}/run", post(schedules::run))
        .route(
            "/schedules/{group}/{name}/{action}",
            post(schedules::enable),
        )
        .route("/webhooks", get(webhooks::list))
        .route(
            "/webhooks/{name}",
            get(webhooks::get)
                .put(webhooks::put)
                .delete(webhooks::delete),
        )
        .route("/secrets", get(secrets::list_secrets))
        .route(
            "/secrets/{name}",
            put(secrets::put_secret).delete(secrets::delete_secret),
        )
        .route("/configs", get(secrets::list_configs))
        .route(
            "/configs/{name}",
            get(secrets::read_config)
                .put(secrets::put_config)
                .delete(secrets::delete_config),
        )
        .route("/logs", get(logs::read))
        .route("/metrics", get(metrics::read))
        .route("/images", get(images::list).post(images::create))
        .route(
            "/images/{*reference}",
            get(images::resolve).delete(images::delete),
        )
        .route("/registry/repositories", get(registry::repositories))
        .route("/registry/manifests", get(registry::manifests))
        .route("/pulls", post(images::pull))
        .route("/upstreams", get(upstreams::list))
        .route(
            "/upstreams/{name}",
            put(upstreams::put).delete(upstreams::delete),
        )
        .route(
            "/registry/collections",
            get(registry::surplus).post(registry::collect),
        );
    Router::new()
        .nest("/_rouse/v1", routes)
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        // Each resource has its own bound, which is larger than axum's.
        .layer(DefaultBodyLimit::disable())
        .with_state(doors)
}

/// Says in the dialect of this door why a request was not let in.
pub(crate) fn refuse(refused: &Refused) -> Response {
    Error::from(refused).into_response()
}

async fn not_found(method: Method, uri: Uri) -> Error {
    let path: String = uri.path().chars().take(200).collect();
    Error::new(
        Kind::NotFound,
        format!(
            "the control API has no {method} {}; it is under /_rouse/v1/",
            path.escape_debug()
        ),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let error = Error::new(
        Kind::Unsupported,
        format!("{} does not take {method}", path.escape_debug()),
    );
    let mut response = error.into_response();
    *response.status_mut() = http::StatusCode::METHOD_NOT_ALLOWED;
    response
}
