//! The registry door, under `/v2/`: the OCI distribution specification 1.1
//! (<https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md>), for the owner.
//!
//! | request | what |
//! |---|---|
//! | `GET /v2/` | whether it is one, and who asks is known |
//! | `GET`, `HEAD`, `DELETE NAME/blobs/DIGEST` | blobs, with ranges |
//! | `POST NAME/blobs/uploads/` | begins an upload; `digest=` with the whole blob, `mount=`, `from=` |
//! | `GET`, `PATCH`, `PUT`, `DELETE NAME/blobs/uploads/ID` | how far, a chunk, the end, none of it |
//! | `GET`, `HEAD`, `PUT`, `DELETE NAME/manifests/REFERENCE` | manifests and tags |
//! | `GET NAME/tags/list`, `GET _catalog` | in pages by `n` and `last` |
//! | `GET NAME/referrers/DIGEST` | manifests about a manifest; `artifactType=` |
//! | `GET`, `POST token` | a short-lived token for some repositories |
//!
//! A repository whose first part is an upstream's name is pulled through: what is asked for and not here comes from
//! there (`engine::upstream`), and nothing is pushed into it.
//!
//! Names have slashes, so the path is read by [`path`] and not by a router.

mod answer;
mod blobs;
mod catalog;
mod error;
mod manifests;
mod page;
mod path;
mod query;
mod range;
mod referrers;
mod tags;
mod token;
mod uploads;

use crate::auth::{Action, RegistryAccess, Verified};
use crate::doors::Doors;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use error::{Code, Error, Result};
use http::request::Parts;
use http::{HeaderValue, Method};
use model::RepositoryName;
use path::Resource;
use query::Query;
use storage::Storage;

/// One request of somebody who was verified.
struct Call {
    doors: Doors,
    access: Verified<RegistryAccess>,
    parts: Parts,
    query: Query,
}

impl Call {
    fn storage(&self) -> &Storage {
        self.doors.engine.storage()
    }

    /// A header as text; one that is no ASCII is as good as none.
    fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }
}

/// Answers one request.
pub(crate) async fn serve(doors: &Doors, parts: Parts, body: Body) -> Response {
    let challenge = token::Challenge::of(&parts);
    let answered = answer(doors.clone(), parts, body, &challenge).await;
    let mut response = answered.unwrap_or_else(|error| error.into_response());
    let version = HeaderValue::from_static("registry/2.0");
    let headers = response.headers_mut();
    headers.insert("docker-distribution-api-version", version);
    response
}

async fn answer(
    doors: Doors,
    parts: Parts,
    body: Body,
    challenge: &token::Challenge,
) -> Result<Response> {
    let resource = path::parse(parts.uri.path());
    if let Ok(Resource::Token) = resource {
        return token::serve(&doors, &parts, body).await;
    }
    // Who is not known learns nothing, not even what is wrong with the address.
    let access = doors.auth.verify_registry(&parts.headers).await;
    let scope = resource
        .as_ref()
        .ok()
        .and_then(|found| scope(found, &parts.method));
    let asked = resource
        .as_ref()
        .ok()
        .and_then(|found| asked(found, scope.as_ref()));
    let refuse = |error| challenge.add(error, asked.as_deref());
    let access = access.map_err(|refused| refuse(Error::from(&refused)))?;
    let resource = resource?;
    if !is_allowed(access.get(), &resource, scope.as_ref()) {
        let error = Error::new(Code::Unauthorized, "the token is not good for this");
        return Err(refuse(error));
    }
    if let Some((name, Action::Push)) = &scope
        && doors.engine.is_pulled(name)
    {
        let text = format!(
            "{name} is pulled through from another registry: push there, or to another name here"
        );
        return Err(Error::new(Code::Unsupported, text));
    }
    let call = Call {
        query: Query::of(parts.uri.query().unwrap_or_default()),
        doors,
        access,
        parts,
    };
    route(call, resource, body).await
}

/// What is done, and to which repository; `None` where that is no question.
fn scope(resource: &Resource, method: &Method) -> Option<(RepositoryName, Action)> {
    let action = match (resource, method.as_str()) {
        (_, "GET" | "HEAD") => Action::Pull,
        (Resource::Upload(..), _) | (_, "POST" | "PUT" | "PATCH") => Action::Push,
        _ => Action::Delete,
    };
    match resource {
        Resource::Base | Resource::Token | Resource::Catalog => None,
        Resource::Tags(name)
        | Resource::Uploads(name)
        | Resource::Manifest(name, _)
        | Resource::Blob(name, _)
        | Resource::Upload(name, _)
        | Resource::Referrers(name, _) => Some((name.clone(), action)),
    }
}

/// The scope of a token that would do.
fn asked(resource: &Resource, scope: Option<&(RepositoryName, Action)>) -> Option<String> {
    let (name, action) = match (resource, scope) {
        (Resource::Catalog, _) => return Some("registry:catalog:*".to_owned()),
        (_, scope) => scope?,
    };
    let actions = match action {
        Action::Pull => "pull",
        Action::Push => "pull,push",
        Action::Delete => "delete",
    };
    Some(format!("repository:{name}:{actions}"))
}

fn is_allowed(
    access: &RegistryAccess,
    resource: &Resource,
    scope: Option<&(RepositoryName, Action)>,
) -> bool {
    match (resource, scope) {
        (Resource::Catalog, _) => access.allows_catalog(),
        (_, Some((name, action))) => access.allows(name, *action),
        _ => true,
    }
}

async fn route(call: Call, resource: Resource, body: Body) -> Result<Response> {
    let method = call.parts.method.clone();
    match (resource, method.as_str()) {
        (Resource::Base, "GET" | "HEAD") => Ok(axum::Json(serde_json::json!({})).into_response()),
        (Resource::Catalog, "GET") => catalog::list(&call).await,
        (Resource::Tags(name), "GET") => tags::list(&call, &name).await,
        (Resource::Referrers(name, subject), "GET") => {
            referrers::list(&call, &name, &subject).await
        }
        (Resource::Blob(name, digest), "GET") => blobs::get(&call, &name, &digest).await,
        (Resource::Blob(name, digest), "HEAD") => blobs::head(&call, &name, &digest).await,
        (Resource::Blob(name, digest), "DELETE") => blobs::delete(&call, name, digest).await,
        (Resource::Uploads(name), "POST") => uploads::begin(&call, &name, body).await,
        (Resource::Upload(name, id), "GET") => uploads::status(&call, &name, &id).await,
        (Resource::Upload(name, id), "PATCH") => uploads::append(&call, &name, &id, body).await,
        (Resource::Upload(name, id), "PUT") => uploads::finish(&call, &name, &id, body).await,
        (Resource::Upload(name, id), "DELETE") => uploads::cancel(&call, &name, &id).await,
        (Resource::Manifest(name, reference), "GET") => {
            manifests::get(&call, name, reference).await
        }
        (Resource::Manifest(name, reference), "HEAD") => {
            manifests::head(&call, name, reference).await
        }
        (Resource::Manifest(name, reference), "PUT") => {
            manifests::put(&call, &name, reference, body).await
        }
        (Resource::Manifest(name, reference), "DELETE") => {
            manifests::delete(&call, name, reference).await
        }
        _ => Err(Error::new(
            Code::Unsupported,
            format!("this address does not take {method}"),
        )),
    }
}
