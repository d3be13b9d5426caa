//! The door of the Amazon EventBridge Scheduler API, version 2021-06-30
//! (<https://docs.aws.amazon.com/scheduler/latest/APIReference/API_Operations.html>): all of its
//! operations, for the owner of the server.

mod bus;
mod definition;
mod error;
mod groups;
mod page;
mod schedules;
mod tags;
mod target;
mod view;

use crate::auth::{Refused, Verified};
use crate::body;
use crate::doors::Doors;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use engine::Once;
use error::{Error, Result};
use http::request::Parts;
use http::{Method, Uri};
use model::{Principal, Timestamp};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// Largest body: an input of 256 KiB, escaped, and what is around it.
const MAX_BODY: usize = 2 * 1024 * 1024;

/// The routes of this door.
pub(crate) fn router(doors: Doors) -> Router {
    let schedule = get(schedules::get)
        .post(schedules::create)
        .put(schedules::update)
        .delete(schedules::delete);
    let group = get(groups::get).post(groups::create).delete(groups::delete);
    let tags = get(tags::list).post(tags::add).delete(tags::remove);
    Router::new()
        .route("/schedules", get(schedules::list))
        .route("/schedules/{name}", schedule)
        .route("/schedule-groups", get(groups::list))
        .route("/schedule-groups/{name}", group)
        .route("/tags/{arn}", tags)
        .fallback(not_served)
        .method_not_allowed_fallback(not_served)
        // Each operation has its own bound.
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

/// Lets only the owner of the server on.
fn owner(verified: &Verified, action: &str) -> Result<()> {
    match verified.get() {
        Principal::Root => Ok(()),
        other => Err(Error::access_denied(&other.key(), action)),
    }
}

/// A request with its whole body.
struct Asked {
    parts: Parts,
    body: Bytes,
}

impl Asked {
    async fn read(request: Request<Body>) -> Result<Self> {
        let (parts, body) = request.into_parts();
        let body = body::read(&parts.headers, body, MAX_BODY).await?;
        Ok(Self { parts, body })
    }

    /// The JSON of the body; without one there are no parameters.
    fn json<T: DeserializeOwned>(&self) -> Result<T> {
        let body: &[u8] = if self.body.is_empty() {
            b"{}"
        } else {
            &self.body
        };
        serde_json::from_slice(body)
            .map_err(|error| Error::invalid(format!("the request body is not understood: {error}")))
    }

    /// What the query says.
    fn query<T: DeserializeOwned>(&self) -> Result<T> {
        axum::extract::Query::<T>::try_from_uri(&self.parts.uri)
            .map(|axum::extract::Query(read)| read)
            .map_err(|error| Error::invalid(error.body_text()))
    }

    /// What makes the request happen once, if the client says a token. SDKs make one for each request
    /// and send it again with each retry.
    fn once(&self, token: Option<String>) -> Result<Option<Once>> {
        let Some(token) = token else {
            return Ok(None);
        };
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if token.is_empty() || token.len() > 64 || !token.bytes().all(legal) {
            return Err(Error::pattern("clientToken", &token, "[a-zA-Z0-9-_]{1,64}"));
        }
        let mut digest = Sha256::new();
        digest.update(self.parts.method.as_str());
        digest.update([0]);
        digest.update(self.parts.uri.to_string());
        digest.update([0]);
        digest.update(&self.body);
        Ok(Some(Once {
            token,
            digest: hex::encode(digest.finalize()),
            now: Timestamp::now(),
        }))
    }
}

/// A point in time as this protocol writes it: seconds since 1970, with a fraction.
#[allow(clippy::cast_precision_loss)] // milliseconds of any year to come fit into 53 bits
fn seconds(time: Timestamp) -> f64 {
    time.0 as f64 / 1000.0
}

/// A name that obeys its rule.
fn parse_name<T>(field: &str, text: &str) -> Result<T>
where
    T: std::str::FromStr<Err = model::Invalid>,
{
    let refused = |_| Error::pattern(field, text, "[0-9a-zA-Z-_.]{1,64}");
    text.parse().map_err(refused)
}
