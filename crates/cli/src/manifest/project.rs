//! The files of a project, read and merged, and what the command line and the environment say of them.

use super::interpolate::Variables;
use super::merge::{merge, settle};
use super::node::Node;
use super::place::Source;
use super::{MAX_MANIFEST, Manifest};
use super::{extends, include};
use crate::error::{Error, Result};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which files are meant, and how they are read: the same options as those of `docker compose`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ProjectOptions {
    /// The manifest; give it again for more, each merged into those before [default: $COMPOSE_FILE, else
    /// compose.yaml, compose.yml, docker-compose.yaml or docker-compose.yml here, and its override]
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A file of variables in place of .env; give it again for more, later ones win [default:
    /// $COMPOSE_ENV_FILES, else .env beside the manifest]
    #[arg(long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// Services of this profile too; give it again for more, `*` for all [default: $COMPOSE_PROFILES]
    #[arg(long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    /// Name of the project [default: $COMPOSE_PROJECT_NAME, else `name` in the manifest, else its folder]
    #[arg(short, long, value_name = "NAME")]
    project_name: Option<String>,
    /// The folder to which paths in the manifest are relative [default: that of the first file]
    #[arg(long, value_name = "FOLDER")]
    project_directory: Option<PathBuf>,
}

/// One merged, interpolated manifest and where it stands.
pub(crate) struct Project {
    /// All files as one.
    pub(crate) root: Node,
    /// To what paths are relative.
    pub(super) folder: PathBuf,
    pub(super) variables: Variables,
    /// Active profiles.
    pub(super) profiles: BTreeSet<String>,
    /// In place of what the files say.
    name: Option<String>,
    /// The first of them, for messages.
    pub(super) first: String,
}

const DEFAULT_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];
/// Beside a default file, merged into it.
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
];
/// Most files of a project, and most files of variables.
const MAX_FILES: usize = 64;

impl ProjectOptions {
    /// Reads everything that the options mean.
    ///
    /// # Errors
    /// A file cannot be read or is not a manifest.
    pub(crate) fn read(&self) -> Result<Project> {
        let environment = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let mut variables = Variables::new("", environment).map_err(Error::Usage)?;
        let named = self.files.first().map(|path| folder_of(path));
        let before = self.project_directory.clone().or(named);
        let before = before.unwrap_or_default();
        let chosen = self.env_files(&variables)?;
        match &chosen {
            Some(paths) => paths
                .iter()
                .try_for_each(|path| read_variables(path, true, &mut variables))?,
            None => read_variables(&before.join(".env"), false, &mut variables)?,
        }
        let files = self.files(&variables)?;
        let first = files.first().cloned().unwrap_or_default();
        let folder = self.project_directory.clone();
        let folder = folder.unwrap_or_else(|| folder_of(&first));
        if chosen.is_none() && folder != before {
            read_variables(&folder.join(".env"), false, &mut variables)?;
        }
        let name = self.project_name.clone();
        let name = name.or_else(|| set(&variables, "COMPOSE_PROJECT_NAME").map(str::to_owned));
        if let Some(name) = &name {
            variables.put("COMPOSE_PROJECT_NAME", name);
        }
        let profiles = profiles(&self.profiles, &variables)?;
        let root = read_all(&files, &mut variables)?;
        let root = include::resolve(root, &folder, &mut variables)?;
        Ok(Project {
            root,
            folder,
            variables,
            profiles,
            name,
            first: first.display().to_string(),
        })
    }

    fn env_files(&self, variables: &Variables) -> Result<Option<Vec<PathBuf>>> {
        if !self.env_files.is_empty() {
            return bounded(self.env_files.clone(), "--env-file").map(Some);
        }
        let Some(list) = set(variables, "COMPOSE_ENV_FILES") else {
            return Ok(None);
        };
        bounded(
            list.split(',').map(PathBuf::from).collect(),
            "COMPOSE_ENV_FILES",
        )
        .map(Some)
    }

    fn files(&self, variables: &Variables) -> Result<Vec<PathBuf>> {
        if !self.files.is_empty() {
            return bounded(self.files.clone(), "-f");
        }
        if let Some(list) = set(variables, "COMPOSE_FILE") {
            let separator = set(variables, "COMPOSE_PATH_SEPARATOR").unwrap_or(":");
            return bounded(
                list.split(separator).map(PathBuf::from).collect(),
                "COMPOSE_FILE",
            );
        }
        let folder = self.project_directory.clone().unwrap_or_default();
        let find = |names: [&str; 4]| {
            let mut paths = names.iter().map(|name| folder.join(name));
            paths.find(|path| path.exists())
        };
        let Some(first) = find(DEFAULT_FILES) else {
            return Err(Error::Usage(format!(
                "no manifest is here: none of {} exists; name one with -f, or see `rouse deploy --help` \
                 for an example",
                DEFAULT_FILES.join(", ")
            )));
        };
        Ok([Some(first), find(OVERRIDES)]
            .into_iter()
            .flatten()
            .collect())
    }
}

