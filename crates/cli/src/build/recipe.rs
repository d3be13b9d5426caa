//! What of a folder goes into an image, and how it is run: told by what the folder holds.

use super::Base;
use super::convention::{first, handler, package_name};
use super::layer::Item;
use super::program::needs;
use crate::archive::tree::{self, Entry, Sort};
use crate::error::{Error, Result};
use model::{Contract, RuntimeName};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where a function's code is inside.
const TASK: &str = "var/task";
/// Where the program is that calls a handler.
const RUNTIME: &str = "var/runtime";

/// What the user says about it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Wanted {
    /// `module.function`, for Node and Python with the `lambda` contract.
    pub(crate) handler: Option<String>,
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// How it is talked to.
    pub(crate) contract: Contract,
}

/// How a folder becomes a layer.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// `node`, `python`, `rust` or `program`.
    pub(crate) language: &'static str,
    pub(crate) entrypoint: Vec<String>,
    pub(crate) command: Vec<String>,
    /// What stands where.
    pub(crate) items: BTreeMap<String, Item>,
    /// The program, if it is one of the folder's own.
    program: Option<PathBuf>,
}

impl Recipe {
    /// Looks at a folder.
    ///
    /// # Errors
    /// One that has a Dockerfile, or nothing that is known.
    pub(crate) fn of(folder: &Path, wanted: &Wanted) -> Result<Self> {
        let has = |name: &str| folder.join(name).is_file();
        let shown = folder.display();
        if let Some(file) = ["Dockerfile", "Containerfile"]
            .into_iter()
            .find(|name| has(name))
        {
            return Err(Error::Usage(format!(
                "{shown} has a {file}, which only Docker and its kin follow: docker build -t \
                 localhost:4566/NAME:TAG {shown}, then docker push; rouse build is for folders without one"
            )));
        }
        let is_python = || {
            [
                "requirements.txt",
                "pyproject.toml",
                "app.py",
                "main.py",
                "lambda_function.py",
            ]
            .into_iter()
            .any(has)
        };
        if has("bootstrap") || (!wanted.command.is_empty() && !has("Cargo.toml")) {
            Self::program(folder, wanted)
        } else if has("Cargo.toml") {
            Self::rust(folder, wanted)
        } else if ["package.json", "index.js", "index.mjs", "index.cjs"]
            .into_iter()
            .any(has)
        {
            Self::node(folder, wanted)
        } else if is_python() || wanted.handler.is_some() {
            Self::python(folder, wanted)
        } else {
            Err(Error::Usage(format!(
                "{shown} has nothing that is known: package.json or index.js (Node), app.py, main.py or \
                 requirements.txt (Python), Cargo.toml (Rust), or an executable named bootstrap; or say the \
                 program: rouse build {shown} -- ./server"
            )))
        }
    }

    fn node(folder: &Path, wanted: &Wanted) -> Result<Self> {
        let ends = ["js", "mjs", "cjs"];
        let run = match wanted.contract {
            Contract::Lambda => {
                let handler = handler(
                    folder,
                    wanted.handler.as_deref(),
                    &["index.handler", "app.handler"],
                    &ends,
                )?;
                let runtime = RuntimeName::Nodejs20;
                return Self::managed(folder, "node", runtime, handler);
            }
            Contract::Http => first(
                folder,
                &["server.js", "server.mjs", "index.js", "index.mjs"],
            )?,
        };
        Self::whole(folder, "node", vec!["node".into(), run], Vec::new())
    }

    fn python(folder: &Path, wanted: &Wanted) -> Result<Self> {
        let run = match wanted.contract {
            Contract::Lambda => {
                let usual = [
                    "app.handler",
                    "main.handler",
                    "lambda_function.lambda_handler",
                ];
                let handler = handler(folder, wanted.handler.as_deref(), &usual, &["py"])?;
                return Self::managed(folder, "python", RuntimeName::Python311, handler);
            }
            Contract::Http => first(folder, &["server.py", "app.py", "main.py"])?,
        };
        Self::whole(folder, "python", vec!["python3".into(), run], Vec::new())
    }

