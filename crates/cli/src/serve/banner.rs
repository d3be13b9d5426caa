//! What a person at a terminal is told when the server is ready.

use crate::data::DataFolder;
use crate::output;
use owo_colors::{OwoColorize, Stream};
use std::io::IsTerminal;

/// Prints where it answers, where its data is and what to do next, if standard error is a terminal.
pub(super) fn print(url: &str, data: &DataFolder) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let name = format!("rouse {}", env!("CARGO_PKG_VERSION"));
    let name = name
        .if_supports_color(Stream::Stderr, |name| name.bold())
        .to_string();
    output::note(format_args!(
        "\n  {name} is ready\n\n  \
         address   {url}\n  \
         data      {}\n  \
         next      in another terminal: eval \"$(rouse env)\", then rouse deploy\n  \
         stop      Ctrl-C\n",
        data.path().display()
    ));
}
