//! One file for each command.

pub(crate) mod build;
mod code;
pub(crate) mod deploy;
mod difference;
pub(crate) mod doctor;
mod driver;
pub(crate) mod env;
pub(crate) mod events;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod invoke;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod manifest;
mod named;
mod progress;
pub(crate) mod ps;
pub(crate) mod registry;
mod release;
pub(crate) mod rm;
pub(crate) mod schedule;
pub(crate) mod secret;
mod upload;
pub(crate) mod upstream;
pub(crate) mod versions;
mod wait;

pub(crate) use progress::byte_bar;
pub(crate) use upload::body;

use crate::arguments::Command;
use crate::client::Client;
use crate::data::DataFolder;
use crate::error::{Error, Result};

/// Runs a command that talks to a server.
pub(crate) async fn run(command: Command, data: &DataFolder) -> Result<()> {
    let client = || Client::new(data);
    match command {
        Command::Build(options) => build::run(&options, data).await,
        Command::Deploy(options) => deploy::run(&options, data).await,
        Command::Invoke(options) => invoke::run(&options, &client()?).await,
        Command::Logs(options) => logs::run(&options, &client()?).await,
        Command::Ls(options) => ls::run(&options, &client()?).await,
        Command::Ps(options) => ps::run(&options, &client()?).await,
        Command::Events(options) => events::run(&options, &client()?).await,
        Command::Schedule(options) => schedule::run(&options, &client()?).await,
        Command::Image(options) => image::run(&options, &client()?).await,
        Command::Secret(options) => secret::run(&options, &client()?).await,
        Command::Config(options) => secret::run_config(&options, &client()?).await,
        Command::Versions(options) => versions::run(&options, &client()?).await,
        Command::Rollback(options) => versions::rollback(&options, &client()?).await,
        Command::Alias(options) => versions::alias(&options, &client()?).await,
        Command::Registry(options) => registry::run(&options, &client()?).await,
        Command::Upstream(options) => upstream::run(&options, &client()?).await,
        Command::Rm(options) => rm::run(&options, &client()?).await,
        Command::Doctor(options) => doctor::run(&options, data).await,
        Command::Init(options) => init::run(&options),
        Command::Serve(_) | Command::Env(_) | Command::Manifest(_) => {
            Err(Error::Usage("this command needs no server".to_owned()))
        }
    }
}