    /// A handler, and the program of ours that calls it.
    fn managed(
        folder: &Path,
        language: &'static str,
        runtime: RuntimeName,
        handler: String,
    ) -> Result<Self> {
        let absent = || Error::Failed(format!("no program calls handlers of {language}"));
        let (name, text) = runtime::bootstrap_of(runtime).ok_or_else(absent)?;
        let interpreter = match language {
            "node" => "node",
            _ => "python3",
        };
        let entrypoint = vec![interpreter.to_owned(), format!("/{RUNTIME}/{name}")];
        let mut recipe = Self::whole(folder, language, entrypoint, vec![handler])?;
        recipe
            .items
            .insert(format!("{RUNTIME}/{name}"), Item::Text(text));
        Ok(recipe)
    }

    /// The release binary alone.
    fn rust(folder: &Path, wanted: &Wanted) -> Result<Self> {
        let name = package_name(folder)?;
        // A static one first: it needs no base.
        let musl = format!(
            "target/{}-unknown-linux-musl/release",
            std::env::consts::ARCH
        );
        let targets = [musl.as_str(), "target/release"];
        let built = targets.iter().map(|target| folder.join(target).join(&name));
        let Some(path) = built.into_iter().find(|path| path.is_file()) else {
            return Err(Error::Usage(format!(
                "{} has no binary target/release/{name}: run `cargo build --release` first",
                folder.display()
            )));
        };
        let program = format!("{TASK}/bootstrap");
        let item = Item::File {
            path: path.clone(),
            is_executable: true,
        };
        let mut entrypoint = vec![format!("/{program}")];
        entrypoint.extend(wanted.command.iter().cloned());
        Ok(Self {
            language: "rust",
            entrypoint,
            command: Vec::new(),
            items: [(program, item)].into(),
            program: Some(path),
        })
    }

    fn program(folder: &Path, wanted: &Wanted) -> Result<Self> {
        if !wanted.command.is_empty() {
            let mut recipe = Self::whole(folder, "program", wanted.command.clone(), Vec::new())?;
            let own = wanted.command[0]
                .strip_prefix("./")
                .map(|name| folder.join(name));
            recipe.program = own.filter(|path| path.is_file());
            return Ok(recipe);
        }
        let run = vec![format!("/{TASK}/bootstrap")];
        let mut recipe = Self::whole(folder, "program", run, Vec::new())?;
        match recipe.items.get(&format!("{TASK}/bootstrap")) {
            Some(Item::File {
                is_executable: true,
                path,
            }) => recipe.program = Some(path.clone()),
            _ => {
                let path = folder.join("bootstrap");
                let reason = format!("{0} is not executable: chmod +x {0}", path.display());
                return Err(Error::Usage(reason));
            }
        }
        Ok(recipe)
    }

    fn whole(
        folder: &Path,
        language: &'static str,
        entrypoint: Vec<String>,
        command: Vec<String>,
    ) -> Result<Self> {
        let entries = tree::entries(folder)?;
        let items = entries.into_iter().map(|Entry { path, name, sort }| {
            let item = match sort {
                Sort::File { is_executable, .. } => Item::File {
                    path,
                    is_executable,
                },
                Sort::Link { target } => Item::Link(target),
                Sort::EmptyFolder => Item::Folder(0o755),
            };
            (format!("{TASK}/{name}"), item)
        });
        Ok(Self {
            language,
            entrypoint,
            command,
            items: items.collect(),
            program: None,
        })
    }

