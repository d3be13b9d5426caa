#![allow(clippy::unwrap_used)]
use super::*;
use std::io::Write;

struct Rig {
    capture: Capture,
    stdout: std::io::PipeWriter,
    lines: Arc<Mutex<Vec<LogLine>>>,
}

fn rig() -> Rig {
    let (reader, stdout) = std::io::pipe().unwrap();
    let lines: Arc<Mutex<Vec<LogLine>>> = Arc::default();
    let kept = lines.clone();
    let sink: Sink = Box::new(move |new| kept.lock().unwrap().extend(new));
    let capture = Capture::start(
        InstanceId::generate(),
        Some(7),
        Some(reader.into()),
        None,
        sink,
    )
    .unwrap();
    Rig {
        capture,
        stdout,
        lines,
    }
}

impl Rig {
    fn texts(&self, request: Option<&RequestId>) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        assert!(lines.iter().all(|line| line.version == Some(7)));
        let of = |line: &&LogLine| line.request.as_ref() == request;
        lines
            .iter()
            .filter(of)
            .map(|line| line.text.clone())
            .collect()
    }
}

#[tokio::test]
async fn lines_belong_to_the_call_in_which_they_were_written() {
    let mut rig = rig();
    let id = RequestId::generate();
    rig.stdout.write_all(b"starting\n").unwrap();
    let call = rig.capture.begin(&id, "START".into());
    rig.stdout.write_all(b"one\ntwo without an end").unwrap();
    let tail = call.end(vec!["END".into()]);
    assert_eq!(&tail[..], b"START\none\ntwo without an end\nEND\n");
    rig.stdout.write_all(b"after\n").unwrap();
    rig.capture.end(Vec::new());
    assert_eq!(
        rig.texts(Some(&id)),
        ["START", "one", "two without an end", "END"]
    );
    assert_eq!(rig.texts(None), ["starting", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_read_to_its_end_counted_and_bounded() {
    let rig = rig();
    let Rig {
        capture,
        mut stdout,
        lines,
    } = rig;
    let id = RequestId::generate();
    let call = capture.begin(&id, "START".into());
    let line = [b'x'; 999];
    let written = tokio::task::spawn_blocking(move || {
        for _ in 0..8_000 {
            stdout.write_all(&line).unwrap();
            stdout.write_all(b"\n").unwrap();
        }
        stdout
    });
    // Returns only if the pipe is read all the time.
    let stdout = written.await.unwrap();
    let tail = call.end(vec!["END".into()]);
    drop(stdout);
    let lines = lines.lock().unwrap();
    let bytes: usize = lines.iter().map(|line| line.text.len() + 1).sum();
    assert!(bytes < MAX_KEPT + 1000, "{bytes}");
    let expected = format!("{} bytes of log were dropped", 8_000_000 - MAX_KEPT);
    assert!(lines.iter().any(|line| line.text.starts_with(&expected)));
    assert!(tail.ends_with(b"END\n") && tail.len() <= 4096);
}

#[tokio::test]
async fn lines_of_several_calls_at_once_belong_to_none_of_them() {
    let mut rig = rig();
    let (one, two) = (RequestId::generate(), RequestId::generate());
    let first = rig.capture.begin(&one, "START 1".into());
    rig.stdout.write_all(b"of one\n").unwrap();
    let second = rig.capture.begin(&two, "START 2".into());
    rig.stdout.write_all(b"of either\n").unwrap();
    let tail = first.end(vec!["END 1".into()]);
    assert_eq!(&tail[..], b"START 1\nof one\nEND 1\n");
    rig.stdout.write_all(b"of two\n").unwrap();
    let tail = second.end(vec!["END 2".into()]);
    assert_eq!(&tail[..], b"START 2\nof two\nEND 2\n");
    assert_eq!(rig.texts(Some(&one)), ["START 1", "of one", "END 1"]);
    assert_eq!(rig.texts(Some(&two)), ["START 2", "of two", "END 2"]);
    assert_eq!(rig.texts(None), ["of either"]);
}

#[tokio::test]
async fn a_call_that_was_dropped_leaves_the_lines_to_the_other() {
    let mut rig = rig();
    let (one, two) = (RequestId::generate(), RequestId::generate());
    let dropped = rig.capture.begin(&one, "START 1".into());
    let stays = rig.capture.begin(&two, "START 2".into());
    drop(dropped);
    rig.stdout.write_all(b"of two\n").unwrap();
    stays.end(Vec::new());
    assert_eq!(rig.texts(Some(&two)), ["START 2", "of two"]);
    rig.stdout.write_all(b"after\n").unwrap();
    rig.capture.end(Vec::new());
    assert_eq!(rig.texts(None), ["after"]);
}

#[tokio::test]
async fn the_end_of_the_pipe_ends_the_last_line() {
    let mut rig = rig();
    rig.stdout.write_all(b"last words").unwrap();
    let Rig {
        capture,
        stdout,
        lines,
    } = rig;
    drop(stdout);
    while lines.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(lines.lock().unwrap()[0].text, "last words");
    drop(capture);
}
