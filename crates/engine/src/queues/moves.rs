//! Moves of dead letters: carried out in steps, and gone on with after a restart.

use crate::engine::Corridor;
use crate::{Engine, Result};
use model::{MoveState, MoveTask, QueueName, Timestamp};
use state::crash;
use std::sync::Arc;
use std::time::Duration;

/// Messages that one transaction moves at most, so that writers never wait long.
const STEP: u32 = 100;
/// How long a move waits after the store failed.
const PAUSE: Duration = Duration::from_secs(5);

impl Engine {
    /// Starts a move of all messages of a dead-letter queue.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` as [`state::State::start_move`] says.
    pub async fn start_move(
        &self,
        source: QueueName,
        destination: Option<QueueName>,
        rate: Option<u32>,
    ) -> Result<MoveTask> {
        let task = MoveTask {
            id: uuid::Uuid::new_v4(),
            source,
            destination,
            rate,
            state: MoveState::Running,
            started: Timestamp::now(),
            moved: 0,
            to_move: 0,
            failure: None,
        };
        let task = self.corridor.state.start_move(task).await?;
        crash::point("move-begun");
        tokio::spawn(carry_out(self.corridor.clone(), task.clone()));
        Ok(task)
    }

    /// The newest moves of a queue, 10 at most.
    ///
    /// # Errors
    /// `NotFound` (the queue).
    pub async fn list_moves(&self, source: &QueueName, limit: u32) -> Result<Vec<MoveTask>> {
        Ok(self
            .corridor
            .state
            .list_moves(source.clone(), limit)
            .await?)
    }

    /// Stops a move that runs; gives how many messages it moved.
    ///
    /// # Errors
    /// `NotFound` when there is no such move that runs.
    pub async fn cancel_move(&self, id: uuid::Uuid) -> Result<u64> {
        Ok(self.corridor.state.cancel_move(id).await?)
    }
}

/// Goes on with the moves that the server before this one left.
///
/// # Errors
/// Of the store.
pub(crate) async fn resume(corridor: &Arc<Corridor>) -> Result<()> {
    for task in corridor.state.running_moves().await? {
        tokio::spawn(carry_out(corridor.clone(), task));
    }
    Ok(())
}

async fn carry_out(corridor: Arc<Corridor>, task: MoveTask) {
    loop {
        let limit = task.rate.unwrap_or(STEP).min(STEP);
        let step = corridor
            .state
            .move_messages(task.id, limit, Timestamp::now());
        let pause = match step.await {
            Ok(step) => {
                for name in &step.into {
                    corridor
                        .bells
                        .ring(name, usize::try_from(step.moved).unwrap_or(1));
                }
                if step.state != MoveState::Running {
                    return;
                }
                let rate = task.rate.unwrap_or(u32::MAX).max(1);
                Duration::from_secs_f64(f64::from(step.moved) / f64::from(rate))
            }
            Err(error) if error.kind() == model::Kind::NotFound => return,
            Err(error) => {
                tracing::warn!(%error, task = %task.id, "messages could not be moved; trying again");
                PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = corridor.draining.cancelled() => return,
        }
    }
}
