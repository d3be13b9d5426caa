//! Events that are accepted together: what waits when the writer begins a transaction shares one
//! savepoint, one look at the partitions and the same statements.

use crate::events::insert;
use crate::job::{Job, Undone, Work, work};
use crate::{Error, Result};
use model::NewEvent;
use tokio::sync::oneshot;

/// What the writer is doing meanwhile, as errors tell it.
const DOING: &str = "accepting events";

/// Events that somebody waits to have accepted.
pub(crate) struct Acceptance {
    events: Vec<NewEvent>,
    answer: oneshot::Sender<Result<()>>,
}

/// A request to accept events.
pub(crate) fn accept(events: Vec<NewEvent>) -> (Job, oneshot::Receiver<Result<()>>) {
    let (answer, receiver) = oneshot::channel();
    (Job::Accept(Acceptance { events, answer }), receiver)
}

/// One request made of several. They end alike: what an event without a name can fail of is the store
/// itself, which is the same for all.
pub(crate) fn together(several: Vec<Acceptance>) -> Option<Work> {
    if several.is_empty() {
        return None;
    }
    let mut events = Vec::with_capacity(several.len());
    let mut answers = Vec::with_capacity(several.len());
    for one in several {
        events.extend(one.events);
        answers.push(one.answer);
    }
    let tell = move |result: Result<()>| {
        for answer in answers {
            // Who asked may have gone; the answer is then nobody's.
            let _ = answer.send(again(&result));
        }
    };
    Some(work(DOING, move |tx| insert(tx, &events), tell))
}

/// The same answer for one of several who asked (`rusqlite::Error` cannot be cloned).
fn again(result: &Result<()>) -> Result<()> {
    Err(match result {
        Ok(()) => return Ok(()),
        Err(Error::Sql { doing, source }) => Undone::because(source).error(doing),
        Err(Error::Corrupt { doing, reason }) => Error::Corrupt {
            doing,
            reason: reason.clone(),
        },
        Err(other) => Error::Corrupt {
            doing: DOING,
            reason: other.to_string(),
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::State;
    use crate::fixture::{event, function, store};
    use crate::job::Tx;
    use model::Kind;

    fn of_bytes(bytes: usize) -> Vec<NewEvent> {
        let payload = vec![b'1'; bytes].into();
        vec![NewEvent {
            payload,
            ..event(&function("f"), 1)
        }]
    }

    async fn bound(state: &State, pages: u32) {
        let set = move |tx: &Tx<'_>| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            Ok(tx.query_row(&sql, [], |_| Ok(()))?)
        };
        state.write("bounding", set).await.unwrap();
    }

    #[tokio::test]
    async fn those_who_wait_together_are_all_answered_and_a_full_disk_is_told_to_each() {
        let (_folder, state) = store().await;
        let put = |bytes| state.put_events(of_bytes(bytes));
        let (a, b, c) = tokio::join!(put(1), put(2), put(3));
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        bound(&state, 100).await;
        let (a, b) = tokio::join!(put(1_000_000), put(1_000_000));
        assert_eq!(a.unwrap_err().kind(), Kind::StorageFull);
        assert_eq!(b.unwrap_err().kind(), Kind::StorageFull);
        bound(&state, 1_000_000).await;
        put(4).await.unwrap();
        assert_eq!(state.count_events().await.unwrap()[0].1.waiting, 4);
    }

    #[test]
    fn each_is_told_the_same() {
        let failed = |code| {
            let source = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            Err(Error::Sql {
                doing: DOING,
                source,
            })
        };
        assert!(again(&Ok(())).is_ok());
        let full = again(&failed(rusqlite::ffi::SQLITE_FULL)).unwrap_err();
        assert_eq!(full.kind(), Kind::StorageFull);
        let closed = again(&Err(Error::Closed)).unwrap_err();
        assert!(closed.to_string().contains("closed"), "{closed}");
    }
}
