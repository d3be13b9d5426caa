//! The command line.

use crate::commands::{
    build, deploy, doctor, env, events, image, init, invoke, logs, ls, manifest, ps, registry, rm,
    schedule, secret, upstream, versions,
};
use crate::error::EXIT_CODES;
use crate::serve;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Functions and microservices in contained instances, woken by events, on your own machine.
///
/// `rouse serve` is the server; everything else talks to it. A first round:
///
///   rouse serve                       # in one terminal
///   eval "$(rouse env)"               # in another: AWS clients find it, too
///   rouse deploy                      # what compose.yaml declares
///   aws s3 cp photo.jpg s3://photos/  # wakes a function
///   rouse events                      # what happened
#[derive(Debug, Parser)]
#[command(name = "rouse", version, after_long_help = EXIT_CODES, verbatim_doc_comment)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Arguments {
    /// The server's data folder [default: $XDG_DATA_HOME/rouse or ~/.local/share/rouse]
    ///
    /// The server keeps everything in it; other commands find the server's address and credential
    /// there, unless ROUSE_URL and ROUSE_TOKEN are set.
    #[arg(long, global = true, env = "ROUSE_DATA", value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do. Each command is described at its options, which is where its help comes from.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::Options),
    Init(init::Options),
    Build(build::Options),
    Deploy(deploy::Options),
    Manifest(manifest::Options),
    Invoke(invoke::Options),
    Logs(logs::Options),
    Ls(ls::Options),
    Ps(ps::Options),
    Events(events::Options),
    Schedule(schedule::Options),
    Image(image::Options),
    Registry(registry::Options),
    Upstream(upstream::Options),
    Secret(secret::Options),
    Config(secret::ConfigOptions),
    Versions(versions::Options),
    Rollback(versions::Rollback),
    Alias(versions::Naming),
    Env(env::Options),
    Rm(rm::Options),
    Doctor(doctor::Options),
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_every_command_has_an_example() {
        let mut command = Arguments::command();
        command.build();
        command.clone().debug_assert();
        for command in command.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{name} has no example");
        }
    }
}
