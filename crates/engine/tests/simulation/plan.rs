//! What happens in one run, drawn from its seed: the functions, the server's settings, and when what
//! is sent, changed, killed.

use engine::Options;
use model::{FunctionName, Scaling, Target};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

/// Milliseconds in which things are sent and go wrong.
const BUSY: u64 = 60_000;

/// How often what goes wrong, each of 100.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    pub start_fails: u32,
    pub start_missing: u32,
    pub fails: u32,
    pub crashes: u32,
    pub hangs: u32,
    /// It answers long after its time limit, and after its lease.
    pub late: u32,
    /// Longest start, in milliseconds.
    pub start: u64,
    /// Longest usual call, in milliseconds.
    pub call: u64,
}

#[derive(Debug, Clone)]
pub struct Function {
    pub name: FunctionName,
    pub scaling: Scaling,
    pub fresh: bool,
    /// Milliseconds.
    pub timeout: u64,
    pub max_attempts: u32,
    pub base_delay: u64,
    pub max_age: u64,
    pub faults: Faults,
}

impl Function {
    pub fn target(&self) -> Target {
        Target::Function {
            name: self.name.clone(),
        }
    }
}

/// What is sent.
#[derive(Debug, Clone)]
pub enum Sending {
    /// So many asynchronous invocations of a function, one by one.
    Invoke { function: usize, count: u32 },
    /// A change that wakes several targets, as an object that is stored: all of them or none.
    Put { functions: Vec<usize> },
    /// An event under a name of its sender's, sent so many times.
    Named {
        function: usize,
        name: u32,
        times: u32,
    },
    /// Events on the bus.
    Bus { count: u32 },
    /// Calls that somebody waits for.
    Wait { function: usize, count: u32 },
}

#[derive(Debug, Clone)]
pub enum Step {
    Send(Sending),
    /// Some instances die.
    Die {
        count: usize,
    },
    Delete {
        function: usize,
    },
    /// A function is made again, or changed; with `off` it takes no calls.
    Declare {
        function: usize,
        most: u32,
        off: bool,
    },
    /// The server is killed after so many steps of its tasks, and started again later.
    Kill {
        steps: u32,
        down: Duration,
    },
    /// It is stopped as an operator does.
    Restart {
        grace: Duration,
        down: Duration,
    },
}

#[derive(Debug)]
pub struct Plan {
    pub options: Options,
    pub functions: Vec<Function>,
    /// Longest access to the store.
    pub disk: Duration,
    /// Milliseconds from the beginning, in order.
    pub steps: Vec<(u64, Step)>,
    pub schedule: bool,
}

impl Plan {
    pub fn draw(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let count = random.random_range(2..=4);
        let late = random.random_bool(0.2);
        let functions = (0..count).map(|at| function(&mut random, at, late));
        let functions: Vec<_> = functions.collect();
        let options = Options {
            max_starts: random.random_range(1..6),
            max_instances: random.random_range(3..12),
            max_attempts: random.random_range(16..48),
            ..Options::default()
        };
        let mut steps: Vec<_> = (0..random.random_range(15..40))
            .map(|_| {
                let at = random.random_range(0..BUSY);
                (at, step(&mut random, count))
            })
            .collect();
        steps.sort_by_key(|(at, _)| *at);
        Self {
            options,
            functions,
            disk: Duration::from_millis(random.random_range(0..16)),
            steps,
            schedule: random.random_bool(0.3),
        }
    }
}

fn function(random: &mut StdRng, at: usize, late: bool) -> Function {
    let healthy = random.random_bool(0.4);
    let mut rate = |most: u32| match healthy {
        true => 0,
        false => random.random_range(0..=most),
    };
    let faults = Faults {
        start_fails: rate(20),
        start_missing: rate(20),
        fails: rate(40),
        crashes: rate(25),
        hangs: rate(15),
        late: if late { 4 + rate(4) } else { 0 },
        start: random.random_range(0..600),
        call: 1 << random.random_range(0..12),
    };
    let fresh = random.random_bool(0.2);
    Function {
        name: format!("f{at}").parse().unwrap(),
        scaling: Scaling {
            max_instances: 1 + random.random_range(0..3) * random.random_range(0..3),
            min_instances: 0,
            keep_alive: random.random_range(0..8_000),
            queue: random.random_range(0..3) * random.random_range(0..5),
            freeze_after: random.random_bool(0.8).then(|| random.random_range(0..400)),
            ..Scaling::default()
        },
        fresh,
        timeout: random.random_range(1..20) * 1_000,
        max_attempts: random.random_range(1..6),
        base_delay: random.random_range(1..5_000),
        max_age: match random.random_bool(0.2) {
            true => random.random_range(1_000..30_000),
            false => 6 * 3_600_000,
        },
        faults,
    }
}

fn step(random: &mut StdRng, functions: usize) -> Step {
    let function = random.random_range(0..functions);
    match random.random_range(0..100) {
        0..30 => Step::Send(Sending::Invoke {
            function,
            count: random.random_range(1..12),
        }),
        30..45 => {
            let mut all: Vec<_> = (0..functions).collect();
            all.retain(|_| random.random_bool(0.7));
            Step::Send(Sending::Put { functions: all })
        }
        45..57 => Step::Send(Sending::Named {
            function,
            name: random.random(),
            times: random.random_range(1..4),
        }),
        57..67 => Step::Send(Sending::Bus {
            count: random.random_range(1..5),
        }),
        67..73 => Step::Send(Sending::Wait {
            function,
            count: random.random_range(1..4),
        }),
        73..80 => Step::Die {
            count: random.random_range(1..4),
        },
        80..83 => Step::Delete { function },
        83..90 => Step::Declare {
            function,
            most: random.random_range(1..4),
            off: random.random_bool(0.3),
        },
        90..98 => Step::Kill {
            steps: random.random_range(0..40),
            down: Duration::from_millis(random.random_range(0..5_000)),
        },
        _ => Step::Restart {
            grace: Duration::from_millis(random.random_range(0..3_000)),
            down: Duration::from_millis(random.random_range(0..5_000)),
        },
    }
}
