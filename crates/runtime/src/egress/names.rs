//! Names: which addresses the instances of one function or service were told for which name.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Most addresses that are remembered for one function.
const MAX_ADDRESSES: usize = 4096;
/// Most names of one address.
const MAX_NAMES: usize = 16;
/// Programs keep an address longer than they were told to, …
const LEAST: Duration = Duration::from_secs(300);
/// … and forget it some day.
const MOST: Duration = Duration::from_secs(3600);

/// The names of every function and service that has instances.
#[derive(Default)]
pub(super) struct Registry {
    owners: Mutex<HashMap<String, Weak<Names>>>,
}

impl Registry {
    /// Those of one; the same for all of its instances, for as long as it has any.
    pub(super) fn of(&self, owner: &str) -> Arc<Names> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(names) = owners.get(owner).and_then(Weak::upgrade) {
            return names;
        }
        owners.retain(|_, names| names.strong_count() > 0);
        let names = Arc::default();
        owners.insert(owner.to_owned(), Arc::downgrade(&names));
        names
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Mutex<HashMap<Ipv4Addr, Vec<Known>>>,
}

#[derive(Debug)]
struct Known {
    name: Arc<str>,
    until: Instant,
}

impl Names {
    fn lock(&self) -> MutexGuard<'_, HashMap<Ipv4Addr, Vec<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `name` leads to `address` for `time` from now on; five minutes at least, an hour at most.
    pub(super) fn remember(&self, name: &str, address: Ipv4Addr, time: Duration) {
        let now = Instant::now();
        let until = now + time.clamp(LEAST, MOST);
        let mut known = self.lock();
        if known.len() >= MAX_ADDRESSES && !known.contains_key(&address) {
            make_room(&mut known, now);
        }
        let names = known.entry(address).or_default();
        if let Some(found) = names.iter_mut().find(|found| &*found.name == name) {
            found.until = found.until.max(until);
            return;
        }
        if names.len() >= MAX_NAMES {
            names.remove(0);
        }
        names.push(Known {
            name: name.into(),
            until,
        });
    }

    /// The names that lead to `address`.
    pub(super) fn of(&self, address: Ipv4Addr) -> Vec<Arc<str>> {
        let now = Instant::now();
        let known = self.lock();
        let names = known.get(&address).into_iter().flatten();
        let names = names.filter(|known| known.until > now);
        names.map(|known| known.name.clone()).collect()
    }
}

/// Forgets what is past, or else the address that would be forgotten first.
fn make_room(known: &mut HashMap<Ipv4Addr, Vec<Known>>, now: Instant) {
    known.retain(|_, names| {
        names.retain(|known| known.until > now);
        !names.is_empty()
    });
    if known.len() < MAX_ADDRESSES {
        return;
    }
    let last = |names: &[Known]| names.iter().map(|known| known.until).max();
    let first = known.iter().min_by_key(|(_, names)| last(names));
    if let Some(address) = first.map(|(address, _)| *address) {
        known.remove(&address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bounds() {
        let names = Names::default();
        let time = Duration::from_secs(600);
        for number in 0..u32::try_from(2 * MAX_ADDRESSES).unwrap_or_default() {
            names.remember("a.com", Ipv4Addr::from_bits(number), time);
        }
        assert_eq!(names.lock().len(), MAX_ADDRESSES);
        let last = Ipv4Addr::from_bits(9);
        for number in 0..2 * MAX_NAMES {
            names.remember(&format!("n{number}.com"), last, time);
        }
        let of_last = names.of(last);
        assert_eq!(of_last.len(), MAX_NAMES);
        assert!(of_last.iter().any(|name| &**name == "n31.com"));
    }

    #[test]
    fn a_name_told_again_is_known_once() {
        let names = Names::default();
        for seconds in [1, 4000, 1] {
            names.remember("a.com", Ipv4Addr::LOCALHOST, Duration::from_secs(seconds));
        }
        assert_eq!(names.of(Ipv4Addr::LOCALHOST).len(), 1);
        assert!(names.of(Ipv4Addr::BROADCAST).is_empty());
    }

    #[test]
    fn an_owner_has_one_memory_while_it_has_instances() {
        let registry = Registry::default();
        let first = registry.of("function:a");
        assert!(Arc::ptr_eq(&first, &registry.of("function:a")));
        assert!(!Arc::ptr_eq(&first, &registry.of("function:b")));
        first.remember("a.com", Ipv4Addr::LOCALHOST, LEAST);
        drop(first);
        assert!(registry.of("function:a").of(Ipv4Addr::LOCALHOST).is_empty());
    }
}
