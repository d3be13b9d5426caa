//! Those who send events and keep account of what they were answered.

use crate::house::{BUS, House};
use crate::ledger::{Ledger, Named};
use crate::plan::{Function, Sending};
use bytes::Bytes;
use engine::Call;
use model::{EventId, NewEvent, Target, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// A server and the account.
#[derive(Clone)]
pub struct Client {
    pub house: House,
    pub ledger: Ledger,
    /// What is being sent.
    pub tasks: TaskTracker,
}

fn event(target: &Target, source: &str) -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        target: target.clone(),
        source: source.into(),
        kind: "placed".into(),
        subject: "a".into(),
        payload: Bytes::from_static(br#"{"source":"shop","detail-type":"placed","detail":{}}"#),
        accepted: Timestamp::now(),
        cause: None,
        replay_of: None,
        delivery: model::Delivery::default(),
    }
}

fn bus() -> Target {
    Target::Bus {
        name: BUS.parse().unwrap(),
    }
}

impl Client {
    /// Begins to send.
    pub fn begin(&self, sending: Sending, functions: &[Function]) {
        let target = |function: usize| functions[function].target();
        let tasks = &self.tasks;
        match sending {
            Sending::Invoke { function, count } => {
                let (client, target) = (self.clone(), target(function));
                tasks.spawn(async move {
                    for _ in 0..count {
                        client.send(target.clone(), "invoke").await;
                    }
                });
            }
            Sending::Put { functions } => {
                let targets = functions.into_iter().map(target).collect();
                let client = self.clone();
                tasks.spawn(async move { client.put(targets).await });
            }
            Sending::Named {
                function,
                name,
                times,
            } => {
                for _ in 0..times {
                    let (key, target) = (format!("order-{name}"), target(function));
                    let client = self.clone();
                    tasks.spawn(async move { client.name(key, target).await });
                }
            }
            Sending::Bus { count } => {
                for _ in 0..count {
                    let client = self.clone();
                    tasks.spawn(async move { client.send(bus(), "shop").await });
                }
            }
            Sending::Wait { function, count } => {
                for _ in 0..count {
                    let (client, function) = (self.clone(), functions[function].clone());
                    tasks.spawn(async move { client.wait(function).await });
                }
            }
        }
    }

    /// One event.
    pub async fn send(&self, target: Target, source: &'static str) {
        let event = event(&target, source);
        let sent = [(event.id, target)];
        self.ledger.send(&[event.id]);
        let answer = self.house.engine.submit(event).await.map(drop);
        self.ledger.answer(&sent, answer.as_ref().map(drop));
    }

    /// Several events at once.
    pub async fn put(&self, targets: Vec<Target>) {
        let events = targets.iter().map(|target| event(target, "s3:photos"));
        let events: Vec<_> = events.collect();
        let ids: Vec<_> = events.iter().map(|event| event.id).collect();
        let sent: Vec<_> = ids.iter().copied().zip(targets).collect();
        self.ledger.send(&ids);
        let events = events.into_iter().map(|event| (None, event)).collect();
        let answer = self.house.engine.submit_all(events).await.map(drop);
        self.ledger.answer(&sent, answer.as_ref().map(drop));
    }

    /// An event under a name, sent again as long as it has no answer.
    pub async fn name(&self, key: String, target: Target) {
        let event = event(&target, "order");
        let id = event.id;
        {
            let mut book = self.ledger.book();
            let empty = || Named {
                target: target.clone(),
                tried: BTreeSet::new(),
                answered: None,
            };
            let named = book.named.entry(key.clone()).or_insert_with(empty);
            named.tried.insert(id);
        }
        let events = vec![(Some(key.clone()), event)];
        match self.house.engine.submit_all(events).await {
            Ok(ids) => {
                let first = ids[0];
                self.ledger.answer(&[(first, target)], Ok(()));
                let mut book = self.ledger.book();
                let told = book.named.get_mut(&key).unwrap();
                let before = *told.answered.get_or_insert(first);
                if before != first || !told.tried.contains(&first) {
                    book.broken("once-per-name", || {
                        format!("{key} was accepted as {before} and as {first}")
                    });
                }
            }
            // Such as that the function is not there: it is tried again in the next life.
            Err(error) => self.ledger.note(&format!("refused {key}: {error}")),
        }
    }

    /// A call that waits for its answer.
    pub async fn wait(&self, function: Function) {
        let name = function.name;
        *self
            .ledger
            .book()
            .waiting
            .entry(name.to_string())
            .or_default() += 1;
        let answer = self.house.engine.invoke(&name, Call::default()).await;
        let word = match &answer {
            Ok(outcome) => outcome.ending.word().to_owned(),
            Err(error) => error.to_string(),
        };
        let mut book = self.ledger.book();
        *book.waiting.entry(name.to_string()).or_default() -= 1;
        book.note(&format!("waited for {name}: {word}"));
    }

    /// Sends again what was never answered.
    pub fn resend(&self) {
        let book = self.ledger.book();
        let open = book
            .named
            .iter()
            .filter(|(_, named)| named.answered.is_none());
        let open: Vec<_> = open
            .map(|(key, named)| (key.clone(), named.target.clone()))
            .collect();
        drop(book);
        for (at, (key, target)) in open.into_iter().enumerate() {
            let client = self.clone();
            self.tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(7 * at as u64)).await;
                client.name(key, target).await;
            });
        }
    }
}
