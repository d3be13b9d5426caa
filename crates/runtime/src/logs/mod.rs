//! Logs: what an instance writes to its two pipes, as lines with the call that they belong to.
//!
//! A line belongs to the call that is under way when it is written. With none or several, it belongs
//! to the instance: nothing in the line tells which of several calls it comes from.

mod call;
mod lines;
mod tail;

use bytes::Bytes;
use lines::Lines;
use model::{InstanceId, LogLine, RequestId, Stream, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tail::Tail;
use tokio::net::unix::pipe::Receiver;
use tokio_util::task::AbortOnDropHandle;

/// Most bytes of log that are kept of one call, or of ten seconds outside calls: 4 MiB. The rest is
/// read, so that the function is not held up, and only counted.
const MAX_KEPT: usize = 4 * 1024 * 1024;
/// The span that the bound is for outside calls, and while several are under way.
const SPAN: Duration = Duration::from_secs(10);
/// What is read at once.
const CHUNK: usize = 16 * 1024;
/// Most that is read at the end of a call without waiting, for each pipe.
const MAX_DRAINED: usize = 16 * CHUNK;
/// Without waiting.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Takes finished lines; must not block.
pub(crate) type Sink = Box<dyn Fn(Vec<LogLine>) + Send + Sync>;

/// The capture of one instance's log. Dropped, it takes in what is there and stops reading.
pub(crate) struct Capture {
    shared: Arc<Shared>,
    pipes: Vec<Arc<Pipe>>,
    _readers: Vec<AbortOnDropHandle<()>>,
}

struct Pipe {
    receiver: Receiver,
    stream: Stream,
}

impl Pipe {
    /// A question whether there is something to read.
    fn look(&self) -> PollFd<'_> {
        PollFd::new(&self.receiver, PollFlags::IN)
    }
}

struct Shared {
    instance: InstanceId,
    version: Option<u64>,
    sink: Sink,
    state: Mutex<State>,
}

struct State {
    stdout: Lines,
    stderr: Lines,
    /// Of what belongs to the instance.
    tail: Tail,
    /// The calls under way.
    open: Vec<Open>,
    /// Counts calls, to tell them apart.
    begun: u64,
    kept: usize,
    dropped: u64,
    since: Instant,
}

/// A call under way.
struct Open {
    number: u64,
    request: RequestId,
    tail: Tail,
}

impl State {
    /// The call that what is written now belongs to.
    fn only(&mut self) -> Option<&mut Open> {
        match self.open.as_mut_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

impl Capture {
    /// Reads both pipes from now on.
    ///
    /// # Errors
    /// When a pipe cannot be registered with tokio.
    pub(crate) fn start(
        instance: InstanceId,
        version: Option<u64>,
        stdout: Option<OwnedFd>,
        stderr: Option<OwnedFd>,
        sink: Sink,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            instance,
            version,
            sink,
            state: Mutex::new(State {
                stdout: Lines::default(),
                stderr: Lines::default(),
                tail: Tail::default(),
                open: Vec::new(),
                begun: 0,
                kept: 0,
                dropped: 0,
                since: Instant::now(),
            }),
        });
        let mut pipes = Vec::new();
        let mut readers = Vec::new();
        for (fd, stream) in [(stdout, Stream::Stdout), (stderr, Stream::Stderr)] {
            let Some(fd) = fd else { continue };
            let receiver = Receiver::from_owned_fd(fd)?;
            let pipe = Arc::new(Pipe { receiver, stream });
            let reader = tokio::spawn(read(shared.clone(), pipe.clone()));
            readers.push(AbortOnDropHandle::new(reader));
            pipes.push(pipe);
        }
        Ok(Self {
            shared,
            pipes,
            _readers: readers,
        })
    }

    /// Outside calls, or at the instance's end: takes in what it wrote, adds the platform's `lines`,
    /// and gives the last 4 KiB of what belongs to no call.
    pub(crate) fn end(&self, lines: Vec<String>) -> Bytes {
        self.drain();
        let mut state = self.shared.lock();
        let mut out = Vec::new();
        self.shared.flush(&mut state, &mut out);
        for line in lines {
            self.shared
                .keep(&mut state, &mut out, Stream::Platform, line);
        }
        let tail = state.tail.read();
        drop(state);
        self.shared.hand_over(out);
        tail
    }

    /// Adds lines of the platform's own.
    pub(crate) fn notes(&self) -> Notes {
        Notes(self.shared.clone())
    }

    /// Reads what is there without waiting: it was written before the answer that the caller has.
    fn drain(&self) {
        let mut looks: Vec<_> = self.pipes.iter().map(|pipe| pipe.look()).collect();
        // There is rarely anything: both are asked at once. Not asked, each is read.
        let asked = rustix::event::poll(&mut looks, Some(&NOW)).is_ok();
        for (pipe, look) in self.pipes.iter().zip(looks) {
            if asked && look.revents().is_empty() {
                continue;
            }
            let mut buffer = [0; CHUNK / 8];
            let mut drained = 0;
            while drained < MAX_DRAINED {
                // Not through tokio, which may not have heard yet that there is something.
                let read = |buffer: &mut [u8]| Ok(rustix::io::read(pipe.receiver.as_fd(), buffer)?);
                match self.shared.pump(pipe, &mut buffer, read) {
                    Ok(read @ 1..) => drained += read,
                    _ => break,
                }
            }
        }
    }
}

