//! Random lives of events against a model of what the store promises: none is lost, each has one
//! state, an end state is for good, and nobody settles under a lease that was lost.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use model::{EventFilter, EventId, EventState, NewEvent, Target, Timestamp};
use proptest::prelude::*;
use state::{EventCounts, Leased, Retention, Settlement, State, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;
use tempfile::TempDir;

/// One step. Numbers choose among what there is at that moment.
#[derive(Debug, Clone)]
enum Step {
    Put {
        target: usize,
        count: usize,
        delay: i64,
    },
    PutAgain {
        event: usize,
    },
    Lease {
        target: usize,
        limit: u32,
        length: i64,
    },
    Settle {
        lease: usize,
        verdict: usize,
        delay: i64,
    },
    Pass {
        time: i64,
    },
    /// The next partition begins.
    Part,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any = any::<usize>;
    let step = prop_oneof![
        3 => (0..3_usize, 1..4_usize, 0..10_i64)
            .prop_map(|(target, count, delay)| Step::Put { target, count, delay }),
        1 => any().prop_map(|event| Step::PutAgain { event }),
        6 => (0..3_usize, 0..6_u32, 1..20_i64)
            .prop_map(|(target, limit, length)| Step::Lease { target, limit, length }),
        6 => (any(), 0..4_usize, 0..20_i64)
            .prop_map(|(lease, verdict, delay)| Step::Settle { lease, verdict, delay }),
        4 => (1..30_i64).prop_map(|time| Step::Pass { time }),
        1 => Just(Step::Part),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..80)
}

/// What the store should hold of one event.
#[derive(Debug, Clone)]
struct Expected {
    accepted: NewEvent,
    state: EventState,
    attempts: u32,
    epoch: u64,
    not_before: i64,
    due: Option<i64>,
}

/// The store, the model beside it, and the clock of both.
struct World {
    folder: TempDir,
    state: State,
    events: Vec<Expected>,
    leases: Vec<Leased>,
    now: i64,
    /// Times that the store was asked for the next partition.
    parts: i64,
}

fn targets() -> Vec<Target> {
    let service = |path: &str| {
        let (name, path) = ("catalog".parse().unwrap(), path.to_owned());
        Target::Service { name, path }
    };
    let function = |name: &str| Target::Function {
        name: name.parse().unwrap(),
    };
    vec![function("f"), service("/a"), service("/b")]
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).await.unwrap();
        let (events, leases) = (Vec::new(), Vec::new());
        Self {
            folder,
            state,
            events,
            leases,
            now: Timestamp::now().0,
            parts: 0,
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Put {
                target,
                count,
                delay,
            } => self.put(target, count, delay).await,
            Step::PutAgain { event } if !self.events.is_empty() => {
                let present = &self.events[event % self.events.len()].accepted;
                let again = NewEvent {
                    subject: "again".into(),
                    ..present.clone()
                };
                self.state.put_events(vec![again]).await.unwrap();
            }
            Step::Lease {
                target,
                limit,
                length,
            } => self.lease(target, limit, length).await,
            Step::Settle {
                lease,
                verdict,
                delay,
            } if !self.leases.is_empty() => {
                self.settle(lease % self.leases.len(), verdict, delay).await;
            }
            Step::Pass { time } => self.now += time,
            Step::Part => self.part().await,
            Step::Reopen => self.reopen().await,
            Step::PutAgain { .. } | Step::Settle { .. } => {}
        }
    }

    async fn put(&mut self, target: usize, count: usize, delay: i64) {
        let new = |_| NewEvent {
            id: EventId::generate(),
            target: targets()[target].clone(),
            source: "test".into(),
            kind: "test".into(),
            subject: "first".into(),
            payload: Bytes::from_static(b"{}"),
            accepted: Timestamp(self.now + delay),
            cause: None,
            replay_of: None,
            delivery: Default::default(),
        };
        let events: Vec<NewEvent> = (0..count).map(new).collect();
        self.state.put_events(events.clone()).await.unwrap();
        self.events
            .extend(events.into_iter().map(|accepted| Expected {
                state: EventState::Waiting,
                attempts: 0,
                epoch: 0,
                not_before: accepted.accepted.0,
                due: Some(accepted.accepted.0),
                accepted,
            }));
    }

    async fn lease(&mut self, target: usize, limit: u32, length: i64) {
        let (target, now) = (&targets()[target], self.now);
        let until = Timestamp(now + length);
        let mut due: Vec<&mut Expected> = self
            .events
            .iter_mut()
            .filter(|event| event.accepted.target == *target)
            .filter(|event| event.due.is_some_and(|due| due <= now))
            .collect();
        // Stable: of those due at the same time the one accepted first comes first.
        due.sort_by_key(|event| event.due);
        due.truncate(limit as usize);
        let leased = self
            .state
            .lease_events(target, limit, Timestamp(now), until)
            .await
            .unwrap();
        let ids: Vec<_> = leased
            .iter()
            .map(|leased| leased.event.accepted.id)
            .collect();
        assert_eq!(
            ids,
            due.iter()
                .map(|event| event.accepted.id)
                .collect::<Vec<_>>()
        );
        for event in due {
            event.state = EventState::Leased;
            event.epoch += 1;
            event.due = Some(until.0);
        }
        self.leases.extend(leased);
    }

    async fn settle(&mut self, lease: usize, verdict: usize, delay: i64) {
        let lease = self.leases[lease].event.clone();
        let not_before = Timestamp(self.now + delay);
        let verdict = [
            Verdict::Ack,
            Verdict::Bury { error: "e".into() },
            Verdict::Retry {
                not_before,
                error: "e".into(),
            },
            Verdict::Postpone {
                not_before,
                reason: "e".into(),
            },
        ][verdict]
            .clone();
        let (id, epoch) = (lease.accepted.id, lease.epoch);
        let at = Timestamp(self.now);
        let settlement = Settlement {
            id,
            epoch,
            verdict: verdict.clone(),
            run: None,
            at,
        };
        let held = self.state.settle_event(settlement).await.unwrap();
        let event = self
            .events
            .iter_mut()
            .find(|event| event.accepted.id == id)
            .unwrap();
        assert_eq!(
            held,
            event.state == EventState::Leased && event.epoch == epoch
        );
        if !held {
            return;
        }
        let again = matches!(verdict, Verdict::Retry { .. } | Verdict::Postpone { .. });
        // No record of an attempt comes with these settlements, so an end counts none.
        event.attempts += u32::from(matches!(verdict, Verdict::Retry { .. }));
        event.due = again.then_some(not_before.0);
        if again {
            event.not_before = not_before.0;
        }
        event.state = match verdict {
            Verdict::Ack => EventState::Succeeded,
            Verdict::Bury { .. } => EventState::Dead,
            Verdict::Expire { .. } => EventState::Expired,
            _ => EventState::Waiting,
        };
    }

    /// Nothing may be seen of it. What is eight of these lengths old would be dropped.
    async fn part(&mut self) {
        const LENGTH: u64 = 100_000;
        if self.parts == 7 {
            return;
        }
        self.parts += 1;
        let keep = Retention {
            age: Duration::from_secs(8 * LENGTH),
            bytes: 1 << 30,
        };
        let later = Duration::from_secs(LENGTH) * self.parts as u32;
        let now = Timestamp::now().after(later);
        let tended = self.state.tend_partitions(keep, now).await.unwrap();
        assert_eq!(tended.dropped, 0);
    }

    async fn reopen(&mut self) {
        self.state.close().await;
        let before = Timestamp::now();
        self.state = State::open(self.folder.path()).await.unwrap();
        for event in self
            .events
            .iter_mut()
            .filter(|event| event.state == EventState::Leased)
        {
            let kept = self.state.get_event(event.accepted.id).await.unwrap();
            assert!((before..=Timestamp::now()).contains(&kept.not_before));
            event.state = EventState::Waiting;
            event.epoch += 1;
            event.not_before = kept.not_before.0;
            event.due = Some(kept.not_before.0);
        }
    }

    async fn check(&self) {
        let filter = EventFilter {
            limit: 1000,
            ..EventFilter::default()
        };
        let mut kept = self.state.list_events(filter).await.unwrap();
        kept.reverse();
        assert_eq!(kept.len(), self.events.len(), "every accepted event, once");
        for (kept, event) in kept.iter().zip(&self.events) {
            assert_eq!(kept.accepted, event.accepted);
            let facts = (kept.state, kept.attempts, kept.epoch, kept.not_before.0);
            assert_eq!(
                facts,
                (event.state, event.attempts, event.epoch, event.not_before)
            );
            assert_eq!(kept.ended.is_some(), kept.state.is_end());
        }
        self.check_counts().await;
        self.check_due().await;
    }

    async fn check_counts(&self) {
        let mut expected: BTreeMap<String, EventCounts> = BTreeMap::new();
        for event in &self.events {
            let counts = expected.entry(event.accepted.target.key()).or_default();
            *match event.state {
                EventState::Waiting => &mut counts.waiting,
                EventState::Leased => &mut counts.leased,
                EventState::Succeeded => &mut counts.succeeded,
                EventState::Dead => &mut counts.dead,
                EventState::Expired => &mut counts.expired,
                EventState::Cancelled => &mut counts.cancelled,
            } += 1;
        }
        let counts: BTreeMap<_, _> = self
            .state
            .count_events()
            .await
            .unwrap()
            .into_iter()
            .collect();
        assert_eq!(counts, expected);
    }

    async fn check_due(&self) {
        let mut oldest: BTreeMap<String, i64> = BTreeMap::new();
        let mut next = None;
        for event in &self.events {
            match event.due {
                Some(due) if due <= self.now => {
                    let first = oldest.entry(event.accepted.target.key()).or_insert(due);
                    *first = due.min(*first);
                }
                Some(due) => next = Some(next.map_or(due, |next: i64| next.min(due))),
                None => {}
            }
        }
        let now = Timestamp(self.now);
        let due = self.state.due_targets(now).await.unwrap();
        let due: BTreeMap<_, _> = due
            .into_iter()
            .map(|(target, at)| (target.key(), at.0))
            .collect();
        assert_eq!(due, oldest);
        assert_eq!(self.state.next_due(now).await.unwrap(), next.map(Timestamp));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn events_live_as_promised(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.step(step).await;
                world.check().await;
            }
            world.state.close().await;
        });
    }
}
