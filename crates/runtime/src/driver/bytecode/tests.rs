//! The queue of the compiler, with a compiler that ends when it is let.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::spec::tests::spec;
use launcher::{Root, User};
use tokio::sync::Semaphore;

/// A compiler that ends when it is let, and what became of its turns.
struct Bench {
    bytecode: Bytecode,
    begun: Arc<Mutex<Vec<usize>>>,
    dropped: Arc<Mutex<Vec<usize>>>,
    gate: Arc<Semaphore>,
    _folder: tempfile::TempDir,
}

struct Turn {
    code: usize,
    dropped: Option<Arc<Mutex<Vec<usize>>>>,
}

impl Turn {
    fn end(mut self) {
        self.dropped = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(dropped) = &self.dropped {
            dropped.lock().unwrap().push(self.code);
        }
    }
}

fn digest(number: usize) -> Digest {
    Digest::from_hex(&format!("{number:064x}")).unwrap()
}

fn plan() -> Plan {
    Plan {
        shape: Shape {
            hostname: String::new(),
            root: Root::Host { binds: Vec::new() },
            binds: Vec::new(),
            places: Vec::new(),
            volumes: Vec::new(),
            user: User::Ids { uid: 1, gid: 1 },
            hosts: Vec::new(),
            listen: Vec::new(),
            serves: false,
            egress: false,
            files: 1024,
        },
        assignment: Assignment {
            code: Vec::new(),
            work: Work::Tell(Vec::new()),
            limits: Limits::default(),
        },
        api: false,
        doors: Vec::new(),
    }
}

impl Bench {
    /// Time stands still unless all wait for it. `turns` of each code lay a module, the last says that it was all.
    async fn new(turns: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = state::State::open(folder.path()).await.unwrap();
        let storage = Storage::open(folder.path(), state).await.unwrap();
        tokio::time::pause();
        let begun = Arc::<Mutex<Vec<usize>>>::default();
        let dropped = Arc::<Mutex<Vec<usize>>>::default();
        let gate = Arc::new(Semaphore::new(0));
        let (noted, lost, opened) = (begun.clone(), dropped.clone(), gate.clone());
        let bytecode = Bytecode::with(storage, move |job| {
            let code = usize::from_str_radix(job.code.hex(), 16).unwrap();
            let mut noted = noted.lock().unwrap();
            noted.push(code);
            let all = noted.iter().filter(|other| **other == code).count() >= turns;
            let turn = Turn {
                code,
                dropped: Some(lost.clone()),
            };
            let gate = opened.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                turn.end();
                Ok(Laid { modules: 1, all })
            }
        });
        Self {
            bytecode,
            begun,
            dropped,
            gate,
            _folder: folder,
        }
    }

    fn ensure(&self, number: usize) -> Option<Arc<()>> {
        let spec = InstanceSpec {
            runtime: RuntimeName::Python311,
            code: Code::Zip {
                digest: digest(number),
                size: 1,
            },
            ..spec()
        };
        let interpreter = Path::new("/usr/bin/python3.11");
        self.bytecode.ensure(&spec, &plan(), Some(interpreter))
    }

    fn begun(&self) -> Vec<usize> {
        self.begun.lock().unwrap().clone()
    }

    fn dropped(&self) -> Vec<usize> {
        self.dropped.lock().unwrap().clone()
    }

    /// Without letting time pass.
    async fn until_begun(&self, count: usize) {
        while self.begun().len() < count {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_takes_too_long_is_ended_and_the_next_is_compiled() {
    let bench = Bench::new(1).await;
    let _used = [bench.ensure(1), bench.ensure(2)];
    bench.until_begun(1).await;
    tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
    assert_eq!((bench.begun(), bench.dropped()), (vec![1], vec![]));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((bench.begun(), bench.dropped()), (vec![1, 2], vec![1]));
    // This server does not try it again, but others it does.
    bench.gate.add_permits(8);
    let _again = [bench.ensure(1), bench.ensure(3)];
    bench.until_begun(3).await;
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(bench.begun(), [1, 2, 3]);
}

#[tokio::test]
async fn codes_take_turns_until_all_of_each_is_compiled() {
    let bench = Bench::new(3).await;
    let _used = [bench.ensure(1), bench.ensure(2)];
    bench.until_begun(1).await;
    bench.gate.add_permits(100);
    bench.until_begun(6).await;
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(bench.begun(), [1, 2, 1, 2, 1, 2]);
}

#[tokio::test]
async fn what_nobody_uses_any_more_is_not_compiled() {
    let bench = Bench::new(1).await;
    let first = bench.ensure(1);
    bench.until_begun(1).await;
    let (gone, shared) = (bench.ensure(2), bench.ensure(3));
    let other = bench.ensure(3);
    drop((first, gone, shared));
    bench.gate.add_permits(100);
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(bench.begun(), [1, 3]);
    // Somebody uses it again.
    let _again = bench.ensure(2);
    bench.until_begun(3).await;
    assert_eq!(bench.begun(), [1, 3, 2]);
    drop(other);
}

#[tokio::test]
async fn what_finds_no_room_may_ask_again() {
    let bench = Bench::new(1).await;
    let mut used = vec![bench.ensure(0)];
    bench.until_begun(1).await;
    used.extend((1..=WAITING).map(|number| bench.ensure(number)));
    assert!(used.iter().all(Option::is_some));
    let late = WAITING + 1;
    assert!(bench.ensure(late).is_none());
    bench.gate.add_permits(2 * WAITING);
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(bench.begun(), (0..=WAITING).collect::<Vec<_>>());
    let _late = [bench.ensure(late), bench.ensure(late)];
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(bench.begun(), (0..=late).collect::<Vec<_>>());
}

#[tokio::test]
async fn nothing_is_compiled_while_memory_is_short() {
    let bench = Bench::new(1).await;
    bench.bytecode.set_scarce(true);
    let _used = [bench.ensure(1), bench.ensure(2)];
    tokio::time::sleep(60 * PATIENCE).await;
    assert_eq!(bench.begun(), Vec::<usize>::new());
    bench.bytecode.set_scarce(false);
    bench.until_begun(1).await;
    // What has begun gives its memory back, and has another turn.
    bench.bytecode.set_scarce(true);
    tokio::time::sleep(PATIENCE / 2).await;
    assert_eq!((bench.begun(), bench.dropped()), (vec![1], vec![1]));
    bench.gate.add_permits(100);
    bench.bytecode.set_scarce(false);
    bench.until_begun(3).await;
    tokio::time::sleep(PATIENCE).await;
    assert_eq!(bench.begun(), [1, 2, 1]);
}
