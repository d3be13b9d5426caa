//! One run: the lives of a server from its first start to the quiet after the last event.

use crate::audit::{Audit, Seen};
use crate::clients::Client;
use crate::house::{House, SCHEDULE};
use crate::ledger::{Broken, Ledger};
use crate::plan::{Function, Plan, Step};
use crate::script;
use crate::watch::{self, Watch};
use model::{Code, Timestamp, simulation};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;

/// When every run begins: 2026-01-01.
const BEGIN: Timestamp = Timestamp(1_767_225_600_000);
/// How often it is looked.
const TICK: Duration = Duration::from_millis(50);
/// Longest time in which everything must have ended once nothing goes wrong any more: longer than two
/// leases and every wait between attempts.
const DRAIN: u64 = 3 * 3_600_000;

/// What a run left.
pub struct Report {
    pub trace: String,
    pub broken: Option<Broken>,
    pub counts: Counts,
}

/// What happened, so that a run in which nothing did shows.
#[derive(Default, Clone, Copy)]
pub struct Counts {
    pub events: usize,
    pub calls: usize,
    pub dead: usize,
    pub kills: usize,
    /// Calls that outlived their lease.
    pub late: usize,
}

/// How a life ended.
enum End {
    Down(Duration),
    Done,
}

struct Run {
    seed: u64,
    plan: Plan,
    ledger: Ledger,
    seen: Seen,
    folder: TempDir,
    /// The functions as they are; `None`: deleted.
    functions: Vec<Option<Function>>,
    code: Option<Code>,
    life: u64,
    /// Steps that were taken.
    taken: usize,
    kills: usize,
}

/// Runs a seed.
pub fn run(seed: u64, ledger: &Ledger) -> Report {
    let plan = Plan::draw(seed);
    let memory = std::path::Path::new("/dev/shm");
    let folder = match memory.is_dir() {
        true => TempDir::new_in(memory),
        false => TempDir::new(),
    };
    let mut seen = Seen::default();
    for function in &plan.functions {
        let target = function.target().key();
        seen.most_attempts.insert(target, function.max_attempts);
    }
    let mut run = Run {
        seed,
        ledger: ledger.clone(),
        seen,
        folder: folder.unwrap(),
        functions: plan.functions.iter().cloned().map(Some).collect(),
        plan,
        code: None,
        life: 0,
        taken: 0,
        kills: 0,
    };
    let mut base = BEGIN;
    while let (Some(down), lived) = run.life(base) {
        base = base.after(lived + down);
    }
    run.report()
}

impl Run {
    /// One life, in a world and on a runtime of its own: when it ends, whatever its tasks were doing is
    /// gone, as after a `kill -9`. Gives how long the server stays down, and how long it lived.
    fn life(&mut self, base: Timestamp) -> (Option<Duration>, Duration) {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let born = runtime.block_on(async { Instant::now() });
        let now = move || base.after(Instant::now().saturating_duration_since(born));
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(self.life);
        let _world = simulation::enter(seed, self.plan.disk, now);
        let (end, lived) = runtime.block_on(async {
            let end = self.live(seed).await;
            self.ledger.end_life();
            (end, born.elapsed())
        });
        drop(runtime);
        self.life += 1;
        match end {
            End::Down(down) => (Some(down), lived),
            End::Done => (None, lived),
        }
    }

    async fn live(&mut self, seed: u64) -> End {
        self.ledger.begin_life();
        let life = self.life;
        self.ledger
            .note(&format!("the server starts for the {life}. time"));
        let fake = script::fake(seed, &self.plan.functions, &self.ledger);
        let folder = self.folder.path().to_owned();
        let house = House::open(&folder, self.plan.options.clone(), fake).await;
        // What no function needs is swept away at each start.
        let code = house.code().await;
        let first = self.code.replace(code).is_none();
        if first {
            self.furnish(&house).await;
        }
        let client = Client {
            house,
            ledger: self.ledger.clone(),
            tasks: TaskTracker::new(),
        };
        client.resend();
        let mut audit = Audit::open(&folder);
        audit.look_again(&mut self.seen, &self.ledger);
        let mut watch = Watch::default();
        loop {
            if self.ledger.book().broken.is_some() {
                return End::Done;
            }
            let Some((at, step)) = self.plan.steps.get(self.taken).cloned() else {
                break;
            };
            let left = BEGIN.0 + at as i64 - Timestamp::now().0;
            if left > 0 {
                sleep(TICK.min(Duration::from_millis(left as u64))).await;
                self.look(&client, &mut audit, &mut watch);
                continue;
            }
            self.taken += 1;
            if let Some(end) = self.step(&client, step).await {
                return end;
            }
        }
        self.quiet(&client, &mut audit, &mut watch).await;
        End::Done
    }

    /// What the first life begins with.
    async fn furnish(&self, house: &House) {
        let code = self.code.as_ref().unwrap();
        for function in &self.plan.functions {
            house.declare(function, code, &self.ledger).await;
        }
        let targets = [
            self.plan.functions[0].target(),
            self.plan.functions[1].target(),
        ];
        house.rule(&targets).await;
        if self.plan.schedule {
            house.schedule(&targets[0]).await;
        }
    }

