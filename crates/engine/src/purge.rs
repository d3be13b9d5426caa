//! Retention: what is old is dropped, a partition at a time.

use crate::engine::Corridor;
use model::Timestamp;
use state::Retention;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked, at most and at least.
const EVERY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// Runs until the engine drains.
pub(crate) async fn run(corridor: Arc<Corridor>, retention: Retention) {
    let [least, most] = EVERY;
    let every = (retention.age / 16).clamp(least, most);
    loop {
        tokio::select! {
            biased;
            () = corridor.draining.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        if let Err(error) = tend(&corridor, retention).await {
            tracing::warn!(%error, "old events could not be dropped; trying again later");
        }
    }
}

async fn tend(corridor: &Corridor, retention: Retention) -> state::Result<()> {
    loop {
        let now = Timestamp::now();
        let tended = corridor.state.tend_partitions(retention, now).await?;
        if tended.dropped == 0 {
            return Ok(());
        }
        tracing::info!("dropped the oldest partition of ended events");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::{Engine, Options};
    use model::{Ending, EventId, EventState, Kind, NewEvent, Target, Timestamp};
    use runtime::{Fake, FakeStart, Runtime};
    use state::{Retention, State};
    use std::time::Duration;
    use storage::Storage;

    fn fake() -> Fake {
        let start = FakeStart {
            takes: Duration::ZERO,
            fails: None,
        };
        let how = "not called here".to_owned();
        Fake::new(
            move |_| start.clone(),
            move |_| (Duration::ZERO, Ending::Crashed { how: how.clone() }, false),
        )
    }

    #[tokio::test]
    async fn what_ended_before_the_retention_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).await.unwrap();
        let storage = Storage::open(folder.path(), state.clone()).await.unwrap();
        let runtime = Runtime::fake(fake());
        let options = Options {
            retention: Retention {
                age: Duration::from_millis(200),
                bytes: 1 << 30,
            },
            ..Options::default()
        };
        let started = Engine::start(options, state.clone(), storage, runtime).await;
        let _engine = started.unwrap();
        // Its function does not exist, so it becomes a dead letter at once.
        let event = NewEvent {
            id: EventId::generate(),
            target: Target::Function {
                name: "none".parse().unwrap(),
            },
            source: "test".into(),
            kind: "test".into(),
            subject: String::new(),
            payload: "{}".into(),
            accepted: Timestamp::now(),
            cause: None,
            replay_of: None,
            delivery: Default::default(),
        };
        let id = event.id;
        state.put_events(vec![event]).await.unwrap();
        let mut ended = false;
        let gone = async {
            loop {
                match state.get_event(id).await {
                    Ok(event) => ended |= event.state == EventState::Dead,
                    Err(error) => return error.kind(),
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let limit = Duration::from_secs(60);
        let kind = tokio::time::timeout(limit, gone).await.unwrap();
        assert_eq!((kind, ended), (Kind::NotFound, true));
    }
}
