//! Bytes into lines, each within a bound.

use model::MAX_LOG_LINE;

/// Ends a line whose rest was cut.
const MARK: &str = " [cut]";

/// Collects the bytes of one stream until a line is whole.
#[derive(Debug, Default)]
pub(super) struct Lines {
    line: Vec<u8>,
    /// Whether bytes of this line were thrown away.
    overflowed: bool,
}

impl Lines {
    /// Takes bytes and gives each line that they complete, without its end, 16 KiB at most.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut whole: impl FnMut(String)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.add(&bytes[..end]);
            whole(self.take());
            bytes = &bytes[end + 1..];
        }
        self.add(bytes);
    }

    /// What is there of a line that has no end yet.
    pub(super) fn flush(&mut self) -> Option<String> {
        let some = !self.line.is_empty() || self.overflowed;
        some.then(|| self.take())
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = MAX_LOG_LINE - self.line.len();
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.overflowed |= bytes.len() > room;
    }

    fn take(&mut self) -> String {
        let overflowed = std::mem::take(&mut self.overflowed);
        if !overflowed && self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        let mut text = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        // Replacement characters may have made it longer again.
        if overflowed || text.len() > MAX_LOG_LINE {
            text.truncate(text.floor_char_boundary(MAX_LOG_LINE - MARK.len()));
            text.push_str(MARK);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<String> {
        let mut lines = Lines::default();
        let mut all = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, |line| all.push(line));
        }
        all.extend(lines.flush());
        all
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_marked() {
        let long = "é".repeat(MAX_LOG_LINE);
        let lines = split(&[long.as_bytes(), b"\nnext\r\n"]);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].len() <= MAX_LOG_LINE && lines[0].ends_with("é [cut]"));
        assert_eq!(lines[1], "next");
    }

    #[test]
    fn a_line_of_just_the_bound_is_whole() {
        let line = "x".repeat(MAX_LOG_LINE);
        assert_eq!(split(&[line.as_bytes(), b"\n"]), [line]);
    }

    proptest! {
        #[test]
        fn how_the_bytes_come_in_does_not_matter(text in "[a-zé\r\n]{0,200}", cuts: Vec<usize>) {
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let expected: Vec<String> = text.lines().map(str::to_owned).collect();
            let mut found = split(&chunks);
            // A last line without "\n" keeps its "\r" in `str::lines`, not here.
            if text.ends_with('\r') && !text.is_empty() {
                let last = found.last_mut().unwrap();
                last.push('\r');
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn no_line_is_longer_than_the_bound(chunks: Vec<Vec<u8>>, repeat in 1..200usize) {
            let bytes: Vec<u8> = chunks.concat().repeat(repeat);
            let mut lines = Lines::default();
            let mut longest = 0;
            lines.feed(&bytes, |line| longest = longest.max(line.len()));
            longest = longest.max(lines.flush().map_or(0, |line| line.len()));
            prop_assert!(longest <= MAX_LOG_LINE);
        }
    }
}
