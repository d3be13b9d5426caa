//! Queues against a simple model of them in memory.
#![allow(clippy::unwrap_used)]

use model::{
    DEDUPLICATION, MessageId, NewMessage, Queue, QueueAttributes, QueueCounts, QueueName,
    ReceiptHandle, Redrive, Timestamp,
};
use proptest::prelude::*;
use state::{Changed, Deleted, Receive, State};
use std::collections::{BTreeMap, HashMap};

const RETENTION: i64 = 600_000;
const MAX_RECEIVES: u32 = 3;

#[derive(Debug, Clone)]
enum Step {
    Send {
        group: u8,
        deduplication: Option<u8>,
        delay: u32,
    },
    Receive {
        dead: bool,
        limit: usize,
        visibility: u32,
    },
    Delete {
        handle: usize,
    },
    Hide {
        handle: usize,
        seconds: u32,
    },
    GiveBack {
        handle: usize,
    },
    Pass {
        millis: i64,
    },
    Sweep,
    Purge,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..3, proptest::option::of(0u8..4), prop_oneof![3 => Just(0u32), 1 => 1u32..20])
            .prop_map(|(group, deduplication, delay)| Step::Send { group, deduplication, delay }),
        8 => (any::<bool>(), 1usize..5, 0u32..30).prop_map(|(dead, limit, visibility)| Step::Receive { dead, limit, visibility }),
        5 => any::<usize>().prop_map(|handle| Step::Delete { handle }),
        2 => (any::<usize>(), 0u32..30).prop_map(|(handle, seconds)| Step::Hide { handle, seconds }),
        1 => any::<usize>().prop_map(|handle| Step::GiveBack { handle }),
        5 => prop_oneof![4 => 1i64..30_000, 1 => 1i64..400_000].prop_map(|millis| Step::Pass { millis }),
        2 => Just(Step::Sweep),
        1 => Just(Step::Purge),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Debug, Clone)]
struct Held {
    id: MessageId,
    sequence: usize,
    group: u8,
    sent: i64,
    visible: i64,
    delayed: bool,
    tries: u32,
    epoch: u32,
}

/// The main queue and its dead-letter queue, as they ought to be.
#[derive(Debug, Default)]
struct Model {
    fifo: bool,
    now: i64,
    sent: usize,
    queues: [Vec<Held>; 2],
    seen: HashMap<u8, (MessageId, i64)>,
    /// Every handle that was given out: where, and which message.
    handles: Vec<(usize, ReceiptHandle)>,
}

impl Model {
    fn send(
        &mut self,
        id: MessageId,
        group: u8,
        deduplication: Option<u8>,
        delay: u32,
    ) -> MessageId {
        if let (true, Some(key)) = (self.fifo, deduplication) {
            if let Some((before, expires)) = self.seen.get(&key)
                && *expires > self.now
            {
                return *before;
            }
            self.seen.insert(key, (id, self.now + DEDUPLICATION));
        }
        self.sent += 1;
        self.queues[0].push(Held {
            id,
            sequence: self.sent,
            group,
            sent: self.now,
            visible: self.now + i64::from(delay) * 1000,
            delayed: delay > 0,
            tries: 0,
            epoch: 0,
        });
        id
    }

    /// The order in which visible messages are looked at.
    fn order(&self, queue: usize) -> Vec<MessageId> {
        let mut all: Vec<&Held> = self.queues[queue].iter().collect();
        if !self.fifo {
            all.retain(|held| held.visible <= self.now);
            all.sort_by_key(|held| (held.visible, held.sequence));
            return all.iter().map(|held| held.id).collect();
        }
        all.sort_by_key(|held| held.sequence);
        let mut groups: Vec<(i64, usize, Vec<MessageId>)> = Vec::new();
        for group in 0..3 {
            let members: Vec<&&Held> = all.iter().filter(|held| held.group == group).collect();
            let Some(head) = members.first() else {
                continue;
            };
            let free = members.iter().take_while(|held| held.visible <= self.now);
            groups.push((
                head.visible,
                head.sequence,
                free.map(|held| held.id).collect(),
            ));
        }
        groups.sort();
        groups.into_iter().flat_map(|(_, _, ids)| ids).collect()
    }

