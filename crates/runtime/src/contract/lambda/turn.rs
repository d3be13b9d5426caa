//! Whose turn it is: the one call that platform and instance pass between them.

use crate::contract::failed;
use model::{Ending, Invocation, RequestId, Timestamp};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot, watch};

/// A call on its way into the instance.
#[derive(Debug)]
pub(super) struct Offer {
    /// What is asked.
    pub(super) invocation: Invocation,
    /// When it will be killed.
    pub(super) deadline: Timestamp,
    answer: oneshot::Sender<Ending>,
}

#[derive(Debug, Default)]
enum State {
    /// Between calls, or not ready yet.
    #[default]
    Idle,
    /// A call waits to be fetched.
    Offered(Box<Offer>),
    /// The instance works on a call.
    Running {
        id: RequestId,
        answer: oneshot::Sender<Ending>,
    },
}

/// How the initialisation stands.
#[derive(Debug, Clone, Default)]
enum Init {
    #[default]
    Pending,
    Ready,
    Failed(Ending),
}

/// Why an answer is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It names a call that is not the current one.
    WrongId,
    /// It comes at a time when there is nothing to answer.
    WrongTime,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turn {
    state: Mutex<Inner>,
    offered: Notify,
    init: watch::Sender<Init>,
}

#[derive(Debug, Default)]
struct Inner {
    state: State,
    /// The call that was answered last, to tell a second answer from a wrong one.
    answered: Option<RequestId>,
}

impl Turn {
    /// The platform's side: see [`super::RuntimeApi::ready`].
    pub(super) async fn ready(&self) -> Result<(), Ending> {
        let mut init = self.init.subscribe();
        // The sender lives in self, so waiting cannot fail.
        let settled = init
            .wait_for(|init| !matches!(init, Init::Pending))
            .await
            .map(|init| init.clone());
        match settled {
            Ok(Init::Failed(ending)) => Err(ending),
            _ => Ok(()),
        }
    }

    /// The platform's side: hands over a call.
    pub(super) fn offer(&self, invocation: Invocation) -> oneshot::Receiver<Ending> {
        let (answer, answered) = oneshot::channel();
        let deadline = Timestamp::now().after(Duration::from_millis(invocation.timeout));
        self.lock().state = State::Offered(Box::new(Offer {
            invocation,
            deadline,
            answer,
        }));
        self.offered.notify_one();
        answered
    }

    /// The instance's side: waits for a call and takes it. Asking again without having answered gives
    /// up the call before.
    pub(super) async fn next(&self) -> (Invocation, Timestamp) {
        self.init.send_if_modified(|init| {
            let first = matches!(init, Init::Pending);
            if first {
                *init = Init::Ready;
            }
            first
        });
        self.give_up();
        loop {
            let offered = self.offered.notified();
            if let Some(taken) = self.take() {
                return taken;
            }
            offered.await;
        }
    }

    fn give_up(&self) {
        let mut inner = self.lock();
        match std::mem::take(&mut inner.state) {
            State::Running { answer, id } => {
                let message = "the function asked for the next call without answering this one";
                let _ = answer.send(failed("Runtime.NoResponse", message));
                inner.answered = Some(id);
            }
            other => inner.state = other,
        }
    }

    fn take(&self) -> Option<(Invocation, Timestamp)> {
        let mut inner = self.lock();
        match std::mem::take(&mut inner.state) {
            State::Offered(offer) => {
                let Offer {
                    invocation,
                    deadline,
                    answer,
                } = *offer;
                let id = invocation.request_id.clone();
                inner.state = State::Running { id, answer };
                Some((invocation, deadline))
            }
            other => {
                inner.state = other;
                None
            }
        }
    }

    /// The instance's side: whether an answer to `id` would be taken now. Asked before the body is
    /// read.
    pub(super) fn expects(&self, id: &str) -> Result<(), Refusal> {
        let inner = self.lock();
        match &inner.state {
            State::Running { id: current, .. } if current.as_str() == id => Ok(()),
            _ if inner.answered.as_ref().is_some_and(|a| a.as_str() == id) => {
                Err(Refusal::WrongTime)
            }
            _ => Err(Refusal::WrongId),
        }
    }

    /// The instance's side: says how the call `id` ended.
    pub(super) fn settle(&self, id: &str, ending: Ending) -> Result<(), Refusal> {
        self.expects(id)?;
        let mut inner = self.lock();
        match std::mem::take(&mut inner.state) {
            State::Running {
                id: current,
                answer,
            } if current.as_str() == id => {
                inner.answered = Some(current);
                // The caller may have gone; the instance did its part all the same.
                let _ = answer.send(ending);
                Ok(())
            }
            other => {
                inner.state = other;
                Err(Refusal::WrongTime)
            }
        }
    }

    /// The instance's side: says that its initialisation failed.
    pub(super) fn fail_init(&self, ending: Ending) -> Result<(), Refusal> {
        let taken = self.init.send_if_modified(|init| {
            let pending = matches!(init, Init::Pending);
            if pending {
                *init = Init::Failed(ending);
            }
            pending
        });
        if taken {
            Ok(())
        } else {
            Err(Refusal::WrongTime)
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
