//! Logs: NDJSON segments for each function and service, bounded, followed live.

use crate::segments::{self, Segments};
use crate::{Error, Result, Storage, blocking};
use model::{InstanceId, LogLine, RequestId, Stream, Timestamp};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::broadcast;

/// Lines that a follower may be behind.
const FOLLOW: usize = 1_000;
/// Batches that may wait for the disk.
const QUEUE: usize = 4_096;
/// Bytes of text that may wait for the disk.
const QUEUE_BYTES: usize = 16 << 20;
/// How long the writer lets lines gather after it has written some, unless somebody reads or the queue
/// is half full. Waking it for each call would cost the call more than writing does.
const GATHER: Duration = Duration::from_millis(10);
/// Most lines of one answer.
const MAX_TAIL: usize = 10_000;

/// Which lines to read.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// [`model::Owner::log_key`].
    pub key: String,
    /// Only written at this time or later.
    pub since: Option<Timestamp>,
    /// Only of this call.
    pub request: Option<RequestId>,
    /// The last so many lines: 1 to 10 000; what is outside is taken as the nearer end.
    pub tail: usize,
}

impl LogQuery {
    /// Whether a line is meant.
    pub(crate) fn takes(&self, line: &LogLine) -> bool {
        self.since.is_none_or(|since| line.time >= since)
            && (self.request.is_none() || line.request == self.request)
    }
}

impl Storage {
    /// Keeps lines, without fsync and without waiting for the disk. Each key keeps four segments of
    /// 8 MiB, the oldest is dropped; if the disk is slower than the writers, lines are dropped and
    /// a line says how many.
    pub fn append_logs(&self, key: &str, lines: Vec<LogLine>) {
        self.logs().append(key, lines);
    }

    /// Lines that fit, oldest first.
    ///
    /// # Errors
    /// Of the file system, and `Invalid` for a key that is none.
    pub async fn read_logs(&self, query: LogQuery) -> Result<Vec<LogLine>> {
        let folder = segments::folder(&self.folders().logs(), &query.key)?;
        let tail = query.tail.clamp(1, MAX_TAIL);
        let writer = self.logs().writer()?;
        let shared = Arc::clone(&self.logs().shared);
        blocking::on_disk(move || {
            let (answer, flushed) = sync_channel(1);
            // A queue that is full has hurried the writer already.
            // A writer that is gone has flushed before it went.
            if writer.send(Order::Flush(answer)).is_ok() {
                shared.hurry();
                let _ = flushed.recv();
            }
            segments::read(&folder, &query, tail)
        })
        .await
    }

    /// The lines of a key from now on. A reader that is 1 000 lines behind loses the oldest.
    pub fn follow_logs(&self, key: &str) -> broadcast::Receiver<LogLine> {
        let mut followed = lock(&self.logs().followed);
        followed.retain(|_, sender| sender.receiver_count() > 0);
        let sender = followed
            .entry(key.to_owned())
            .or_insert_with(|| broadcast::channel(FOLLOW).0);
        sender.subscribe()
    }
}

enum Order {
    Append(String, Vec<LogLine>),
    Flush(SyncSender<()>),
}

/// The log writer's thread and those who listen.
pub(crate) struct Logs {
    followed: Mutex<HashMap<String, broadcast::Sender<LogLine>>>,
    shared: Arc<Shared>,
    writer: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Bytes of text handed in and not yet written.
    waiting: AtomicUsize,
    /// Batches handed in and not yet written.
    batches: AtomicUsize,
    /// The writer shall not let lines gather now.
    hurried: Mutex<bool>,
    hurry: Condvar,
    /// Lines that found the queue full: how many, and one of the instances that wrote them.
    dropped: Mutex<HashMap<String, (u64, InstanceId)>>,
}

impl Shared {
    /// Lets the writer go on at once.
    fn hurry(&self) {
        *lock(&self.hurried) = true;
        self.hurry.notify_one();
    }

