//! One batch: a call of the function, and what becomes of the messages after it.

use super::{BACKOFF, event};
use crate::attempt::{Attempted, Job, Record, record};
use crate::engine::Corridor;
use crate::pool::unavailable;
use model::{Chain, Ending, MappingSpec, Message, ReceiptHandle, RequestId, Run, Timestamp};
use pattern::Filter;
use state::crash;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Messages that were received together.
pub(super) struct Batch {
    pub(super) corridor: Arc<Corridor>,
    pub(super) spec: MappingSpec,
    pub(super) filter: Filter,
    /// Seconds that the queue hides a message.
    pub(super) visibility: u32,
    pub(super) received: Timestamp,
    pub(super) messages: Vec<Message>,
}

/// What a call says about its batch.
enum Verdict {
    /// Those of the named messages failed, the others are done.
    Failed(BTreeSet<String>),
    /// All failed: why.
    AllFailed(String),
    /// Nothing was tried: why.
    NotTried(String),
}

/// Why a message is not worked on.
fn too_deep(message: &Message, most: u32) -> String {
    let chain = message.sent.chain;
    let cause = chain.cause.map_or_else(String::new, |cause| {
        format!(" The last event before it is {cause}.")
    });
    format!(
        "message {} is {} of a chain in which each was caused by the one before, and the server cuts \
         chains after {most}: is this a loop? (`rouse serve --max-depth`){cause}",
        message.sent.id,
        u64::from(chain.depth) + 1
    )
}

impl Batch {
    /// Calls the function and settles the messages. Says in a few words what came of it.
    pub(super) async fn carry_out(mut self) -> String {
        self.drop_unfit().await;
        let cut = self.cut_chains().await;
        if self.messages.is_empty() {
            return cut.unwrap_or_else(|| "OK".to_owned());
        }
        let region = self.corridor.buses.region();
        let (payload, count) = event::event(&self.spec.queue, region, &self.messages);
        let rest = self.messages.split_off(count);
        self.give_back(&rest, Duration::ZERO).await;
        let chain = Chain::deepest(self.messages.iter().map(|message| message.sent.chain));
        let job = Job {
            request_id: RequestId::generate(),
            payload,
            http: None,
            event: None,
            chain: Some(chain),
            client_context: None,
            trace_id: None,
            qualifier: self.spec.qualifier.clone(),
        };
        let attempted = self.corridor.attempt(&self.spec.function, job).await;
        self.corridor.dispatcher.slot_freed();
        let verdict = match attempted {
            Ok(Attempted { outcome, run }) => {
                self.corridor.state.record_run(run);
                self.judge(&outcome.ending)
            }
            Err(error) => Verdict::NotTried(error.to_string()),
        };
        crash::point("batch-judged");
        let told = self.settle(verdict).await;
        crash::point("batch-settled");
        told
    }

    /// Deletes what the filters do not let through, as AWS does.
    async fn drop_unfit(&mut self) {
        if self.spec.filters.is_empty() {
            return;
        }
        let all = std::mem::take(&mut self.messages).into_iter();
        let (fit, unfit): (Vec<Message>, Vec<Message>) = all.partition(|message| {
            let region = self.corridor.buses.region();
            let record = event::record(&self.spec.queue, region, message);
            self.filter.matches(&record, "body")
        });
        self.messages = fit;
        self.delete(&unfit.iter().collect::<Vec<_>>()).await;
    }

    /// Takes out what is too deep in a chain to be worked on, so that a loop ends: it goes to the queue's
    /// dead-letter queue, or is deleted, and a record of the function says so.
    async fn cut_chains(&mut self) -> Option<String> {
        let most = self.corridor.max_depth;
        let all = std::mem::take(&mut self.messages).into_iter();
        let (deep, rest): (Vec<Message>, Vec<Message>) =
            all.partition(|message| message.sent.chain.depth > most);
        self.messages = rest;
        if deep.is_empty() {
            return None;
        }
        let now = Timestamp::now();
        let refused = deep.iter().map(|message| {
            let error = too_deep(message, most);
            tracing::warn!(queue = %self.spec.queue, function = %self.spec.function, "{error}");
            (message.handle, self.refusal(message, error, now))
        });
        let refused = refused.collect();
        let name = self.spec.queue.clone();
        match self
            .corridor
            .state
            .refuse_messages(name, refused, now)
            .await
        {
            Ok(Some(dead_letter)) => self.corridor.bells.ring(&dead_letter, deep.len()),
            Ok(None) => {}
            Err(error) => self.warn(&error),
        }
        let count = deep.len();
        Some(format!(
            "PROBLEM: {count} of the messages were cut off, being too deep in a chain"
        ))
    }

