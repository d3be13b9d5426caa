//! Work for the blocking pool, and work that goes on when the caller goes away.

use crate::{Error, Result};

/// Runs `work` on a thread that may wait for the disk. A panic goes on in the caller.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    #[cfg(feature = "simulation")]
    if model::simulation::is_on() {
        return work();
    }
    joined(tokio::task::spawn_blocking(work)).await
}

/// Runs `work` to its end even if the caller is dropped: between a row and its file there must be
/// no place at which a client that hangs up can stop us.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    joined(tokio::spawn(work)).await
}

async fn joined<T>(task: tokio::task::JoinHandle<Result<T>>) -> Result<T> {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Stopping),
        },
    }
}
