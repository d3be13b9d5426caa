//! How the instances behave: they are ready late or never, answer, fail, crash, hang, and answer when
//! nobody waits any more.

use crate::ledger::Ledger;
use crate::plan::{Faults, Function};
use bytes::Bytes;
use model::{Ending, Invocation, Owner};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use runtime::{Fake, FakeStart, InstanceSpec};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Milliseconds after which a late answer comes: just longer than a lease.
pub const LATE: std::ops::RangeInclusive<u64> = 1_890_000..=1_905_000;

/// The runtime of one life of the server.
pub fn fake(seed: u64, functions: &[Function], ledger: &Ledger) -> Fake {
    let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
    let faults = |functions: &[Function]| -> Vec<(String, Faults)> {
        let each = functions.iter();
        each.map(|one| (one.name.to_string(), one.faults)).collect()
    };
    let (starts, calls) = (faults(functions), faults(functions));
    let (script, book) = (random.clone(), ledger.clone());
    let on_start = move |spec: &InstanceSpec| {
        let Owner::Function { name, revision, .. } = &spec.owner else {
            panic!("there are only functions here");
        };
        let revision = *revision;
        let faults = of(&starts, name.as_str());
        let start = start(&mut script.lock().unwrap(), faults, book.book().calm);
        let mut book = book.book();
        let instance = book.instance(&spec.id);
        let owner = (name.to_string(), revision);
        book.owners.insert(spec.id.clone(), owner);
        let word = start.fails.as_ref().map_or("ready", Ending::word);
        let takes = start.takes.as_millis();
        book.note(&format!("start {instance} of {name}: {word} in {takes} ms"));
        start
    };
    let book = ledger.clone();
    let on_call = move |invocation: &Invocation| {
        let name = invocation.function_arn.rsplit(':').next().unwrap();
        let faults = of(&calls, name);
        let calm = book.book().calm;
        let (takes, ending, lives) = call(&mut random.lock().unwrap(), faults, calm, invocation);
        let plan = format!("{} in {} ms", ending.word(), takes.as_millis());
        if let Some(event) = &invocation.event {
            let id = event.accepted.id;
            book.called(id, event.epoch, &invocation.request_id, &plan);
        }
        (takes, ending, lives)
    };
    let fake = Fake::new(on_start, on_call);
    fake.allow_late();
    let book = ledger.clone();
    fake.on_end(move |request, ending| book.ended(request, ending));
    fake
}

fn of(all: &[(String, Faults)], name: &str) -> Faults {
    all.iter().find(|(known, _)| known == name).unwrap().1
}

fn start(random: &mut StdRng, faults: Faults, calm: bool) -> FakeStart {
    let drawn = random.random_range(0..100);
    let fails = match drawn {
        _ if calm => None,
        _ if drawn < faults.start_fails => Some(Ending::InitFailed {
            error_type: "ImportError".into(),
            message: "no module".into(),
        }),
        _ if drawn < faults.start_fails + faults.start_missing => Some(Ending::Unavailable {
            reason: "no sandbox".into(),
        }),
        _ => None,
    };
    FakeStart {
        takes: Duration::from_millis(random.random_range(0..=faults.start)),
        fails,
    }
}

fn call(
    random: &mut StdRng,
    faults: Faults,
    calm: bool,
    invocation: &Invocation,
) -> (Duration, Ending, bool) {
    let takes = Duration::from_millis(random.random_range(0..=faults.call));
    let limit = Duration::from_millis(invocation.timeout);
    let well = Ending::Succeeded {
        payload: Bytes::from_static(b"{}"),
        http: None,
    };
    let failed = Ending::Failed {
        error_type: "Error".into(),
        message: "it failed".into(),
        payload: Bytes::new(),
    };
    let crashed = Ending::Crashed {
        how: "exit status 1".into(),
    };
    let timed_out = Ending::TimedOut {
        after: invocation.timeout,
    };
    let drawn = random.random_range(0..100);
    let reach = |faults: &[u32]| drawn < faults.iter().sum::<u32>();
    let Faults {
        late,
        fails,
        crashes,
        hangs,
        ..
    } = faults;
    if calm {
        // Where answers are late, the attempts after them take long enough to be met by one.
        let long = faults.late > 0;
        let takes = if long {
            limit.mul_f64(f64::from(drawn) / 100.0)
        } else {
            takes.min(limit)
        };
        (takes, well, true)
    } else if reach(&[late]) {
        let late = Duration::from_millis(random.random_range(LATE));
        match random.random_range(0..3) {
            0 => (late, failed, true),
            1 => (late, crashed, false),
            _ => (late, well, true),
        }
    } else if reach(&[late, fails]) {
        (takes.min(limit), failed, true)
    } else if reach(&[late, fails, crashes]) {
        (takes.min(limit), crashed, false)
    } else if takes > limit || reach(&[late, fails, crashes, hangs]) {
        (limit, timed_out, false)
    } else {
        (takes, well, true)
    }
}