    fn receive(&mut self, queue: usize, limit: usize, visibility: u32) -> Vec<MessageId> {
        let mut given = Vec::new();
        for id in self.order(queue) {
            if given.len() == limit {
                break;
            }
            let at = self.queues[queue]
                .iter()
                .position(|held| held.id == id)
                .unwrap();
            if self.queues[queue][at].sent + RETENTION <= self.now {
                self.queues[queue].remove(at);
            } else if queue == 0 && self.queues[0][at].tries >= MAX_RECEIVES {
                let mut held = self.queues[0].remove(at);
                held.tries = 0;
                held.visible = self.now;
                held.delayed = false;
                held.epoch += 1;
                if self.fifo {
                    held.sent = self.now;
                }
                self.queues[1].push(held);
            } else {
                let held = &mut self.queues[queue][at];
                held.tries += 1;
                held.epoch += 1;
                held.visible = self.now + i64::from(visibility) * 1000;
                held.delayed = false;
                given.push(id);
            }
        }
        given
    }

    fn held(&mut self, handle: usize) -> Option<(usize, ReceiptHandle, Option<&mut Held>)> {
        if self.handles.is_empty() {
            return None;
        }
        let (queue, handle) = self.handles[handle % self.handles.len()];
        let held = self.queues[queue]
            .iter_mut()
            .find(|held| held.id == handle.id && held.epoch == handle.epoch);
        Some((queue, handle, held))
    }

    fn counts(&self, queue: usize) -> QueueCounts {
        let mut counts = QueueCounts::default();
        for held in &self.queues[queue] {
            match (held.visible > self.now, held.delayed) {
                (false, _) => counts.visible += 1,
                (true, true) => counts.delayed += 1,
                (true, false) => counts.in_flight += 1,
            }
        }
        counts
    }
}

fn names(fifo: bool) -> [QueueName; 2] {
    let tail = if fifo { ".fifo" } else { "" };
    ["main", "dead"].map(|name| format!("{name}{tail}").parse().unwrap())
}

async fn create(state: &State, fifo: bool) {
    let [main, dead] = names(fifo);
    for name in [&dead, &main] {
        let redrive = (*name == main).then(|| Redrive {
            dead_letter: dead.clone(),
            max_receives: MAX_RECEIVES,
        });
        let attributes = QueueAttributes {
            retention: (RETENTION / 1000) as u32,
            redrive,
            ..QueueAttributes::default()
        };
        let (created, modified) = (Timestamp(0), Timestamp(0));
        let queue = Queue {
            name: name.clone(),
            created,
            modified,
            attributes,
            tags: BTreeMap::new(),
        };
        assert!(state.create_queue(queue).await.unwrap().1);
    }
}

