//! The last of what was logged.

use bytes::Bytes;

/// How much of the end of a log is given with an outcome: 4 KiB (AWS Lambda's bound).
pub(super) const MAX_TAIL: usize = 4 * 1024;

/// Keeps the last 4 KiB of the lines that it is given.
#[derive(Debug, Default)]
pub(super) struct Tail {
    text: String,
}

impl Tail {
    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        let from = line.ceil_char_boundary(line.len().saturating_sub(MAX_TAIL));
        self.text.push_str(&line[from..]);
        self.text.push('\n');
        // Shortened seldom, so that it is not moved for each line.
        if self.text.len() > 4 * MAX_TAIL {
            let kept = self.start();
            self.text.drain(..kept);
        }
    }

    /// The end of it.
    pub(super) fn read(&self) -> Bytes {
        Bytes::copy_from_slice(&self.text.as_bytes()[self.start()..])
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.text.clear();
    }

    fn start(&self) -> usize {
        let least = self.text.len().saturating_sub(MAX_TAIL);
        self.text.ceil_char_boundary(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_end_of_all_lines(lines: Vec<String>, repeat in 1..300usize) {
            let mut tail = Tail::default();
            let mut all = String::new();
            for _ in 0..repeat {
                for line in &lines {
                    tail.push(line);
                    all.push_str(line);
                    all.push('\n');
                }
            }
            let read = tail.read();
            prop_assert!(read.len() <= MAX_TAIL);
            prop_assert!(all.as_bytes().ends_with(&read));
            prop_assert!(read.len() + 4 > MAX_TAIL.min(all.len()));
        }
    }
}
