//! Work that is done to its end, whatever becomes of who waits for it.

use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// A future that is polled where it is awaited, which costs no task and wakes no other thread. Dropped
/// before its end, as hyper does with a handler when its client goes away, it goes on as a task.
pub(crate) struct Carried<T: Send + 'static> {
    /// `None` when it has ended.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

impl<T: Send + 'static> Carried<T> {
    /// Begins when it is first polled, or dropped.
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        let work = Some(Box::pin(work) as _);
        Self { work }
    }
}

impl<T: Send + 'static> Future for Carried<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = self.work.as_mut() else {
            // Nobody polls a future that has ended; one that does waits.
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Carried<T> {
    fn drop(&mut self) {
        // Without a runtime nothing can go on.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn it_goes_on_when_nobody_waits() {
        let (go, wait) = oneshot::channel::<()>();
        let (done, end) = oneshot::channel();
        let mut work = Carried::new(async move {
            wait.await.unwrap();
            done.send("done").unwrap();
        });
        assert!(futures::poll!(&mut work).is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(end.await.unwrap(), "done");
    }

    #[tokio::test]
    async fn what_was_never_awaited_is_done_too() {
        let (done, end) = oneshot::channel();
        drop(Carried::new(async move { done.send(7).unwrap() }));
        assert_eq!(end.await.unwrap(), 7);
    }

    #[tokio::test]
    async fn its_result_is_passed_on() {
        assert_eq!(Carried::new(async { 7 }).await, 7);
    }
}