    /// Lets lines gather.
    fn gather(&self) {
        let hurried = lock(&self.hurried);
        let waited = self
            .hurry
            .wait_timeout_while(hurried, GATHER, |hurried| !*hurried);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Counts a batch that is handed in, if there is room for its text.
    fn enter(&self, bytes: usize) -> bool {
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let batches = self.batches.fetch_add(1, Ordering::Relaxed);
        let half = QUEUE_BYTES / 2;
        if batches == QUEUE / 2 || (waiting <= half && waiting + bytes > half) {
            self.hurry();
        }
        waiting + bytes <= QUEUE_BYTES
    }

    fn leave(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.batches.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Logs {
    pub(crate) fn start(folder: PathBuf) -> Result<Self> {
        let (writer, orders) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let segments = Segments::new(folder.clone());
        let thread = std::thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || write(&orders, &theirs, segments))
            .map_err(|error| Error::io("starting the log writer for", &folder, error))?;
        Ok(Self {
            followed: Mutex::default(),
            shared,
            writer: Some(writer),
            thread: Some(thread),
        })
    }

    fn writer(&self) -> Result<SyncSender<Order>> {
        self.writer.clone().ok_or(Error::Stopping)
    }

    fn append(&self, key: &str, lines: Vec<LogLine>) {
        let Some(first) = lines.first().map(|line| line.instance.clone()) else {
            return;
        };
        self.publish(key, &lines);
        let (count, bytes) = (lines.len() as u64, size(&lines));
        let sent = self.shared.enter(bytes)
            && self.writer.as_ref().is_some_and(|writer| {
                let order = Order::Append(key.to_owned(), lines);
                writer.try_send(order).is_ok()
            });
        if !sent {
            self.shared.leave(bytes);
            let mut dropped = lock(&self.shared.dropped);
            dropped.entry(key.to_owned()).or_insert((0, first)).0 += count;
        }
    }

    fn publish(&self, key: &str, lines: &[LogLine]) {
        let mut followed = lock(&self.followed);
        let Some(sender) = followed.get(key) else {
            return;
        };
        if sender.receiver_count() == 0 {
            followed.remove(key);
            return;
        }
        for line in lines {
            // Fails only when the last reader has just left.
            let _ = sender.send(line.clone());
        }
    }
}

impl Drop for Logs {
    /// Waits until the lines that were handed in are in their files.
    fn drop(&mut self) {
        self.writer = None;
        self.shared.hurry();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(orders: &Receiver<Order>, shared: &Shared, mut segments: Segments) {
    let mut asked = Vec::new();
    while let Ok(order) = orders.recv() {
        obey(order, shared, &mut segments, &mut asked);
        // What has gathered meanwhile goes to the disk in one flush.
        for order in orders.try_iter().take(QUEUE) {
            obey(order, shared, &mut segments, &mut asked);
        }
        for (key, (count, instance)) in std::mem::take(&mut *lock(&shared.dropped)) {
            segments.append(&key, &[dropped_line(count, instance)]);
        }
        segments.flush();
        // Whoever asked and left does not need the answer.
        asked.drain(..).for_each(|answer: SyncSender<()>| {
            let _ = answer.send(());
        });
        shared.gather();
    }
}

fn obey(order: Order, shared: &Shared, segments: &mut Segments, asked: &mut Vec<SyncSender<()>>) {
    match order {
        Order::Append(key, lines) => {
            segments.append(&key, &lines);
            shared.leave(size(&lines));
        }
        Order::Flush(answer) => asked.push(answer),
    }
}

fn dropped_line(count: u64, instance: InstanceId) -> LogLine {
    LogLine {
        version: None,
        time: Timestamp::now(),
        instance,
        request: None,
        stream: Stream::Platform,
        text: format!("{count} lines were dropped: they came faster than the disk takes them"),
    }
}

fn size(lines: &[LogLine]) -> usize {
    lines.iter().map(|line| line.text.len()).sum()
}

/// A panic elsewhere leaves these maps whole, since each change of them is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::testing::Room;

    const KEY: &str = "function:thumbnail";

    fn line(number: i64, request: &str) -> LogLine {
        LogLine {
            version: None,
            time: Timestamp(number),
            instance: InstanceId::generate(),
            request: (!request.is_empty()).then(|| RequestId(request.to_owned())),
            stream: Stream::Stdout,
            text: format!("line {number}"),
        }
    }

    fn query(tail: usize) -> LogQuery {
        LogQuery {
            key: KEY.to_owned(),
            tail,
            ..LogQuery::default()
        }
    }

    async fn texts(room: &Room, query: LogQuery) -> Vec<String> {
        let lines = room.storage.read_logs(query).await.unwrap();
        lines.into_iter().map(|line| line.text).collect()
    }

    #[tokio::test]
    async fn lines_are_read_right_after_they_were_written_and_after_a_restart() {
        let room = Room::open().await;
        room.storage
            .append_logs(KEY, (0..10).map(|n| line(n, "")).collect());
        let last = ["line 8", "line 9"];
        assert_eq!(texts(&room, query(2)).await, last);
        let room = room.reopen().await;
        assert_eq!(texts(&room, query(2)).await, last);
        room.storage.append_logs(KEY, vec![line(10, "")]);
        assert_eq!(texts(&room, query(100)).await.len(), 11);
    }

    #[tokio::test]
    async fn lines_are_found_by_time_and_by_call() {
        let room = Room::open().await;
        let call = "5f0c7d1e-3a0b-4d8e-9c55-0123456789ab";
        room.storage.append_logs(
            KEY,
            vec![line(1, ""), line(2, call), line(3, ""), line(4, call)],
        );
        room.storage
            .append_logs("function:other", vec![line(9, call)]);
        let of_call = LogQuery {
            request: Some(RequestId(call.to_owned())),
            ..query(10)
        };
        assert_eq!(texts(&room, of_call).await, ["line 2", "line 4"]);
        let since = LogQuery {
            since: Some(Timestamp(3)),
            ..query(10)
        };
        assert_eq!(texts(&room, since).await, ["line 3", "line 4"]);
    }

    #[tokio::test]
    async fn a_follower_gets_the_lines_from_now_on() {
        let room = Room::open().await;
        room.storage.append_logs(KEY, vec![line(1, "")]);
        let mut follower = room.storage.follow_logs(KEY);
        room.storage.append_logs(KEY, vec![line(2, "")]);
        room.storage
            .append_logs("function:other", vec![line(3, "")]);
        assert_eq!(follower.recv().await.unwrap().text, "line 2");
        assert!(follower.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_key_that_could_leave_the_folder_is_refused() {
        let room = Room::open().await;
        for key in ["../x", "a/b", "", "."] {
            room.storage.append_logs(key, vec![line(1, "")]);
            let bad = LogQuery {
                key: key.to_owned(),
                ..query(1)
            };
            let error = room.storage.read_logs(bad).await.unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{error}");
        }
        assert_eq!(room.names("logs"), Vec::<String>::new());
    }

    #[test]
    fn a_flood_is_dropped_counted_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let logs = Logs::start(folder.path().to_owned()).unwrap();
        let flood = LogLine {
            version: None,
            text: "x".repeat(QUEUE_BYTES + 1),
            ..line(1, "")
        };
        logs.append(KEY, vec![flood]);
        logs.append(KEY, vec![line(2, "")]);
        drop(logs);
        let folder = segments::folder(folder.path(), KEY).unwrap();
        let kept = segments::read(&folder, &query(10), 10).unwrap();
        assert!(
            kept.iter()
                .any(|line| line.text.starts_with("1 lines were dropped"))
        );
        assert!(kept.iter().any(|line| line.text == "line 2"));
    }
}
