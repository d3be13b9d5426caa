//! What people and programs read: tables, JSON, colours, and text that cannot play with the terminal.

use crate::error::{Error, Result};
use comfy_table::{ContentArrangement, Table, presets};
use model::Timestamp;
use owo_colors::{OwoColorize, Stream, Style};
use serde::Serialize;
use std::fmt::Display;
use std::io::Write;

/// Writes to standard output.
pub(crate) fn print(text: impl Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(Error::io("writing to standard output"))
}

/// Writes a line to standard output.
pub(crate) fn line(text: impl Display) -> Result<()> {
    print(format_args!("{text}\n"))
}

/// Writes a line to standard error; nobody is left to tell if that fails.
pub(crate) fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes a value as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::Failed(format!("writing JSON: {error}")))?;
    line(text)
}

/// A table without frames; its header is bold on a terminal.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.map(|title| {
            title
                .if_supports_color(Stream::Stdout, |title| title.bold())
                .to_string()
        }));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Prints a table, or a sentence when it is empty.
pub(crate) fn print_table(table: &Table, empty: &str) -> Result<()> {
    if table.is_empty() {
        note(empty);
        return Ok(());
    }
    line(table.trim_fmt())
}

/// Text of functions, users and errors with everything taken out that a terminal would obey: escape
/// sequences, control characters, and marks that turn the direction of text. Tabs stay; line ends stay
/// if `lines`, else become blanks.
pub(crate) fn clean(text: &str, lines: bool) -> String {
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\t' => result.push(c),
            '\n' if lines => result.push(c),
            '\n' => result.push(' '),
            '\u{1b}' if characters.peek() == Some(&'[') => {
                characters.next();
                while characters.next_if(|c| matches!(c, ' '..='?')).is_some() {}
                characters.next_if(|c| matches!(c, '@'..='~'));
            }
            _ if c.is_control() => {}
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            _ => result.push(c),
        }
    }
    result
}

/// [`clean`] on one line, cut to `width` characters.
pub(crate) fn cell(text: &str, width: usize) -> String {
    let text = clean(text, false);
    if text.chars().count() <= width {
        return text;
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// How a word shall look on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// It is well.
    Good,
    /// It waits or changes.
    Busy,
    /// It failed.
    Bad,
    /// It does not matter much.
    Dim,
}

/// The text in a colour, if standard output is a terminal that has them.
pub(crate) fn paint(text: impl Display, tone: Tone) -> String {
    let style = match tone {
        Tone::Good => Style::new().green(),
        Tone::Busy => Style::new().yellow(),
        Tone::Bad => Style::new().red(),
        Tone::Dim => Style::new().dimmed(),
    };
    let text = text.to_string();
    text.if_supports_color(Stream::Stdout, |text| text.style(style))
        .to_string()
}

/// A state's word in its colour.
pub(crate) fn state(word: &str) -> String {
    let tone = match word {
        "succeeded" | "healthy" | "idle" | "created" | "ok" | "completed" => Tone::Good,
        "waiting" | "leased" | "starting" | "busy" | "updated" | "stopping" | "degraded" => {
            Tone::Busy
        }
        "unchanged" | "stopped" => Tone::Dim,
        _ => Tone::Bad,
    };
    paint(cell(word, 40), tone)
}

/// Bytes for people: `640 B`, `1.5 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut tenths = u128::from(count) * 10 / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// Microseconds for people: `0.3 ms`, `42 ms`, `1.5 s`.
pub(crate) fn micros(count: u64) -> String {
    match count {
        0..10_000 => format!("{}.{} ms", count / 1000, count % 1000 / 100),
        10_000..1_000_000 => format!("{} ms", count / 1000),
        _ => format!("{}.{} s", count / 1_000_000, count % 1_000_000 / 100_000),
    }
}

/// How long ago a point was: `12s`, `5m`, `3h`, `2d`.
pub(crate) fn age(time: Timestamp) -> String {
    let seconds = Timestamp::now().since(time) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_cannot_play_with_the_terminal() {
        assert_eq!(clean("\u{1b}[31mred\u{1b}[0m\u{7}", true), "red");
        assert_eq!(clean("a\rb\u{8}\u{9b}2Jc", true), "ab2Jc");
        assert_eq!(clean("\u{1b}]0;title\u{7}x", true), "]0;titlex");
        assert_eq!(clean("a\nb\tc", true), "a\nb\tc");
        assert_eq!(clean("a\nb", false), "a b");
        assert_eq!(clean("a\u{202e}b", true), "ab");
        assert_eq!(clean("Grüße 🖼", true), "Grüße 🖼");
    }

    #[test]
    fn numbers_for_people() {
        let sizes = [0, 1023, 1024, 1_572_864, 10 << 30].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "10.0 GiB"]);
        let times = [0, 340, 9_999, 42_000, 1_540_000].map(micros);
        assert_eq!(times, ["0.0 ms", "0.3 ms", "9.9 ms", "42 ms", "1.5 s"]);
    }

    #[test]
    fn cells_are_cut() {
        assert_eq!(cell("abcdef", 4), "abc…");
        assert_eq!(cell("abcd", 4), "abcd");
    }
}
