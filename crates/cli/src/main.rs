//! The `rouse` command: the server and everything that is said to it.

mod archive;
mod arguments;
mod build;
mod client;
mod commands;
mod data;
mod error;
mod manifest;
mod output;
mod serve;

use arguments::{Arguments, Command};
use clap::Parser;
use error::{Error, Result};
use owo_colors::{OwoColorize, Stream};
use std::process::ExitCode;

/// A call allocates on one thread and is let go of on another, which the C library's own does by locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything else: this process may have been started as the launcher.
    launcher::run_if_launcher();
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let data = data::DataFolder::find(arguments.data.as_deref())?;
    match arguments.command {
        // The server drops its privilege before it has threads, so it makes its own runtime.
        Command::Serve(options) => serve::run(&options, &data),
        Command::Env(options) => commands::env::run(&options, &data),
        Command::Manifest(options) => commands::manifest::run(&options),
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Error::io("starting"))?;
            runtime.block_on(commands::run(command, &data))
        }
    }
}

fn report(error: &Error) {
    match error {
        Error::Reported => {}
        Error::Manifest(error) => {
            let colours = owo_colors::Style::new().bold().style("x");
            let coloured = colours
                .if_supports_color(Stream::Stderr, |text| text.red())
                .to_string();
            output::note(error.render(coloured != colours.to_string()));
        }
        _ => {
            let word = "error:"
                .if_supports_color(Stream::Stderr, |word| word.red())
                .to_string();
            output::note(format_args!("{word} {error}"));
        }
    }
}
