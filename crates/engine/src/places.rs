//! The machine's places for instances of functions: who may have one, and who gives one up.
//!
//! A function with a reservation has its places for itself; all others share what reservations leave.
//! A place that becomes free goes to the function that holds the fewest, then to the one that waited
//! longest.

use crate::share;
use model::FunctionName;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The places of one machine. A cheap handle.
#[derive(Clone)]
pub(crate) struct Places {
    shared: Arc<Shared>,
}

struct Shared {
    most: usize,
    account: Mutex<Account>,
    /// How many wait, to be read without the lock.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Account {
    holders: HashMap<FunctionName, Holder>,
    queue: VecDeque<Want>,
}

#[derive(Default)]
struct Holder {
    held: usize,
    reserved: Option<usize>,
    /// Of those held, instances that are being stopped to make room.
    leaving: usize,
}

/// Tells pools apart: each version of a function has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PoolId(u64);

impl PoolId {
    /// One that no other pool of this process has.
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A start that waits for a place.
struct Want {
    name: FunctionName,
    pool: PoolId,
    sender: oneshot::Sender<Place>,
}

/// The answer to a start that asks for a place.
pub(crate) enum Asked {
    Now(Place),
    Later(oneshot::Receiver<Place>),
}

/// A place that is held. Dropped, the next one gets it.
pub(crate) struct Place {
    places: Places,
    name: Option<FunctionName>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.places.free(&name);
        }
    }
}

