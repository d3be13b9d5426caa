//! Bodies that must be held in memory, because a signature covers them and their sender is not yet
//! known.

use super::Origin;
use crate::auth::Refused;
use crate::body::{self, BodyError};
use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::Body as _;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Largest such body: a zip of 70 MB in base64 and what is around it.
const MAX_BODY: usize = 100 << 20;

/// What all such bodies of clients together may hold at a time, and as much again those of instances,
/// so that no function can keep the server from its owner.
const MAX_ALL: usize = 256 << 20;

/// What those out of the instances of one function or service may hold of it: one of the largest, and
/// the others go on.
const MAX_PROGRAM: usize = MAX_BODY;

/// The whole body must come within this.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The memory that unverified bodies may take. A cheap handle.
#[derive(Clone)]
pub(super) struct Budget {
    /// In KiB, as `instances`.
    clients: Arc<Semaphore>,
    instances: Arc<Semaphore>,
    /// KiB that each function or service holds of `instances`.
    programs: Arc<Mutex<HashMap<String, usize>>>,
}

impl Default for Budget {
    fn default() -> Self {
        let all = || Arc::new(Semaphore::new(MAX_ALL / 1024));
        Self {
            clients: all(),
            instances: all(),
            programs: Arc::default(),
        }
    }
}

/// Memory for one body; free again when dropped.
struct Held<'a> {
    budget: &'a Budget,
    _memory: SemaphorePermit<'a>,
    /// Of which function or service, and how many KiB.
    share: Option<(String, usize)>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some((program, kibibytes)) = self.share.take() else {
            return;
        };
        let mut programs = self.budget.lock();
        let left = programs.remove(&program).unwrap_or(0);
        if left > kibibytes {
            programs.insert(program, left - kibibytes);
        }
    }
}

impl Budget {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for a body of this length from there; `None` if there is not enough left.
    fn hold(&self, origin: &Origin, length: usize) -> Option<Held<'_>> {
        let kibibytes = length.div_ceil(1024);
        let many = u32::try_from(kibibytes).ok()?;
        let Origin::Instance { owner, .. } = origin else {
            return Some(Held {
                budget: self,
                _memory: self.clients.try_acquire_many(many).ok()?,
                share: None,
            });
        };
        let program = owner.log_key();
        let mut programs = self.lock();
        let own = programs.get(&program).copied().unwrap_or(0) + kibibytes;
        if own > MAX_PROGRAM / 1024 {
            return None;
        }
        let memory = self.instances.try_acquire_many(many).ok()?;
        programs.insert(program.clone(), own);
        Some(Held {
            budget: self,
            _memory: memory,
            share: Some((program, kibibytes)),
        })
    }

    /// Reads a body whole. Its length must be given, so that the memory is there before it is used.
    ///
    /// # Errors
    /// `TooLarge`, `Busy`, `BadBody`.
    pub(super) async fn read(
        &self,
        origin: &Origin,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Bytes, Refused> {
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
        let _held = self.hold(origin, length).ok_or(Refused::Busy)?;
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
        let read = budget
            .read(&Origin::Client, &length(3), Body::from("abc"))
            .await;
        assert_eq!(read.unwrap(), "abc");
        let none = budget
            .read(&Origin::Client, &HeaderMap::new(), Body::empty())
            .await;
        assert_eq!(none.unwrap(), "");
        let unknown = budget
            .read(&Origin::Client, &HeaderMap::new(), Body::from("abc"))
            .await;
        assert!(matches!(unknown, Err(Refused::BadBody(_))));
        let large = budget
            .read(&Origin::Client, &length(MAX_BODY + 1), Body::from("abc"))
            .await;
        assert!(matches!(large, Err(Refused::TooLarge { .. })));
    }

    #[tokio::test]
    async fn past_the_budget_the_next_one_is_told_to_wait() {
        let budget = Budget::default();
        let all = u32::try_from(MAX_ALL / 1024).unwrap();
        let held = budget.clients.acquire_many(all).await.unwrap();
        let refused = budget
            .read(&Origin::Client, &length(3), Body::from("abc"))
            .await;
        assert_eq!(refused, Err(Refused::Busy));
        drop(held);
        assert!(
            budget
                .read(&Origin::Client, &length(3), Body::from("abc"))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn what_one_function_holds_is_not_taken_from_the_others_nor_from_clients() {
        let origin = |name: &str| Origin::Instance {
            owner: model::Owner::Function {
                name: name.parse().unwrap(),
                revision: 1,
                version: None,
            },
            instance: model::InstanceId::generate(),
            networks: model::Networks::default(),
        };
        let budget = Budget::default();
        let held = budget.hold(&origin("greedy"), MAX_PROGRAM).unwrap();
        let read = async |origin: Origin| budget.read(&origin, &length(3), Body::from("abc")).await;
        assert_eq!(read(origin("greedy")).await, Err(Refused::Busy));
        assert!(read(origin("other")).await.is_ok());
        assert!(read(Origin::Client).await.is_ok());
        let all: Vec<_> = (0..MAX_ALL / MAX_PROGRAM - 1)
            .map(|n| budget.hold(&origin(&format!("f{n}")), MAX_PROGRAM).unwrap())
            .collect();
        let rest = MAX_ALL % MAX_PROGRAM;
        let last = budget.hold(&origin("last"), rest).unwrap();
        assert_eq!(read(origin("other")).await, Err(Refused::Busy));
        assert!(read(Origin::Client).await.is_ok());
        drop((held, all, last));
        assert!(read(origin("greedy")).await.is_ok());
        assert!(budget.lock().is_empty());
    }
}
