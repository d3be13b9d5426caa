//! `rouse init`: starters.

use crate::error::{Error, Result};
use crate::output;
use clap::{Args, ValueEnum};
use model::FunctionName;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Stands in the templates where the name belongs.
const NAME: &str = "FUNCTION_NAME";

/// Write a small function to begin with: its code, a manifest, and a README of three lines
///
/// Examples:
///   rouse init --template python my-function
///   cd my-function && rouse deploy && rouse invoke my-function -p '{"n": 1}'
///
/// The folder's name becomes the function's. Nothing that is there is overwritten.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// What to begin with
    #[arg(short, long, value_enum)]
    template: Template,
    /// The folder; it is made if it is not there
    folder: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Template {
    /// Node.js, index.mjs with a handler
    Node,
    /// Python, app.py with a handler
    Python,
    /// Rust, without dependencies
    Rust,
    /// A plain HTTP server in any language
    Http,
}

/// One file of a starter.
struct Starter {
    name: &'static str,
    text: &'static str,
    is_executable: bool,
}

const fn text(name: &'static str, text: &'static str) -> Starter {
    Starter {
        name,
        text,
        is_executable: false,
    }
}

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../templates/", $path))
    };
}

impl Template {
    fn files(self) -> Vec<Starter> {
        let ignore = text(".rouseignore", template!("ignore"));
        match self {
            Self::Node => vec![
                text("index.mjs", template!("node/index.mjs")),
                text("compose.yaml", template!("node/compose.yaml")),
                text("README.md", template!("node/README.md")),
                ignore,
            ],
            Self::Python => vec![
                text("app.py", template!("python/app.py")),
                text("compose.yaml", template!("python/compose.yaml")),
                text("README.md", template!("python/README.md")),
                ignore,
            ],
            Self::Rust => vec![
                text("Cargo.toml", template!("rust/Cargo.toml.in")),
                text("src/main.rs", template!("rust/main.rs")),
                text("compose.yaml", template!("rust/compose.yaml")),
                text("README.md", template!("rust/README.md")),
                text(".rouseignore", template!("rust/ignore")),
            ],
            Self::Http => vec![
                Starter {
                    name: "server",
                    text: template!("http/server"),
                    is_executable: true,
                },
                text("compose.yaml", template!("http/compose.yaml")),
                text("README.md", template!("http/README.md")),
                ignore,
            ],
        }
    }
}

/// Runs the command.
pub(crate) fn run(options: &Options) -> Result<()> {
    let name = named(&options.folder, options.template)?;
    let files = options.template.files();
    // All of it is looked at before any of it is written.
    let there = files.iter().map(|file| options.folder.join(file.name));
    if let Some(path) = there
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok())
    {
        return Err(there_already(&path));
    }
    for file in &files {
        write(&options.folder.join(file.name), file, &name)?;
    }
    let shown = options.folder.display();
    output::line(format_args!(
        "{shown} is ready; its README.md says how it is deployed and called"
    ))
}

fn there_already(path: &Path) -> Error {
    Error::Usage(format!(
        "{} is there already, and nothing is overwritten: name another folder",
        path.display()
    ))
}

fn write(path: &Path, starter: &Starter, name: &FunctionName) -> Result<()> {
    let doing = || Error::io(format!("writing {}", path.display()));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(doing())?;
    }
    let mode = if starter.is_executable { 0o755 } else { 0o644 };
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let mut file: File = opened.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => there_already(path),
        _ => doing()(error),
    })?;
    let text = starter.text.replace(NAME, name.as_str());
    file.write_all(text.as_bytes()).map_err(doing())
}

/// The function's name: the folder's.
fn named(folder: &Path, template: Template) -> Result<FunctionName> {
    let whole = std::path::absolute(folder).map_err(Error::io("finding the folder's name"))?;
    let name = whole
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let wrong = |reason: &str| {
        let shown = output::clean(&name, false);
        Error::Usage(format!(
            "\"{shown}\" is no name for a function: {reason}; name another folder"
        ))
    };
    let parsed = name
        .parse::<FunctionName>()
        .map_err(|invalid| wrong(&invalid.reason))?;
    if template == Template::Rust && !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(wrong("a package of Rust begins with a letter"));
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn options(folder: PathBuf, template: Template) -> Options {
        Options { template, folder }
    }

    #[test]
    fn every_starter_is_whole_and_its_manifest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        for template in Template::value_variants() {
            let own = folder.path().join(format!("f-{template:?}"));
            run(&options(own.clone(), *template)).unwrap();
            let readme = std::fs::read_to_string(own.join("README.md")).unwrap();
            assert_eq!(readme.lines().count(), 3);
            let compose = std::fs::read_to_string(own.join("compose.yaml")).unwrap();
            assert!(
                compose.contains(&format!("name: f-{template:?}")),
                "{compose}"
            );
            for file in template.files() {
                let text = std::fs::read_to_string(own.join(file.name)).unwrap();
                assert!(!text.contains(NAME), "{}", file.name);
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("mine");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("README.md"), "mine").unwrap();
        let error = run(&options(own.clone(), Template::Node)).unwrap_err();
        assert!(
            error.to_string().contains("README.md is there already"),
            "{error}"
        );
        assert_eq!(
            std::fs::read_to_string(own.join("README.md")).unwrap(),
            "mine"
        );
        assert_eq!(std::fs::read_dir(&own).unwrap().count(), 1);
        // What is not ours is no hindrance.
        std::fs::rename(own.join("README.md"), own.join("NOTES.md")).unwrap();
        run(&options(own, Template::Node)).unwrap();
    }

    #[test]
    fn the_folder_names_the_function() {
        let folder = tempfile::tempdir().unwrap();
        for (name, template) in [("a b", Template::Node), ("1st", Template::Rust)] {
            let error = run(&options(folder.path().join(name), template)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }
}
