#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use proptest::prelude::*;

fn name(text: &str) -> FunctionName {
    text.parse().unwrap()
}

fn now(places: &Places, of: &FunctionName) -> Option<Place> {
    match places.ask(of, PoolId(0)) {
        Asked::Now(place) => Some(place),
        Asked::Later(_) => None,
    }
}

fn later(places: &Places, of: &FunctionName) -> oneshot::Receiver<Place> {
    match places.ask(of, PoolId(0)) {
        Asked::Later(receiver) => receiver,
        Asked::Now(_) => panic!("there was one at once"),
    }
}

#[test]
fn what_is_reserved_is_kept_and_no_more() {
    let places = Places::new(4);
    let (a, b) = (name("a"), name("b"));
    places.reserve(&a, Some(2));
    let shared: Vec<_> = std::iter::from_fn(|| now(&places, &b)).collect();
    assert_eq!(shared.len(), 2, "two of four are kept for a");
    let own: Vec<_> = std::iter::from_fn(|| now(&places, &a)).collect();
    assert_eq!(own.len(), 2);
    drop(shared);
    assert!(
        now(&places, &a).is_none(),
        "it has no more, though others are free"
    );
    places.reserve(&a, None);
    assert!(now(&places, &a).is_some());
}

#[test]
fn a_free_place_goes_to_whoever_has_the_fewest() {
    let places = Places::new(3);
    let (a, b) = (name("a"), name("b"));
    let mut held: Vec<_> = std::iter::from_fn(|| now(&places, &a)).collect();
    let mut first = later(&places, &a);
    let mut second = later(&places, &b);
    held.pop();
    assert!(first.try_recv().is_err(), "a asked first, and has two");
    let place = second.try_recv().unwrap();
    held.pop();
    assert!(first.try_recv().is_ok());
    drop(place);
    assert!(!places.is_short());
}

#[test]
fn a_promise_that_nobody_waits_for_is_the_next_ones() {
    let places = Places::new(1);
    let (a, b) = (name("a"), name("b"));
    let held = now(&places, &a);
    drop(later(&places, &b));
    let mut waiting = later(&places, &b);
    drop(held);
    let place = waiting.try_recv().unwrap();
    drop(place);
    // One that goes away with its place in hand gives it back too.
    let held = now(&places, &a);
    let waiting = later(&places, &b);
    drop(held);
    drop(waiting);
    assert!(now(&places, &a).is_some());
}

#[test]
fn room_is_made_once_for_each_who_waits() {
    let places = Places::new(4);
    let (a, b) = (name("a"), name("b"));
    let mut held: Vec<_> = std::iter::from_fn(|| now(&places, &a)).collect();
    assert!(!places.is_wanted_back(&a, false), "nobody waits");
    let waiting = later(&places, &b);
    assert_eq!(places.missing(), 1);
    assert!(!places.is_wanted_back(&b, false), "only b itself does");
    assert!(places.is_wanted_back(&a, false));
    assert_eq!(places.missing(), 0, "one is on its way out");
    assert!(!places.is_wanted_back(&a, false), "so no second one goes");
    held.pop();
    drop(waiting);
}

#[test]
fn who_needs_its_places_yields_down_to_its_share() {
    let places = Places::new(4);
    let (a, b) = (name("a"), name("b"));
    let mut held: Vec<_> = std::iter::from_fn(|| now(&places, &a)).collect();
    let mut waiting: Vec<_> = (0..4).map(|_| later(&places, &b)).collect();
    let mut yielded = 0;
    while places.is_wanted_back(&a, true) {
        held.pop();
        yielded += 1;
    }
    assert_eq!(yielded, 2, "two each");
    let got = waiting.iter_mut().filter_map(|one| one.try_recv().ok());
    assert_eq!(got.collect::<Vec<_>>().len(), 2);
}

proptest! {
    /// Whatever is asked for, given back and reserved: no bound is broken, and nobody waits for what
    /// is free.
    #[test]
    fn the_account_is_even(
        most in 1usize..6,
        steps in proptest::collection::vec((0usize..4, 0usize..3, 0u32..4), 0..80),
    ) {
        let places = Places::new(most);
        let names = ["a", "b", "c"].map(name);
        let mut held: Vec<(usize, Place)> = Vec::new();
        let mut waiting: Vec<(usize, oneshot::Receiver<Place>)> = Vec::new();
        for (step, who, count) in steps {
            match step {
                0 => match places.ask(&names[who], PoolId(0)) {
                    Asked::Now(place) => held.push((who, place)),
                    Asked::Later(receiver) => waiting.push((who, receiver)),
                },
                1 if !held.is_empty() => drop(held.swap_remove(count as usize % held.len())),
                2 if !waiting.is_empty() => drop(waiting.swap_remove(count as usize % waiting.len())),
                3 => places.reserve(&names[who], (count > 0).then_some(count)),
                _ => {}
            }
            waiting.retain_mut(|(who, receiver)| match receiver.try_recv() {
                Ok(place) => {
                    held.push((*who, place));
                    false
                }
                Err(_) => true,
            });
            prop_assert!(held.len() <= most);
            let account = places.account();
            let books: usize = account.holders.values().map(|holder| holder.held).sum();
            prop_assert_eq!(books, held.len());
            for (who, _) in &waiting {
                prop_assert!(!account.may_have(&names[*who], most), "it waits for a free place");
            }
        }
        drop(waiting);
        drop(held);
        names.iter().for_each(|name| places.reserve(name, None));
        prop_assert!(places.account().holders.is_empty());
        prop_assert!(!places.is_short());
    }
}