    fn look(&mut self, client: &Client, audit: &mut Audit, watch: &mut Watch) {
        audit.look(&mut self.seen, &self.ledger);
        watch.look(
            &self.seen,
            &self.ledger,
            &self.functions,
            &self.plan.options,
        );
        watch::instances(&client.house.fake, &self.ledger, &self.plan.options);
    }

    /// Takes a step. Gives how the life ends, if it does by this.
    async fn step(&mut self, client: &Client, step: Step) -> Option<End> {
        self.ledger.note(&format!("{step:?}"));
        match step {
            Step::Die { count } => {
                let fake = &client.house.fake;
                for id in fake.alive().iter().take(count) {
                    fake.end(id, "exit status 3");
                }
            }
            Step::Delete { function } => self.delete(client, function).await,
            Step::Declare {
                function,
                most,
                off,
            } => {
                self.declare(client, function, Some(most), off).await;
            }
            Step::Kill { steps, down } => {
                for _ in 0..steps {
                    tokio::task::yield_now().await;
                }
                self.kills += 1;
                return Some(End::Down(down));
            }
            Step::Restart { grace, down } => {
                client.house.engine.drain(grace).await;
                client.house.state.close().await;
                return Some(End::Down(down));
            }
            Step::Send(sending) => client.begin(sending, &self.plan.functions),
        }
        None
    }

    async fn delete(&mut self, client: &Client, at: usize) {
        let name = &self.plan.functions[at].name;
        let deleted = client.house.engine.delete_function(name).await;
        // Its revisions count from 1 again.
        for owner in self
            .ledger
            .book()
            .owners
            .values_mut()
            .filter(|owner| owner.0 == name.as_str())
        {
            owner.0 = format!("{name}, deleted");
        }
        assert_eq!(
            deleted.is_ok(),
            self.functions[at].take().is_some(),
            "{deleted:?}"
        );
    }

    async fn declare(&mut self, client: &Client, at: usize, most: Option<u32>, off: bool) {
        let mut function = self.plan.functions[at].clone();
        function.scaling.max_instances = most.unwrap_or(function.scaling.max_instances);
        function.scaling.reserved = off.then_some(0);
        let code = self.code.as_ref().unwrap();
        client.house.declare(&function, code, &self.ledger).await;
        self.functions[at] = Some(function);
    }

    /// Nothing goes wrong any more, so everything must end.
    async fn quiet(&mut self, client: &Client, audit: &mut Audit, watch: &mut Watch) {
        self.ledger.note("nothing goes wrong any more");
        self.ledger.book().calm = true;
        for at in 0..self.plan.functions.len() {
            self.declare(client, at, None, false).await;
        }
        if self.plan.schedule {
            let key: model::ScheduleKey = SCHEDULE.parse().unwrap();
            client
                .house
                .engine
                .delete_schedule(key, None)
                .await
                .unwrap();
        }
        client.resend();
        client.tasks.close();
        let deadline = Timestamp::now().0 + DRAIN as i64;
        loop {
            sleep(TICK * 4).await;
            self.look(client, audit, watch);
            let over = self.seen.entries.values().all(|entry| entry.is_over());
            let mut book = self.ledger.book();
            if book.broken.is_some() {
                return;
            }
            if over && book.requests.is_empty() && client.tasks.is_empty() {
                break;
            }
            if Timestamp::now().0 > deadline {
                let left = self
                    .seen
                    .entries
                    .values()
                    .filter(|entry| !entry.is_over())
                    .count();
                book.broken("everything-ends", || {
                    format!("{left} events have not ended")
                });
                return;
            }
        }
        self.last(client, audit).await;
    }

    /// The last look, at everything.
    async fn last(&mut self, client: &Client, audit: &mut Audit) {
        sleep(Duration::from_secs(60)).await;
        audit.look_again(&mut self.seen, &self.ledger);
        audit.runs(&self.seen, &self.ledger);
        self.balance(client);
        client.house.engine.drain(Duration::ZERO).await;
        client.house.state.close().await;
    }

    fn balance(&self, client: &Client) {
        let alive = client.house.fake.alive().len();
        let kept = client.house.engine.instances().len();
        let mut book = self.ledger.book();
        if alive + kept > 0 {
            book.broken("no-leaks", || {
                format!("{alive} instances are alive, {kept} are in the books")
            });
        }
        let mut named = book.named.iter();
        let open = named.find(|(_, named)| named.answered.is_none());
        if let Some(key) = open.map(|(key, _)| key.clone()) {
            book.broken("everything-ends", || format!("{key} was never answered"));
        }
        for (id, entry) in &self.seen.entries {
            let name = book.name(*id);
            book.note(&format!("{name} at last: {entry:?}"));
        }
    }

    fn report(self) -> Report {
        let book = self.ledger.book();
        let dead = self
            .seen
            .entries
            .values()
            .filter(|entry| entry.is_over() && entry.state != "succeeded");
        let long = |called: &crate::ledger::Called| {
            let (end, _) = called.ended.unwrap_or((called.began, false));
            end.since(called.began) >= *script::LATE.start()
        };
        Report {
            trace: book.trace.clone(),
            broken: book.broken.clone(),
            counts: Counts {
                events: self.seen.entries.len(),
                calls: book.calls.len(),
                dead: dead.count(),
                kills: self.kills,
                late: book.calls.values().filter(|called| long(called)).count(),
            },
        }
    }
}
