//! Prints how long one sandbox takes from the request to its end: the median of 200 `/bin/true`.
//!
//! `cargo run --release -p launcher --example start [egress]`, as root. With `egress`, each sandbox may
//! reach out.
#![allow(clippy::print_stdout, missing_docs)]

use launcher::{Bind, Launcher, Root, SandboxSpec, User};
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
        let (mut started, mut ended) = (Vec::new(), Vec::new());
        for run in 0..RUNS {
            let begin = Instant::now();
            let sandbox = launcher.start(spec(run)).await?;
            started.push(begin.elapsed());
            let exit = sandbox.exited().await;
            ended.push(begin.elapsed());
            if exit.code != Some(0) {
                return Err(exit.describe().into());
            }
        }
        print("request to exec", &mut started);
        print("request to nothing left", &mut ended);
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

fn spec(run: u32) -> SandboxSpec {
    let show = |path: &str| Bind {
        source: path.into(),
        target: path.into(),
    };
    let folders = ["/usr", "/bin", "/lib", "/lib64"];
    SandboxSpec {
        id: format!("{run:032x}"),
        hostname: "start".to_owned(),
        root: Root::Host {
            binds: folders.map(show).to_vec(),
        },
        binds: Vec::new(),
        volumes: Vec::new(),
        argv: vec!["/bin/true".to_owned()],
        environment: Vec::new(),
        working_dir: "/".to_owned(),
        user: User::Ids {
            uid: 1000,
            gid: 1000,
        },
        hosts: Vec::new(),
        listen: vec![([127, 0, 0, 1], 9001).into()],
        serves: false,
        egress: std::env::args().any(|argument| argument == "egress"),
        limits: model::Limits::default(),
    }
}
