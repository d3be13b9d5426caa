//! Work that takes a while, on a thread where nobody waits for anything else.

use tokio::task::JoinError;

/// Runs `work` on a thread for such work.
///
/// # Errors
/// When it panicked, or the server ends.
pub(crate) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(feature = "simulation")]
    if model::simulation::is_on() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
