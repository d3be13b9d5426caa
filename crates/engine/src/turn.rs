//! The turn of one change of what is declared: others wait for it, but not while it waits for an instance.

use tokio::sync::{Mutex, MutexGuard};

/// Held by whoever changes something. Given back when it is dropped.
pub(crate) struct Turn<'a> {
    changing: &'a Mutex<()>,
    held: Option<MutexGuard<'a, ()>>,
}

impl<'a> Turn<'a> {
    /// Waits for those before.
    pub(crate) async fn take(changing: &'a Mutex<()>) -> Self {
        let held = Some(changing.lock().await);
        Self { changing, held }
    }

    /// Lets others change things until `work` is done. What was known before may be otherwise after it.
    pub(crate) async fn aside<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.held = None;
        let done = work.await;
        self.held = Some(self.changing.lock().await);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn others_have_their_turn_only_meanwhile() {
        let changing = Mutex::new(());
        let mut turn = Turn::take(&changing).await;
        assert!(changing.try_lock().is_err());
        let was_free = turn.aside(async { changing.try_lock().is_ok() }).await;
        assert!(was_free);
        assert!(changing.try_lock().is_err());
        drop(turn);
        assert!(changing.try_lock().is_ok());
    }
}
