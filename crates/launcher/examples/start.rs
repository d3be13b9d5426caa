//! Prints how long one sandbox takes: the median of 200 `/bin/true`, made when asked for, and armed ahead.
//!
//! `cargo run --release -p launcher --example start [egress]`, as root. With `egress`, each sandbox may
//! reach out.
#![allow(clippy::print_stdout, missing_docs)]

use launcher::{Assignment, Bind, Launcher, Root, Shape, Stem, User, Work};
use std::error::Error;
use std::time::{Duration, Instant};

const RUNS: u32 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    launcher::run_if_launcher();
    let data = tempfile::tempdir()?;
    let connection = launcher::spawn(data.path())?;
    launcher::drop_privilege()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let launcher = Launcher::new(connection)?;
        let (mut cold, mut armed, mut warm, mut ended) = (vec![], vec![], vec![], vec![]);
        for _ in 0..RUNS {
            let begin = Instant::now();
            let sandbox = launcher.start(shape(), assignment()).await?;
            cold.push(begin.elapsed());
            let exit = sandbox.exited().await;
            ended.push(begin.elapsed());
            if exit.code != Some(0) {
                return Err(exit.describe().into());
            }
        }
        for _ in 0..RUNS {
            let begin = Instant::now();
            let waiting = launcher
                .arm(shape(), Stem::None, model::Limits::default())
                .await?;
            armed.push(begin.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
            let begin = Instant::now();
            let mut sandbox = waiting.assign(assignment())?;
            sandbox.begun().await?;
            warm.push(begin.elapsed());
            sandbox.exited().await;
        }
        print("all at once: request to exec", &mut cold);
        print("all at once: request to nothing left", &mut ended);
        print("arming", &mut armed);
        print("armed: assignment to exec", &mut warm);
        launcher.stop().await;
        Ok(())
    })
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    println!("{what}: median {:?}, 90 % {:?}", at(50), at(90));
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

fn assignment() -> Assignment {
    Assignment {
        code: vec![Bind {
            source: "/var/lib".into(),
            target: "/var/task".into(),
        }],
        work: Work::Execute {
            argv: vec!["/bin/true".to_owned()],
            environment: Vec::new(),
            working_dir: "/".to_owned(),
        },
        limits: model::Limits::default(),
    }
}
