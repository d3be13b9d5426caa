//! The files of a log: for each key a folder of numbered NDJSON segments.

use crate::folders::{make_folder, remove_file};
use crate::logs::LogQuery;
use crate::store::names_in;
use crate::{Error, Result};
use model::LogLine;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Size at which a segment is full.
const SEGMENT: u64 = 8 << 20;
/// Segments of one key.
const KEPT: u64 = 4;
/// What is kept of the memory for a line.
const LINE: usize = 64 << 10;
/// Files open at once.
const OPEN: usize = 64;

/// The folder of a key's segments.
///
/// # Errors
/// `Invalid` for a key that is not of letters, digits, `-`, `_`, `.` and `:`, or begins with `.`.
pub(crate) fn folder(logs: &Path, key: &str) -> Result<PathBuf> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    if key.is_empty() || key.len() > 200 || key.starts_with('.') || !key.bytes().all(legal) {
        let shown: String = key.chars().take(80).collect();
        let reason = format!(
            "log key \"{}\" is not function:NAME or service:NAME",
            shown.escape_debug()
        );
        return Err(Error::Invalid(reason));
    }
    Ok(logs.join(key.replace(':', "_")))
}

fn segment(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:04}.ndjson"))
}

/// Numbers of the segments there are, ascending.
fn numbers(folder: &Path) -> Result<Vec<u64>> {
    let names = match names_in(folder) {
        Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let number = |name: &String| name.strip_suffix(".ndjson")?.parse().ok();
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The last `tail` lines that fit, oldest first; from the newest segment backwards, and no further
/// than needed.
pub(crate) fn read(folder: &Path, query: &LogQuery, tail: usize) -> Result<Vec<LogLine>> {
    let wanted = query.request.as_ref().map(ToString::to_string);
    let mut found = Vec::new();
    for number in numbers(folder)?.into_iter().rev() {
        let path = segment(folder, number);
        let bytes = match std::fs::read(&path) {
            // Full segments go at any time.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            read => read.map_err(|error| Error::io("reading", &path, error))?,
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut all_older = query.since.is_some();
        for line in text.lines().rev() {
            // Parsing is what costs; a line without the id in it cannot be of the call.
            if wanted.as_deref().is_some_and(|id| !line.contains(id)) {
                all_older = false;
                continue;
            }
            // A crash or a full disk may have cut a line.
            let Ok(line) = serde_json::from_str::<LogLine>(line) else {
                continue;
            };
            all_older &= query.since.is_some_and(|since| line.time < since);
            if query.takes(&line) {
                found.push(line);
            }
            if found.len() == tail {
                found.reverse();
                return Ok(found);
            }
        }
        if all_older {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// The segments that are written to.
pub(crate) struct Segments {
    logs: PathBuf,
    open: HashMap<String, Segment>,
    /// The line that is being written; kept so that it is not made anew for each.
    line: Vec<u8>,
    /// The last failure was told; it is told again only after a success.
    failing: bool,
}

struct Segment {
    folder: PathBuf,
    number: u64,
    size: u64,
    file: BufWriter<File>,
}

impl Segments {
    pub(crate) fn new(logs: PathBuf) -> Self {
        Self {
            logs,
            open: HashMap::new(),
            line: Vec::new(),
            failing: false,
        }
    }

    /// Adds lines. What cannot be written is lost, and the server's own log says so.
    pub(crate) fn append(&mut self, key: &str, lines: &[LogLine]) {
        let written = self.write(key, lines);
        self.judge(key, written);
    }

    fn judge(&mut self, key: &str, written: Result<()>) {
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.open.remove(key);
                if !self.failing {
                    tracing::warn!(%error, "log lines are lost");
                }
                self.failing = true;
            }
        }
    }

    fn write(&mut self, key: &str, lines: &[LogLine]) -> Result<()> {
        if !self.open.contains_key(key) {
            if self.open.len() >= OPEN {
                self.flush();
                self.open.clear();
            }
            let segment = Segment::open(folder(&self.logs, key)?)?;
            self.open.insert(key.to_owned(), segment);
        }
        let Some(segment) = self.open.get_mut(key) else {
            return Ok(());
        };
        for line in lines {
            self.line.clear();
            serde_json::to_writer(&mut self.line, line)
                .map_err(|error| Error::Invalid(error.to_string()))?;
            self.line.push(b'\n');
            segment.write(&self.line)?;
        }
        self.line.shrink_to(LINE);
        Ok(())
    }

    /// Makes all that was added readable.
    pub(crate) fn flush(&mut self) {
        let failed: Vec<_> = self
            .open
            .iter_mut()
            .filter_map(|(key, segment)| Some((key.clone(), segment.flush().err()?)))
            .collect();
        for (key, error) in failed {
            self.judge(&key, Err(error));
        }
    }
}

impl Segment {
    fn open(folder: PathBuf) -> Result<Self> {
        make_folder(&folder)?;
        let newest = numbers(&folder)?.last().copied().unwrap_or(1);
        Self::open_number(folder, newest)
    }

    fn open_number(folder: PathBuf, number: u64) -> Result<Self> {
        let path = segment(&folder, number);
        let (file, size) =
            append_to(&path).map_err(|error| Error::io("opening the log", &path, error))?;
        Ok(Self {
            folder,
            number,
            size,
            file: BufWriter::with_capacity(64 * 1024, file),
        })
    }

    fn write(&mut self, json: &[u8]) -> Result<()> {
        if self.size > 0 && self.size + json.len() as u64 > SEGMENT {
            self.flush()?;
            *self = Self::open_number(self.folder.clone(), self.number + 1)?;
            for old in numbers(&self.folder)? {
                if old + KEPT <= self.number {
                    remove_file(&segment(&self.folder, old))?;
                }
            }
        }
        self.file
            .write_all(json)
            .map_err(|error| self.failed(error))?;
        self.size += json.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|error| self.failed(error))
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io(
            "writing the log",
            &segment(&self.folder, self.number),
            error,
        )
    }
}

/// Opens a segment at its end, and ends a line that a crash has cut.
fn append_to(path: &Path) -> std::io::Result<(File, u64)> {
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let mut size = file.metadata()?.len();
    if size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != [b'\n'] {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use model::{InstanceId, Stream, Timestamp};

    const KEY: &str = "service:catalog";

    fn line(number: i64, length: usize) -> LogLine {
        LogLine {
            version: None,
            time: Timestamp(number),
            instance: InstanceId::generate(),
            request: None,
            stream: Stream::Stderr,
            text: "é".repeat(length / 2),
        }
    }

    fn times(folder: &Path, query: &LogQuery, tail: usize) -> Vec<i64> {
        let lines = read(folder, query, tail).unwrap();
        lines.iter().map(|line| line.time.0).collect()
    }

    #[test]
    fn four_segments_are_kept_and_read_across() {
        let logs = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(logs.path().to_owned());
        let kib: Vec<LogLine> = (0..48).map(|n| line(n, 1 << 20)).collect();
        segments.append(KEY, &kib);
        segments.flush();
        let folder = folder(logs.path(), KEY).unwrap();
        let kept = numbers(&folder).unwrap();
        assert_eq!(kept.len() as u64, KEPT);
        let size: u64 = kept
            .iter()
            .map(|&number| std::fs::metadata(segment(&folder, number)).unwrap().len())
            .sum();
        assert!(size <= KEPT * SEGMENT);
        let all = LogQuery::default();
        assert_eq!(times(&folder, &all, 20), (28..48).collect::<Vec<_>>());
        let since = LogQuery {
            since: Some(Timestamp(40)),
            ..LogQuery::default()
        };
        assert_eq!(times(&folder, &since, 100), (40..48).collect::<Vec<_>>());
    }

    #[test]
    fn a_line_that_a_crash_has_cut_hides_no_other() {
        let logs = tempfile::tempdir().unwrap();
        let folder = folder(logs.path(), KEY).unwrap();
        let mut segments = Segments::new(logs.path().to_owned());
        segments.append(KEY, &[line(1, 10)]);
        segments.flush();
        drop(segments);
        let path = segment(&folder, 1);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"time\":2,\"inst\xC3");
        std::fs::write(&path, bytes).unwrap();
        let mut segments = Segments::new(logs.path().to_owned());
        segments.append(KEY, &[line(3, 10)]);
        segments.flush();
        assert_eq!(times(&folder, &LogQuery::default(), 100), [1, 3]);
    }

    #[test]
    fn more_keys_than_open_files_lose_nothing() {
        let logs = tempfile::tempdir().unwrap();
        let mut segments = Segments::new(logs.path().to_owned());
        let keys: Vec<String> = (0..OPEN + 5).map(|n| format!("function:f{n}")).collect();
        for round in 0..2 {
            for key in &keys {
                segments.append(key, &[line(round, 4)]);
            }
        }
        segments.flush();
        for key in &keys {
            let folder = folder(logs.path(), key).unwrap();
            assert_eq!(times(&folder, &LogQuery::default(), 9), [0, 1], "{key}");
        }
    }
}
