//! The log of one call.

use super::{Capture, Open, Shared, State, Tail};
use bytes::Bytes;
use model::{LogLine, RequestId, Stream};

/// A call whose log is being captured, until it is ended or dropped.
pub(crate) struct CallLog<'a> {
    capture: &'a Capture,
    number: u64,
}

impl Capture {
    /// A call begins: while it is the only one, the lines from here on are its own.
    pub(crate) fn begin(&self, request: &RequestId, line: String) -> CallLog<'_> {
        self.drain();
        let mut state = self.shared.lock();
        let mut out = Vec::new();
        // What was written belongs to whoever was there before, unless that stays nobody's.
        if state.open.len() <= 1 {
            self.shared.flush(&mut state, &mut out);
        }
        if state.open.is_empty() {
            state.tail.clear();
        }
        state.begun += 1;
        let number = state.begun;
        let mut call = Open {
            number,
            request: request.clone(),
            tail: Tail::default(),
        };
        self.shared.tell(&mut call, &mut out, line);
        state.open.push(call);
        drop(state);
        self.shared.hand_over(out);
        CallLog {
            capture: self,
            number,
        }
    }

    /// Takes a call out, with what was written until now.
    fn close(&self, number: u64, out: &mut Vec<LogLine>) -> Option<Open> {
        self.drain();
        let mut state = self.shared.lock();
        if state.open.len() <= 2 {
            self.shared.flush(&mut state, out);
        }
        state.take(number)
    }
}

impl State {
    fn take(&mut self, number: u64) -> Option<Open> {
        let at = self.open.iter().position(|call| call.number == number)?;
        Some(self.open.swap_remove(at))
    }
}

impl Shared {
    /// The platform's word on one call, which is that call's however many there are.
    fn tell(&self, call: &mut Open, out: &mut Vec<LogLine>, text: String) {
        call.tail.push(&text);
        out.push(self.line(Some(call.request.clone()), Stream::Platform, text));
    }
}

impl CallLog<'_> {
    /// The call ended: takes in what it wrote, adds the platform's `lines`, and gives the last 4 KiB
    /// of what is its own.
    pub(crate) fn end(self, lines: Vec<String>) -> Bytes {
        let shared = &self.capture.shared;
        let mut out = Vec::new();
        let mut tail = Bytes::new();
        if let Some(mut call) = self.capture.close(self.number, &mut out) {
            for line in lines {
                shared.tell(&mut call, &mut out, line);
            }
            tail = call.tail.read();
        }
        shared.hand_over(out);
        tail
    }
}

impl Drop for CallLog<'_> {
    fn drop(&mut self) {
        let shared = &self.capture.shared;
        let ended = !shared
            .lock()
            .open
            .iter()
            .any(|call| call.number == self.number);
        if !ended {
            let mut out = Vec::new();
            self.capture.close(self.number, &mut out);
            shared.hand_over(out);
        }
    }
}
