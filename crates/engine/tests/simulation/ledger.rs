//! What those outside know: what they were promised, what instances were asked, and the story of both.

use engine::Error;
use model::{Ending, EventId, InstanceId, Kind, RequestId, Target, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Something happened that must never happen.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Which invariant, as the documents name it.
    pub invariant: &'static str,
    /// What was seen.
    pub seen: String,
}

/// One call that an instance was handed for a lease of an event.
pub struct Called {
    pub began: Timestamp,
    /// When it ended, and whether well; `None` as long as it is under way.
    pub ended: Option<(Timestamp, bool)>,
}

/// An event that was sent under a name of its sender's, perhaps several times.
pub struct Named {
    pub target: Target,
    /// The ids under which it was sent.
    pub tried: BTreeSet<EventId>,
    /// The id that the server answered.
    pub answered: Option<EventId>,
}

#[derive(Default)]
pub struct Book {
    /// What happened, line by line. The same for the same seed.
    pub trace: String,
    /// Milliseconds since the beginning of the simulation.
    start: i64,
    ordinals: BTreeMap<EventId, usize>,
    instances: BTreeMap<InstanceId, usize>,
    /// Events that were sent and not answered: they may be there or not, all of a batch or none.
    pub unsure: BTreeMap<EventId, usize>,
    batches: usize,
    /// Events that were answered with a success: they must be there from now on.
    pub promised: BTreeMap<EventId, Target>,
    /// Events that were refused: they must not be there.
    pub refused: BTreeSet<EventId>,
    pub named: BTreeMap<String, Named>,
    /// By event and epoch of the lease.
    pub calls: BTreeMap<(EventId, u64), Called>,
    /// Those under way.
    pub requests: BTreeMap<RequestId, (EventId, u64)>,
    /// Of each function: calls under way that somebody waits for.
    pub waiting: BTreeMap<String, usize>,
    /// Of each instance: its function and revision.
    pub owners: BTreeMap<InstanceId, (String, u64)>,
    /// Of each function's revisions: most instances.
    pub most: BTreeMap<(String, u64), usize>,
    /// The first invariant that was broken.
    pub broken: Option<Broken>,
    /// No fault happens any more.
    pub calm: bool,
    /// A server is alive; what happens while one is being torn down is nothing.
    alive: bool,
}

/// A cheap handle.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

impl Ledger {
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, line: &str) {
        self.book().note(line);
    }

    pub fn begin_life(&self) {
        let mut book = self.book();
        book.alive = true;
        if book.start == 0 {
            book.start = Timestamp::now().0;
        }
    }

    /// The server is gone: what was under way is cut off.
    pub fn end_life(&self) {
        let mut book = self.book();
        book.alive = false;
        let now = Timestamp::now();
        for called in book.calls.values_mut() {
            called.ended.get_or_insert((now, false));
        }
        book.requests.clear();
        book.waiting.clear();
    }

    /// Events are about to be sent, all or none.
    pub fn send(&self, ids: &[EventId]) {
        let mut book = self.book();
        book.batches += 1;
        let batch = book.batches;
        book.unsure.extend(ids.iter().map(|id| (*id, batch)));
    }

    /// They were answered.
    pub fn answer(&self, events: &[(EventId, Target)], answer: Result<(), &Error>) {
        let mut book = self.book();
        let names: Vec<_> = events.iter().map(|(id, _)| book.name(*id)).collect();
        let names = names.join(" ");
        match answer {
            Ok(()) => {
                book.note(&format!("accepted {names}"));
                for (id, target) in events {
                    book.unsure.remove(id);
                    book.promised.insert(*id, target.clone());
                }
            }
            Err(error) => {
                book.note(&format!("refused {names}: {error}"));
                if error.kind() == Kind::NotFound {
                    for (id, _) in events {
                        book.unsure.remove(id);
                        book.refused.insert(*id);
                    }
                }
            }
        }
    }

    /// An instance was handed a call.
    pub fn called(&self, event: EventId, epoch: u64, request: &RequestId, plan: &str) {
        let mut book = self.book();
        if !book.alive {
            return;
        }
        let name = book.name(event);
        book.note(&format!("call {name} epoch {epoch}: {plan}"));
        book.requests.insert(request.clone(), (event, epoch));
        let called = Called {
            began: Timestamp::now(),
            ended: None,
        };
        if book.calls.insert((event, epoch), called).is_some() {
            book.broken("one-call-per-lease", || {
                format!("{name} was called twice in epoch {epoch}")
            });
        }
    }

    /// A call ended.
    pub fn ended(&self, request: &RequestId, ending: Option<&Ending>) {
        let mut book = self.book();
        if !book.alive {
            return;
        }
        let Some((event, epoch)) = book.requests.remove(request) else {
            return;
        };
        let name = book.name(event);
        let word = ending.map_or("cut off", Ending::word);
        book.note(&format!("end {name} epoch {epoch}: {word}"));
        let well = ending.is_some_and(Ending::succeeded);
        if let Some(called) = book.calls.get_mut(&(event, epoch)) {
            called.ended = Some((Timestamp::now(), well));
        }
    }
}

impl Book {
    pub fn note(&mut self, line: &str) {
        if self.alive {
            let at = Timestamp::now().0 - self.start;
            let _ = writeln!(self.trace, "[{:>9}.{:03}] {line}", at / 1000, at % 1000);
        }
    }

    /// Says what was broken, if it is the first.
    pub fn broken(&mut self, invariant: &'static str, seen: impl FnOnce() -> String) {
        if self.broken.is_none() {
            let seen = seen();
            self.note(&format!("BROKEN {invariant}: {seen}"));
            self.broken = Some(Broken { invariant, seen });
        }
    }

    /// A short name for an event: ids are long.
    pub fn name(&mut self, id: EventId) -> String {
        let next = self.ordinals.len();
        format!("e{}", self.ordinals.entry(id).or_insert(next))
    }

    pub fn instance(&mut self, id: &InstanceId) -> String {
        let next = self.instances.len();
        format!("i{}", self.instances.entry(id.clone()).or_insert(next))
    }
}
