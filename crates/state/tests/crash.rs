//! What was answered is there after `kill -9`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use bytes::Bytes;
use model::{EventId, EventState, NewEvent, Target, Timestamp};
use state::{Settlement, State, Verdict};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Names the data folder to the child process, which is this test binary again.
const CHILD: &str = "ROUSE_TEST_CRASH_FOLDER";

/// How often the child is killed.
const KILLS: u32 = 24;

fn target() -> Target {
    Target::Function {
        name: "f".parse().unwrap(),
    }
}

fn event() -> NewEvent {
    NewEvent {
        id: EventId::generate(),
        target: target(),
        source: "test".into(),
        kind: "test".into(),
        subject: "test".into(),
        payload: Bytes::from(vec![b'x'; 700]),
        accepted: Timestamp::now(),
        cause: None,
        replay_of: None,
        delivery: Default::default(),
    }
}

/// Says what was answered, in one write of one line, which a kill does not split.
fn say(word: &str, id: EventId) {
    std::io::stdout()
        .write_all(format!("{word} {id}\n").as_bytes())
        .unwrap();
}

/// Puts events from several tasks, and leases and settles some, until it is killed.
async fn work(folder: &Path) {
    let state = State::open(folder).await.unwrap();
    for _ in 0..8 {
        let state = state.clone();
        tokio::spawn(async move {
            loop {
                let event = event();
                let id = event.id;
                state.put_events(vec![event]).await.unwrap();
                say("put", id);
            }
        });
    }
    loop {
        let now = Timestamp::now();
        let until = now.after(Duration::from_secs(60));
        for leased in state.lease_events(&target(), 4, now, until).await.unwrap() {
            let (id, epoch) = (leased.event.accepted.id, leased.event.epoch);
            let settlement = Settlement {
                id,
                epoch,
                verdict: Verdict::Ack,
                run: None,
                at: now,
            };
            assert!(state.settle_event(settlement).await.unwrap());
            say("ack", id);
        }
    }
}

/// The child's part; does nothing in a run of the tests.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(work(folder.as_ref()));
}

/// Runs the child and kills it after a while, at least once it has said something. Gives its words.
fn run_and_kill(folder: &Path, after: Duration) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        output.read_to_end(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    });
    // Counted from when the child has the database open, and not from when it is started.
    let log = folder.join("state.db-wal");
    while std::fs::metadata(&log).map_or(true, |log| log.len() == 0) {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the child ended by itself"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(after);
    assert!(
        child.try_wait().unwrap().is_none(),
        "the child ended by itself"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn what_was_answered_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut put, mut acked) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..KILLS {
        // Spread without being random, so that a failure can be had again.
        let after = Duration::from_micros(u64::from(round * round) * 531 + 300);
        let words = run_and_kill(folder.path(), after);
        for line in words.lines() {
            let Some((word, id)) = line.split_once(' ') else {
                continue;
            };
            let Ok(id) = id.parse::<EventId>() else {
                continue;
            };
            match word {
                "put" => put.insert(id),
                "ack" => acked.insert(id),
                _ => continue,
            };
        }
        runtime.block_on(async {
            let state = State::open(folder.path()).await.unwrap();
            for id in &put {
                let event = state
                    .get_event(*id)
                    .await
                    .expect("an answered event is there");
                let expected = match acked.contains(id) {
                    true => event.state == EventState::Succeeded,
                    // An answer may have been cut off between the commit and the word.
                    false => matches!(event.state, EventState::Waiting | EventState::Succeeded),
                };
                assert!(expected, "{id} is {:?}", event.state);
            }
            state.close().await;
        });
    }
    assert!(!put.is_empty() && !acked.is_empty(), "the child has worked");
}
