//! The query of a request, with errors in the dialect of this door.

use super::error::Error;
use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

/// The query, read into `T`.
pub(super) struct Query<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(read)| Self(read))
            .map_err(|error| Error::invalid(error.body_text()))
    }
}

/// A number from the query within its bounds, or what it is without one.
pub(super) fn within(
    name: &str,
    value: Option<u64>,
    default: u64,
    least: u64,
    most: u64,
) -> Result<u64, Error> {
    let value = value.unwrap_or(default);
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(Error::invalid(format!(
        "{name} is {value} and must be {least} to {most}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_and_are_named() {
        assert_eq!(within("limit", None, 100, 1, 1000), Ok(100));
        assert_eq!(within("limit", Some(1000), 100, 1, 1000), Ok(1000));
        assert!(within("limit", Some(0), 100, 1, 1000).is_err());
        assert!(within("limit", Some(1001), 100, 1, 1000).is_err());
    }
}
