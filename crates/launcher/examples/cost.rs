//! Prints the processor time of one sandbox, from its arming to its end: of this process, of the launcher,
//! and of the sandbox's own. Of the kernel's threads nothing is told.
//!
//! `cargo run --release -p launcher --example cost [egress]`, as root. With `egress`, each sandbox may
//! reach out.
#![allow(clippy::print_stdout, missing_docs)]

use launcher::{Assignment, Bind, Launcher, Root, Shape, Stem, User, Work};
use std::error::Error;
use std::time::Instant;

/// Sandboxes in each round.
const RUNS: usize = 2000;
const ROUNDS: usize = 3;
/// At a time.
const PARALLEL: usize = 16;
/// A tick of `/proc/PID/stat`: USER_HZ is 100 everywhere.
const TICK: f64 = 10_000.0;

fn main() -> Result<(), Box<dyn Error>> {
    launcher::run_if_launcher();
    let data = tempfile::tempdir()?;
    let connection = launcher::spawn(data.path())?;
    launcher::drop_privilege()?;
    let program = std::env::var("PROGRAM").unwrap_or_else(|_| "/bin/true".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let launcher = Launcher::new(connection)?;
        let pid = child()?;
        println!("{pid} is the launcher");
        many(&launcher, &program, PARALLEL * 4).await?;
        for _ in 0..ROUNDS {
            let (begin, before) = (Instant::now(), spent(pid)?);
            many(&launcher, &program, RUNS).await?;
            let (took, after) = (begin.elapsed(), spent(pid)?);
            let one = |of: usize| (after[of] - before[of]) * TICK / RUNS as f64;
            println!(
                "{:.0} a second; µs each: this {:.0}, launcher {:.0}, sandbox {:.0}",
                RUNS as f64 / took.as_secs_f64(),
                one(0),
                one(1),
                one(2)
            );
        }
        launcher.stop().await;
        Ok(())
    })
}

async fn many(launcher: &Launcher, program: &str, runs: usize) -> Result<(), Box<dyn Error>> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..PARALLEL {
        let (launcher, program) = (launcher.clone(), program.to_owned());
        tasks.spawn(async move {
            for _ in 0..runs / PARALLEL {
                let limits = model::Limits::default();
                let armed = launcher.arm(shape(), Stem::None, limits).await?;
                let sandbox = armed.assign(assignment(&program))?;
                let exit = sandbox.exited().await;
                if exit.code != Some(0) {
                    return Err(launcher::Error::Gone(exit.describe()));
                }
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// The process id of this process's only child.
fn child() -> Result<u32, Box<dyn Error>> {
    let own = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
    Ok(children.trim().parse()?)
}

/// Ticks that this process, the launcher and all of the launcher's children that have ended have used.
fn spent(launcher: u32) -> Result<[f64; 3], Box<dyn Error>> {
    let fields = |pid: u32| -> Result<Vec<f64>, Box<dyn Error>> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').ok_or("no name")?;
        // From the 14th field of proc(5) on: utime, stime, cutime, cstime.
        let times = rest.split_whitespace().skip(11).take(4);
        Ok(times.map(str::parse).collect::<Result<_, _>>()?)
    };
    let (own, other) = (fields(std::process::id())?, fields(launcher)?);
    let sum = |times: &[f64]| times.iter().sum::<f64>();
    Ok([sum(&own[..2]), sum(&other[..2]), sum(&other[2..])])
}

fn shape() -> Shape {
    let show = |path: &str| Bind {
        source: path.into(),
        target: path.into(),
    };
    let folders = ["/usr", "/bin", "/lib", "/lib64"];
    Shape {
        hostname: String::new(),
        root: Root::Host {
            binds: folders.map(show).to_vec(),
        },
        binds: Vec::new(),
        places: vec!["/var/task".into()],
        volumes: Vec::new(),
        user: User::Ids {
            uid: 1000,
            gid: 1000,
        },
        hosts: Vec::new(),
        listen: vec![([127, 0, 0, 1], 9001).into()],
        serves: false,
        egress: std::env::args().any(|argument| argument == "egress"),
        files: 1024,
    }
}

fn assignment(program: &str) -> Assignment {
    Assignment {
        code: vec![Bind {
            source: "/var/lib".into(),
            target: "/var/task".into(),
        }],
        work: Work::Execute {
            argv: vec![program.to_owned()],
            environment: Vec::new(),
            working_dir: "/".to_owned(),
        },
        limits: model::Limits::default(),
    }
}