    /// The record of a message that was not given to the function.
    fn refusal(&self, message: &Message, error: String, at: Timestamp) -> Run {
        let about = Record {
            request_id: RequestId::generate(),
            target: format!("function:{}", self.spec.function),
            event: None,
            attempt: message.receives,
            started: at,
        };
        Run {
            ending: "cut".to_owned(),
            error: Some(error),
            ..record(&unavailable(String::new()), about)
        }
    }

    fn judge(&self, ending: &Ending) -> Verdict {
        match ending {
            Ending::Succeeded { payload, .. } if self.spec.report_failures => {
                match event::failures(payload, &self.messages) {
                    Some(failed) => Verdict::Failed(failed),
                    None => Verdict::AllFailed(
                        "the function's answer names no messages of its batch in batchItemFailures"
                            .to_owned(),
                    ),
                }
            }
            Ending::Succeeded { .. } => Verdict::Failed(BTreeSet::new()),
            Ending::Unavailable { reason } => Verdict::NotTried(reason.clone()),
            failed => Verdict::AllFailed(failed.error().unwrap_or_default()),
        }
    }

    async fn settle(&self, verdict: Verdict) -> String {
        match verdict {
            Verdict::Failed(ids) => {
                let is_failed = |message: &&Message| ids.contains(&message.sent.id.to_string());
                let (failed, done): (Vec<&Message>, Vec<&Message>) =
                    self.messages.iter().partition(is_failed);
                self.delete(&done).await;
                self.show_again(&failed).await;
                "OK".to_owned()
            }
            Verdict::AllFailed(reason) => {
                let all: Vec<&Message> = self.messages.iter().collect();
                self.show_again(&all).await;
                format!("PROBLEM: Function call failed: {reason}")
            }
            Verdict::NotTried(reason) => {
                self.give_back(&self.messages, BACKOFF).await;
                format!("PROBLEM: Function was not called: {reason}")
            }
        }
    }

    /// What the store does not take comes back when its time is over.
    fn warn(&self, error: &state::Error) {
        tracing::warn!(queue = %self.spec.queue, %error, "messages were not settled; they come back later");
    }

    async fn delete(&self, messages: &[&Message]) {
        if messages.is_empty() {
            return;
        }
        let handles: Vec<ReceiptHandle> = messages.iter().map(|message| message.handle).collect();
        let name = self.spec.queue.clone();
        match self
            .corridor
            .state
            .delete_messages(name, handles, Timestamp::now())
            .await
        {
            // What waited behind them in their groups is free.
            Ok(deleted) if self.spec.queue.is_fifo() => {
                self.corridor.bells.ring(&self.spec.queue, deleted.len())
            }
            Ok(_) => {}
            Err(error) => self.warn(&error),
        }
    }

    /// Failed messages come back when the queue's own time is over, as on AWS, not only when the longer
    /// one is that kept them from being received twice.
    async fn show_again(&self, messages: &[&Message]) {
        if messages.is_empty() {
            return;
        }
        let now = Timestamp::now();
        let passed = u32::try_from(now.since(self.received) / 1000).unwrap_or(u32::MAX);
        let left = self.visibility.saturating_sub(passed);
        let hidden = messages
            .iter()
            .map(|message| (message.handle, left))
            .collect();
        let name = self.spec.queue.clone();
        match self.corridor.state.hide_messages(name, hidden, now).await {
            Ok(changed) => self.corridor.bells.ring(&self.spec.queue, changed.len()),
            Err(error) => self.warn(&error),
        }
    }

    async fn give_back(&self, messages: &[Message], after: Duration) {
        if messages.is_empty() {
            return;
        }
        let handles = messages.iter().map(|message| message.handle).collect();
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let name = self.spec.queue.clone();
        match self
            .corridor
            .state
            .give_back(name, handles, Timestamp::now(), after)
            .await
        {
            Ok(()) => self.corridor.bells.ring(&self.spec.queue, messages.len()),
            Err(error) => self.warn(&error),
        }
    }
}