impl Project {
    /// One that was read otherwise.
    #[cfg(test)]
    pub(super) fn in_test(
        root: Node,
        folder: PathBuf,
        variables: Variables,
        profiles: BTreeSet<String>,
    ) -> Self {
        Self {
            root,
            folder,
            variables,
            profiles,
            name: None,
            first: "compose.yaml".to_owned(),
        }
    }

    /// What the files declare.
    ///
    /// # Errors
    /// Something is not served or not understood; it stands at its place.
    pub(crate) fn manifest(self) -> Result<(Manifest, String)> {
        let (name, folder) = (self.name.clone(), self.folder.clone());
        let manifest = Manifest::of(self)?;
        let name = match name.or_else(|| manifest.project.clone()) {
            Some(name) => name,
            None => folder_name(&folder)?,
        };
        Ok((manifest, name))
    }
}

/// The value of a variable that is not empty.
fn set<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    variables.get(name).filter(|value| !value.is_empty())
}

fn bounded(paths: Vec<PathBuf>, what: &str) -> Result<Vec<PathBuf>> {
    if paths.len() > MAX_FILES {
        let count = paths.len();
        return Err(Error::Usage(format!(
            "{what} names {count} files, more than {MAX_FILES}"
        )));
    }
    Ok(paths)
}

fn profiles(named: &[String], variables: &Variables) -> Result<BTreeSet<String>> {
    let list = set(variables, "COMPOSE_PROFILES").unwrap_or("");
    let list = list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    let all: BTreeSet<String> = named
        .iter()
        .cloned()
        .chain(list.map(str::to_owned))
        .collect();
    match all.iter().find(|name| *name != "*" && !is_profile(name)) {
        None => Ok(all),
        Some(wrong) => Err(Error::Usage(format!(
            "{:?} is not the name of a profile: use letters, digits, -, _ and .",
            wrong
        ))),
    }
}

/// Whether a text can name a profile (Compose's rule).
pub(super) fn is_profile(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    name.bytes().all(legal) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn folder_name(folder: &Path) -> Result<String> {
    let path = std::path::absolute(folder.join("x"));
    let path = path.map_err(Error::io("finding the manifest's folder"))?;
    let name = path.parent().and_then(Path::file_name);
    let name = name.map_or("default".into(), |name| name.to_string_lossy());
    Ok(name.into_owned())
}

fn read_variables(path: &Path, required: bool, variables: &mut Variables) -> Result<()> {
    let text = match read_bounded(path) {
        Ok(text) => text,
        Err(Error::Io { source, .. }) if !required && source.kind() == ErrorKind::NotFound => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let read = variables.read(&text);
    read.map_err(|error| Error::Usage(format!("{}:{error}", path.display())))
}

fn read_all(files: &[PathBuf], variables: &mut Variables) -> Result<Node> {
    let mut merged: Option<Node> = None;
    for path in files {
        let root = read_one(path, variables)?;
        let root = extends::resolve(root, path, variables)?;
        merged = Some(match merged {
            None => settle(root),
            Some(base) => merge(base, root)?,
        });
    }
    merged.ok_or_else(|| Error::Usage("no manifest was named".to_owned()))
}

/// One file by itself.
pub(super) fn read_one(path: &Path, variables: &mut Variables) -> Result<Node> {
    let source = Arc::new(Source {
        name: path.display().to_string(),
        text: read_bounded(path)?,
    });
    Ok(Node::parse(&source, variables)?)
}

/// The text of a file of 1 MiB at most.
///
/// # Errors
/// It cannot be read, is larger, or is not UTF-8.
pub(super) fn read_bounded(path: &Path) -> Result<String> {
    let doing = || Error::io(format!("reading {}", path.display()));
    let metadata = std::fs::metadata(path).map_err(doing())?;
    if metadata.is_file() && metadata.len() > MAX_MANIFEST {
        return Err(Error::Usage(format!(
            "{} is larger than {MAX_MANIFEST} bytes, more than a manifest may be",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(doing())
}