async fn play(fifo: bool, steps: Vec<Step>) {
    let folder = tempfile::tempdir().unwrap();
    let mut state = State::open(folder.path()).await.unwrap();
    create(&state, fifo).await;
    let names = names(fifo);
    let mut model = Model {
        fifo,
        now: 1_000_000,
        ..Model::default()
    };
    for step in steps {
        let now = Timestamp(model.now);
        match step {
            Step::Send {
                group,
                deduplication,
                delay,
            } => {
                let delay = if fifo { 0 } else { delay };
                let id = MessageId::generate();
                let message = NewMessage {
                    id,
                    body: id.to_string(),
                    attributes: BTreeMap::new(),
                    trace: None,
                    sender: "root".into(),
                    group: fifo.then(|| format!("g{group}")),
                    // Without one of its own each message has another.
                    deduplication: fifo
                        .then(|| deduplication.map_or(id.to_string(), |key| key.to_string())),
                    digest: None,
                    delay: (!fifo).then_some(delay),
                    sent: now,
                    chain: Default::default(),
                };
                let accepted = state
                    .send_messages(names[0].clone(), vec![message])
                    .await
                    .unwrap();
                let expected = model.send(id, group, deduplication, delay);
                assert_eq!(accepted[0].as_ref().unwrap().id, expected);
            }
            Step::Receive {
                dead,
                limit,
                visibility,
            } => {
                let queue = usize::from(dead);
                let asked = Receive {
                    queue: names[queue].clone(),
                    limit,
                    bytes: usize::MAX,
                    visibility: Some(visibility),
                };
                let received = state.receive_messages(asked, now).await.unwrap();
                let given: Vec<MessageId> = received
                    .messages
                    .iter()
                    .map(|message| message.sent.id)
                    .collect();
                assert_eq!(given, model.receive(queue, limit, visibility));
                model.handles.extend(
                    received
                        .messages
                        .iter()
                        .map(|message| (queue, message.handle)),
                );
            }
            Step::Delete { handle } => {
                let fifo = model.fifo;
                let Some((queue, handle, held)) = model.held(handle) else {
                    continue;
                };
                let expired = held
                    .as_ref()
                    .is_some_and(|held| fifo && held.visible <= now.0);
                let gone = held.filter(|_| !expired).map(|held| held.id);
                model.queues[queue].retain(|held| Some(held.id) != gone);
                let deleted = state
                    .delete_messages(names[queue].clone(), vec![handle], now)
                    .await
                    .unwrap();
                assert_eq!(
                    deleted,
                    [if expired {
                        Deleted::Expired
                    } else {
                        Deleted::Done
                    }]
                );
            }
            Step::Hide { handle, seconds } => {
                let Some((queue, handle, held)) = model.held(handle) else {
                    continue;
                };
                let expected = match held {
                    None => Changed::Gone,
                    Some(held) if held.visible <= now.0 => Changed::NotInFlight,
                    Some(held) => {
                        held.visible = now.0 + i64::from(seconds) * 1000;
                        Changed::Done
                    }
                };
                let changed = state
                    .hide_messages(names[queue].clone(), vec![(handle, seconds)], now)
                    .await
                    .unwrap();
                assert_eq!(changed, [expected]);
            }
            Step::GiveBack { handle } => {
                let Some((queue, handle, held)) = model.held(handle) else {
                    continue;
                };
                if let Some(held) = held.filter(|held| held.visible > now.0) {
                    held.visible = now.0;
                    held.tries -= 1;
                }
                state
                    .give_back(names[queue].clone(), vec![handle], now, 0)
                    .await
                    .unwrap();
            }
            Step::Pass { millis } => model.now += millis,
            Step::Sweep => {
                for (queue, name) in names.iter().enumerate() {
                    while state.sweep_queue(name.clone(), now, 2).await.unwrap() > 0 {}
                    model.queues[queue].retain(|held| held.sent + RETENTION > now.0);
                }
                while state.sweep_rest(now, 2).await.unwrap() > 0 {}
            }
            Step::Purge => {
                state.purge_queue(names[0].clone()).await.unwrap();
                model.queues[0].clear();
                model.seen.clear();
            }
            Step::Reopen => {
                state.close().await;
                state = State::open(folder.path()).await.unwrap();
            }
        }
        let now = Timestamp(model.now);
        for (queue, name) in names.iter().enumerate() {
            let counts = state.queue_counts(name.clone(), now).await.unwrap();
            assert_eq!(counts, model.counts(queue), "{name}");
        }
    }
}

fn run(fifo: bool, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(play(fifo, steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_standard_queue_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..80)) {
        run(false, steps);
    }

    #[test]
    fn a_fifo_queue_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..80)) {
        run(true, steps);
    }
}