impl Places {
    /// `most` places, at least one.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                most: most.max(1),
                account: Mutex::default(),
                waiting: AtomicUsize::new(0),
            }),
        }
    }

    /// How many there are.
    pub(crate) fn most(&self) -> usize {
        self.shared.most
    }

    /// Keeps so many places for a function from now on, or none in particular.
    pub(crate) fn reserve(&self, name: &FunctionName, reserved: Option<u32>) {
        let mut account = self.account();
        let holder = account.holders.entry(name.clone()).or_default();
        holder.reserved = reserved.map(|reserved| reserved as usize);
        account.forget(name);
        self.serve(&mut account);
    }

    /// A place for an instance of a function, or the promise of one.
    pub(crate) fn ask(&self, name: &FunctionName, pool: PoolId) -> Asked {
        let mut account = self.account();
        if account.may_have(name, self.shared.most) {
            return Asked::Now(self.grant(&mut account, name));
        }
        let (sender, receiver) = oneshot::channel();
        account.queue.push_back(Want {
            name: name.clone(),
            pool,
            sender,
        });
        self.count(&account);
        Asked::Later(receiver)
    }

    /// Whether anybody waits for a place.
    pub(crate) fn is_short(&self) -> bool {
        self.shared.waiting.load(Ordering::Acquire) > 0
    }

    /// Whether a function should stop an instance that has no call, because another one waits for a
    /// place. One that has calls waiting itself (`needed`) yields only what is more than its share.
    /// If so, the instance is counted as leaving.
    pub(crate) fn is_wanted_back(&self, name: &FunctionName, needed: bool) -> bool {
        let mut account = self.account();
        if account.is_reserved(name) || account.missing(Some(name)) == 0 {
            return false;
        }
        let held = account.holders.get(name);
        let held = held.map_or(0, |holder| holder.held - holder.leaving.min(holder.held));
        let fewest = account.wants(Some(name));
        let fewest = fewest.map(|want| account.held(&want.name)).min();
        let goes = !needed || fewest.is_some_and(|fewest| share::yields(held, fewest));
        if goes {
            account.leave(name, 1);
        }
        goes
    }

    /// Whether another version of the same function waits for a place, which an instance of this one
    /// should leave to it: the versions of a function take turns. If so, it is counted as leaving.
    pub(crate) fn is_siblings_turn(&self, name: &FunctionName, pool: PoolId) -> bool {
        let mut account = self.account();
        let waits =
            |want: &&Want| want.name == *name && want.pool != pool && !want.sender.is_closed();
        let waiting = account.queue.iter().filter(waits).count();
        let leaving = account.holders.get(name).map_or(0, |holder| holder.leaving);
        let goes = waiting > leaving;
        if goes {
            account.leave(name, 1);
        }
        goes
    }

    /// How many instances of others are still to be stopped for those who wait.
    pub(crate) fn missing(&self) -> usize {
        self.account().missing(None)
    }

    /// Whether other functions may be given this one's places.
    pub(crate) fn is_shared(&self, name: &FunctionName) -> bool {
        !self.account().is_reserved(name)
    }

    /// Instances of a function are being stopped to make room.
    pub(crate) fn leave(&self, name: &FunctionName, count: usize) {
        self.account().leave(name, count);
    }

    fn grant(&self, account: &mut Account, name: &FunctionName) -> Place {
        account.holders.entry(name.clone()).or_default().held += 1;
        Place {
            places: self.clone(),
            name: Some(name.clone()),
        }
    }

    fn free(&self, name: &FunctionName) {
        let mut account = self.account();
        account.release(name);
        self.serve(&mut account);
    }

    /// Gives what is free to those who wait.
    fn serve(&self, account: &mut Account) {
        while let Some(want) = account.next(self.shared.most) {
            let place = self.grant(account, &want.name);
            if let Err(mut place) = want.sender.send(place) {
                // Who waited went away. The account is locked: it is set right here, not by `drop`.
                place.name = None;
                account.release(&want.name);
            }
        }
        self.count(account);
    }

    fn count(&self, account: &Account) {
        let waiting = account.queue.len();
        self.shared.waiting.store(waiting, Ordering::Release);
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        let account = self.shared.account.lock();
        account.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn held(&self, name: &FunctionName) -> usize {
        self.holders.get(name).map_or(0, |holder| holder.held)
    }

    fn is_reserved(&self, name: &FunctionName) -> bool {
        let holder = self.holders.get(name);
        holder.is_some_and(|holder| holder.reserved.is_some())
    }

    /// Whether a function may have one more of `most` places.
    fn may_have(&self, name: &FunctionName, most: usize) -> bool {
        let (mut held, mut shared, mut reserved) = (0, 0, 0);
        for holder in self.holders.values() {
            held += holder.held;
            match holder.reserved {
                Some(places) => reserved += places,
                None => shared += holder.held,
            }
        }
        let own = self.holders.get(name).and_then(|holder| holder.reserved);
        held < most
            && match own {
                Some(places) => self.held(name) < places,
                None => shared < most.saturating_sub(reserved),
            }
    }

    /// Those who still wait and whom a shared place would help, but for one function.
    fn wants(&self, but: Option<&FunctionName>) -> impl Iterator<Item = &Want> {
        let helped = |name: &FunctionName| {
            let holder = self.holders.get(name);
            let full = |holder: &Holder| holder.reserved.is_some_and(|most| holder.held >= most);
            !holder.is_some_and(full)
        };
        self.queue.iter().filter(move |want| {
            !want.sender.is_closed() && but != Some(&want.name) && helped(&want.name)
        })
    }

    /// How many wait beyond those for whom room is being made.
    fn missing(&self, but: Option<&FunctionName>) -> usize {
        let leaving: usize = self.holders.values().map(|holder| holder.leaving).sum();
        self.wants(but).count().saturating_sub(leaving)
    }

    /// Takes the one out of the queue that gets the next place.
    fn next(&mut self, most: usize) -> Option<Want> {
        self.queue.retain(|want| !want.sender.is_closed());
        let waiting = self.queue.iter().enumerate();
        let mut able = waiting.filter(|(_, want)| self.may_have(&want.name, most));
        let first = able.next()?;
        let fewest = able.fold(first, |best, other| {
            let fewer = self.held(&other.1.name) < self.held(&best.1.name);
            if fewer { other } else { best }
        });
        let at = fewest.0;
        self.queue.remove(at)
    }

    fn leave(&mut self, name: &FunctionName, count: usize) {
        if let Some(holder) = self.holders.get_mut(name) {
            holder.leaving = (holder.leaving + count).min(holder.held);
        }
    }

    fn release(&mut self, name: &FunctionName) {
        if let Some(holder) = self.holders.get_mut(name) {
            holder.held = holder.held.saturating_sub(1);
            holder.leaving = holder.leaving.saturating_sub(1);
        }
        self.forget(name);
    }

    /// A function that has nothing needs no entry.
    fn forget(&mut self, name: &FunctionName) {
        let empty = |holder: &Holder| holder.held == 0 && holder.reserved.is_none();
        if self.holders.get(name).is_some_and(empty) {
            self.holders.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
