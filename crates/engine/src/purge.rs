//! Retention: ended events and runs are deleted after a while, in small steps.

use crate::engine::Corridor;
use model::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(60);
/// How many rows one transaction deletes, so that writers never wait long.
const STEP: u32 = 500;

/// Runs until the engine drains.
pub(crate) async fn run(corridor: Arc<Corridor>, retention: Duration) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = corridor.draining.cancelled() => return,
        }
        if let Err(error) = purge(&corridor, retention).await {
            tracing::warn!(%error, "old events and runs could not be deleted; trying again later");
        }
    }
}

async fn purge(corridor: &Corridor, retention: Duration) -> state::Result<()> {
    let kept = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let before = Timestamp(Timestamp::now().0.saturating_sub(kept));
    while corridor.state.purge_events(before, STEP).await? >= u64::from(STEP) {}
    while corridor.state.purge_runs(before, STEP).await? >= u64::from(STEP) {}
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Engine, Options};
    use model::{Ending, EventId, EventState, Kind, NewEvent, Target};
    use runtime::{Fake, FakeStart, Runtime};
    use state::State;
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
    async fn what_ended_before_the_retention_is_deleted_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).await.unwrap();
        let storage = Storage::open(folder.path(), state.clone()).await.unwrap();
        let runtime = Runtime::fake(fake());
        let started = Engine::start(Options::default(), state.clone(), storage, runtime).await;
        let engine = started.unwrap();
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
        let ended = async {
            while state.get_event(id).await.unwrap().state != EventState::Dead {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let limit = Duration::from_secs(30);
        tokio::time::timeout(limit, ended).await.unwrap();
        let hour = Duration::from_secs(3600);
        purge(&engine.corridor, hour).await.unwrap();
        assert!(state.get_event(id).await.is_ok());
        tokio::time::sleep(Duration::from_millis(5)).await;
        purge(&engine.corridor, Duration::ZERO).await.unwrap();
        let gone = state.get_event(id).await.unwrap_err();
        assert_eq!(gone.kind(), Kind::NotFound);
    }
}
