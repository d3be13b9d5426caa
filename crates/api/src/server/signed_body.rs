//! Bodies that must be held in memory, because a signature covers them and their sender is not yet
//! known.

use crate::auth::Refused;
use crate::body::{self, BodyError};
use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Largest such body: a zip of 70 MB in base64 and what is around it.
const MAX_BODY: usize = 100 << 20;

/// What all such bodies together may hold at a time.
const MAX_ALL: usize = 256 << 20;

/// The whole body must come within this.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The memory that unverified bodies may take. A cheap handle.
#[derive(Clone)]
pub(super) struct Budget {
    kibibytes: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        let kibibytes = Arc::new(Semaphore::new(MAX_ALL / 1024));
        Self { kibibytes }
    }
}

impl Budget {
    /// Reads a body whole. Its length must be given, so that the memory is there before it is used.
    ///
    /// # Errors
    /// `TooLarge`, `Busy`, `BadBody`.
    pub(super) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Refused> {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        let length = headers
            .get(CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok());
        let length = length.and_then(|text| text.parse::<usize>().ok());
        let length = length.ok_or(Refused::BadBody("a signed body needs a Content-Length"))?;
        let too_large = Refused::TooLarge {
            limit: MAX_BODY as u64,
        };
        if length > MAX_BODY {
            return Err(too_large);
        }
        let kibibytes = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let held = self.kibibytes.try_acquire_many(kibibytes);
        let _held = held.map_err(|_| Refused::Busy)?;
        let read = body::read(headers, body, MAX_BODY);
        match tokio::time::timeout(TIMEOUT, read).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(BodyError::TooLarge { .. })) => Err(too_large),
            Ok(Err(BodyError::Broken(_))) => Err(Refused::BadBody("it broke off")),
            Err(_) => Err(Refused::BadBody("it did not come within two minutes")),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn length(length: usize) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, length.into());
        headers
    }

    #[tokio::test]
    async fn a_body_is_read_if_its_length_is_given_and_fits() {
        let budget = Budget::default();
        let read = budget.read(&length(3), Body::from("abc")).await;
        assert_eq!(read.unwrap(), "abc");
        let none = budget.read(&HeaderMap::new(), Body::empty()).await;
        assert_eq!(none.unwrap(), "");
        let unknown = budget.read(&HeaderMap::new(), Body::from("abc")).await;
        assert!(matches!(unknown, Err(Refused::BadBody(_))));
        let large = budget.read(&length(MAX_BODY + 1), Body::from("abc")).await;
        assert!(matches!(large, Err(Refused::TooLarge { .. })));
    }

    #[tokio::test]
    async fn past_the_budget_the_next_one_is_told_to_wait() {
        let budget = Budget::default();
        let all = u32::try_from(MAX_ALL / 1024).unwrap();
        let held = budget.kibibytes.acquire_many(all).await.unwrap();
        let refused = budget.read(&length(3), Body::from("abc")).await;
        assert_eq!(refused, Err(Refused::Busy));
        drop(held);
        assert!(budget.read(&length(3), Body::from("abc")).await.is_ok());
    }
}