    /// Refuses what cannot start on this base, as far as that is plain to see; adds what every program
    /// may count on where there is nothing below.
    ///
    /// # Errors
    /// An interpreted or dynamically linked program on nothing.
    pub(crate) fn check(&mut self, base: &Base) -> Result<()> {
        if !base.is_nothing() {
            return Ok(());
        }
        let needs = match (&self.program, self.language) {
            (Some(path), _) => needs(path)?,
            (None, "node") => Some("node".to_owned()),
            (None, "python") => Some("python3".to_owned()),
            (None, _) => None,
        };
        if let Some(needs) = needs {
            return Err(Error::Usage(format!(
                "the image needs {needs}, and there is no base that has it: name one with --base, an image of \
                 the server's registry (docker push brings one) or a file of `docker save`"
            )));
        }
        self.items.insert("tmp".to_owned(), Item::Folder(0o1777));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "[package]\nname = \"f\"\n").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        folder
    }

    fn of(files: &[&str], wanted: &Wanted) -> Result<Recipe> {
        Recipe::of(folder(files).path(), wanted)
    }

    #[test]
    fn a_folder_tells_how_it_is_run() {
        let lambda = Wanted::default();
        let http = Wanted {
            contract: Contract::Http,
            ..Wanted::default()
        };
        let said = Wanted {
            command: vec!["./run".into(), "-x".into()],
            ..Wanted::default()
        };
        for (files, wanted, language, run) in [
            (
                &["index.mjs"][..],
                &lambda,
                "node",
                "node /var/runtime/index.js index.handler",
            ),
            (
                &["package.json", "app.js"],
                &lambda,
                "node",
                "node /var/runtime/index.js app.handler",
            ),
            (
                &["package.json", "server.js"],
                &http,
                "node",
                "node server.js",
            ),
            (
                &["app.py"],
                &lambda,
                "python",
                "python3 /var/runtime/bootstrap.py app.handler",
            ),
            (
                &["main.py", "requirements.txt"],
                &http,
                "python",
                "python3 main.py",
            ),
            (
                &["Cargo.toml", "src/main.rs", "target/release/f"],
                &lambda,
                "rust",
                "/var/task/bootstrap",
            ),
            (
                &["bootstrap", "app.py"],
                &lambda,
                "program",
                "/var/task/bootstrap",
            ),
            (&["run"], &said, "program", "./run -x"),
        ] {
            let recipe = of(files, wanted).unwrap();
            let words = [recipe.entrypoint, recipe.command].concat().join(" ");
            assert_eq!(
                (recipe.language, words.as_str()),
                (language, run),
                "{files:?}"
            );
        }
        let rust = of(&["Cargo.toml", "src/main.rs", "target/release/f"], &lambda).unwrap();
        assert_eq!(rust.items.len(), 1, "nothing but the binary");
    }

    #[test]
    fn what_is_missing_is_said() {
        let lambda = Wanted::default();
        let other = Wanted {
            handler: Some("other.handler".into()),
            ..Wanted::default()
        };
        for (files, wanted, text) in [
            (&["Dockerfile", "app.py"][..], &lambda, "docker build"),
            (&["notes.txt"], &lambda, "nothing that is known"),
            (&["package.json"], &lambda, "--handler index.handler"),
            (
                &["index.js"],
                &other,
                "no file for the handler other.handler",
            ),
            (&["Cargo.toml"], &lambda, "cargo build --release"),
        ] {
            let error = of(files, wanted).unwrap_err().to_string();
            assert!(error.contains(text), "{files:?}: {error}");
        }
    }

    #[test]
    fn nothing_is_no_base_for_what_needs_an_interpreter() {
        let nothing = Base::nothing();
        let mut node = of(&["index.js"], &Wanted::default()).unwrap();
        assert!(
            node.check(&nothing)
                .unwrap_err()
                .to_string()
                .contains("needs node")
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bootstrap");
        for (content, needs) in [
            (
                std::fs::read(std::env::current_exe().unwrap()).unwrap(),
                Some("ld-linux"),
            ),
            (b"#!/bin/sh\nexit".to_vec(), Some("/bin/sh")),
            (b"\x7fELF\x02\x01".to_vec(), None),
        ] {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            let mut recipe = Recipe::of(folder.path(), &Wanted::default()).unwrap();
            match (recipe.check(&nothing), needs) {
                (Err(error), Some(needs)) => assert!(error.to_string().contains(needs), "{error}"),
                (Ok(()), None) => assert!(recipe.items.contains_key("tmp")),
                (got, needs) => panic!("{got:?} {needs:?}"),
            }
        }
    }
}