/// Adds lines of the platform's own to an instance's log, each to the call that is under way.
#[derive(Clone)]
pub(crate) struct Notes(Arc<Shared>);

impl Notes {
    /// Adds one.
    pub(crate) fn add(&self, line: String) {
        let mut out = Vec::new();
        let mut state = self.0.lock();
        self.0.keep(&mut state, &mut out, Stream::Platform, line);
        drop(state);
        self.0.hand_over(out);
    }
}

impl Drop for Capture {
    /// What was written until now is kept.
    fn drop(&mut self) {
        self.end(Vec::new());
    }
}

/// Reads one pipe until its end.
async fn read(shared: Arc<Shared>, pipe: Arc<Pipe>) {
    loop {
        if pipe.receiver.readable().await.is_err() {
            return;
        }
        match shared.read(&pipe) {
            Ok(0) => break,
            Ok(_) => {
                // A flood may cost its writer time, never the server a processor.
                if shared.is_flooded() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                } else {
                    tokio::task::yield_now().await;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::warn!(%error, instance = %shared.instance, "reading an instance's log");
                break;
            }
        }
    }
    let mut out = Vec::new();
    shared.flush(&mut shared.lock(), &mut out);
    shared.hand_over(out);
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_flooded(&self) -> bool {
        self.lock().dropped > 0
    }

    /// Reads once what is there. The buffer is on the stack, since most instances are silent most of the time.
    fn read(&self, pipe: &Pipe) -> std::io::Result<usize> {
        let read = |buffer: &mut [u8]| pipe.receiver.try_read(buffer);
        self.pump(pipe, &mut [0; CHUNK], read)
    }

    /// Reads once; the number of bytes, 0 at the end. Reading and splitting are one step, so that two
    /// readers cannot swap what they read.
    fn pump(
        &self,
        pipe: &Pipe,
        buffer: &mut [u8],
        read: impl FnOnce(&mut [u8]) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        let mut state = self.lock();
        let read = read(&mut *buffer)?;
        let mut out = Vec::new();
        self.take_in(&mut state, pipe.stream, &buffer[..read], &mut out);
        drop(state);
        self.hand_over(out);
        Ok(read)
    }

    fn take_in(&self, state: &mut State, stream: Stream, bytes: &[u8], out: &mut Vec<LogLine>) {
        if state.open.len() != 1 && state.since.elapsed() >= SPAN {
            self.renew(state, out);
        }
        let room = MAX_KEPT - state.kept;
        let taken = bytes.len().min(room);
        state.kept += taken;
        state.dropped += (bytes.len() - taken) as u64;
        let mut whole = Vec::new();
        match stream {
            Stream::Stderr => &mut state.stderr,
            _ => &mut state.stdout,
        }
        .feed(&bytes[..taken], |line| whole.push(line));
        for text in whole {
            self.keep(state, out, stream, text);
        }
    }

    /// Ends the lines that have no end, says what was dropped, and begins a new account.
    fn flush(&self, state: &mut State, out: &mut Vec<LogLine>) {
        for (stream, rest) in [
            (Stream::Stdout, state.stdout.flush()),
            (Stream::Stderr, state.stderr.flush()),
        ] {
            if let Some(text) = rest {
                self.keep(state, out, stream, text);
            }
        }
        self.renew(state, out);
    }

    fn renew(&self, state: &mut State, out: &mut Vec<LogLine>) {
        let dropped = std::mem::take(&mut state.dropped);
        state.kept = 0;
        state.since = Instant::now();
        if dropped > 0 {
            let line = format!(
                "{dropped} bytes of log were dropped: more than {MAX_KEPT} bytes of one call, or of ten seconds"
            );
            self.keep(state, out, Stream::Platform, line);
        }
    }

    /// Keeps a line of whoever writes now.
    fn keep(&self, state: &mut State, out: &mut Vec<LogLine>, stream: Stream, text: String) {
        let request = match state.only() {
            Some(call) => {
                call.tail.push(&text);
                Some(call.request.clone())
            }
            None => {
                state.tail.push(&text);
                None
            }
        };
        out.push(self.line(request, stream, text));
    }

    fn line(&self, request: Option<RequestId>, stream: Stream, text: String) -> LogLine {
        LogLine {
            time: Timestamp::now(),
            instance: self.instance.clone(),
            version: self.version,
            request,
            stream,
            text,
        }
    }

    fn hand_over(&self, out: Vec<LogLine>) {
        if !out.is_empty() {
            (self.sink)(out);
        }
    }
}

#[cfg(test)]
mod tests;
