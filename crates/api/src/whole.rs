//! Changes that are carried out whole, whatever becomes of the client that asked for them.

/// Runs `change` to its end. hyper drops a handler when its client goes away; between two steps of a
/// change that would leave the second one undone.
pub(crate) async fn whole<T: Send + 'static>(
    change: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::spawn(change).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // It is never aborted; the runtime itself ends, and nobody waits for the answer.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn a_change_goes_on_when_nobody_waits() {
        let (go, wait) = oneshot::channel::<()>();
        let (done, end) = oneshot::channel();
        let mut change = Box::pin(whole(async move {
            wait.await.unwrap();
            done.send("done").unwrap();
        }));
        assert!(futures::poll!(change.as_mut()).is_pending());
        drop(change);
        go.send(()).unwrap();
        assert_eq!(end.await.unwrap(), "done");
    }

    #[tokio::test]
    async fn its_result_is_passed_on() {
        assert_eq!(whole(async { 7 }).await, 7);
    }
}
