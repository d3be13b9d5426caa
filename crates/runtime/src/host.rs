//! The base `host`: which parts of this machine an instance without an image may read, and the
//! interpreters of managed runtimes.
//!
//! An instance sees [`BASE`], as far as it exists, and nothing else of the machine: not `/home`,
//! `/root`, `/var` or the rest of `/etc`. An interpreter outside `/usr` (pyenv, nvm) brings its own
//! prefix along.

use crate::{Error, Result};
use launcher::Bind;
use model::RuntimeName;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

/// The host's parts that every instance on the base reads. Programs and libraries, the certificates
/// of public authorities, and configuration that libraries need; no keys, no users, no names.
const BASE: [&str; 16] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/fonts",
    "/etc/mime.types",
    "/etc/ImageMagick-6",
    "/etc/python3.11",
];

/// An interpreter that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interpreter {
    /// Absolute path of the program, the same inside and outside.
    pub(crate) program: PathBuf,
    /// Its prefix, if that is outside the base.
    pub(crate) prefix: Option<PathBuf>,
    /// Such as `v20.11.1`.
    pub(crate) version: String,
    /// What it has mapped as it starts, itself and its libraries, if it was asked.
    pub(crate) mapped: Arc<[PathBuf]>,
}

/// What of the host instances get. A cheap handle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Host {
    found: Arc<Found>,
}

#[derive(Debug, Default)]
struct Found {
    node: OnceLock<Interpreter>,
    python: OnceLock<Interpreter>,
}

impl Host {
    /// The binds of every instance on this base.
    pub(crate) fn base() -> Vec<Bind> {
        static THERE: OnceLock<Vec<Bind>> = OnceLock::new();
        let there = || {
            let paths = BASE.iter().map(Path::new);
            paths.filter(|path| path.exists()).map(same).collect()
        };
        THERE.get_or_init(there).clone()
    }

    /// The interpreter of a managed runtime; `None` for the others. Looked for until it is found,
    /// then remembered. Blocks for some tens of milliseconds the first time.
    ///
    /// # Errors
    /// `Missing` says what was found instead and how to get it.
    pub(crate) fn interpreter(&self, runtime: RuntimeName) -> Result<Option<Interpreter>> {
        let Some(kept) = self.kept(runtime) else {
            return Ok(None);
        };
        if let Some(found) = kept.get() {
            return Ok(Some(found.clone()));
        }
        let found = match runtime {
            RuntimeName::Nodejs20 => find_node()?,
            _ => find_python()?,
        };
        tracing::info!(
            runtime = runtime.as_str(),
            program = %found.program.display(),
            version = found.version,
            "found the interpreter"
        );
        Ok(Some(kept.get_or_init(|| found).clone()))
    }
}

impl Host {
    /// As [`Host::interpreter`], without looking; `None` if one would have to look.
    pub(crate) fn known(&self, runtime: RuntimeName) -> Option<Option<Interpreter>> {
        match self.kept(runtime) {
            Some(kept) => kept.get().cloned().map(Some),
            None => Some(None),
        }
    }

    fn kept(&self, runtime: RuntimeName) -> Option<&OnceLock<Interpreter>> {
        match runtime {
            RuntimeName::Nodejs20 => Some(&self.found.node),
            RuntimeName::Python311 => Some(&self.found.python),
            RuntimeName::Provided | RuntimeName::Image => None,
        }
    }
}

impl Interpreter {
    /// Its prefix as a bind.
    pub(crate) fn bind(&self) -> Option<Bind> {
        self.prefix.as_deref().map(same)
    }

    /// `PATH` with its folder first, where that is not in it.
    pub(crate) fn path(&self, rest: &str) -> String {
        match self.program.parent() {
            Some(folder) if self.prefix.is_some() => format!("{}:{rest}", folder.display()),
            _ => rest.to_owned(),
        }
    }
}

fn same(path: &Path) -> Bind {
    Bind {
        source: path.to_owned(),
        target: path.to_owned(),
    }
}

/// A file named `name` in every folder of `PATH`, and where distributions put it.
fn candidates(name: &str, first: Option<&str>) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name));
    let usual = ["/usr/local/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
    let mut all: Vec<PathBuf> = Vec::new();
    for candidate in first
        .map(PathBuf::from)
        .into_iter()
        .chain(folders)
        .chain(usual)
    {
        if candidate.is_file() && !all.contains(&candidate) {
            all.push(candidate);
        }
    }
    all
}

/// Runs an interpreter that prints lines: its program, its version, and what else it is asked. `None` if it
/// fails.
fn ask(program: &Path, arguments: &[&str]) -> Option<Vec<String>> {
    let output = Command::new(program)
        .args(arguments.iter().map(OsStr::new))
        .env_remove("NODE_OPTIONS")
        .env_remove("PYTHONPATH")
        .env_remove("PYTHONHOME")
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| text.lines().map(str::to_owned).collect())
}

/// Without `/proc` it still is a Node.js.
const ASK_NODE: &str = r"console.log(process.execPath + '\n' + process.version);
try {
  const maps = require('node:fs').readFileSync('/proc/self/maps', 'utf8');
  console.log([...new Set(maps.match(/\/.*$/gm))].join('\n'));
} catch {}";

/// Node.js 20, or else the first newer one.
fn find_node() -> Result<Interpreter> {
    let mut newer = None;
    let mut others = Vec::new();
    for candidate in candidates("node", None) {
        let Some(lines) = ask(&candidate, &["-e", ASK_NODE]) else {
            continue;
        };
        let [program, version, mapped @ ..] = lines.as_slice() else {
            continue;
        };
        let found = place(Path::new(program), version).map(|found| Interpreter {
            mapped: mapped.iter().map(PathBuf::from).collect(),
            ..found
        });
        match (major(version), found) {
            (Some(20), Some(found)) => return Ok(found),
            (Some(21..), Some(found)) => newer = newer.or(Some(found)),
            _ => others.push(format!("{} is {version}", candidate.display())),
        }
    }
    newer.ok_or_else(|| {
        missing(
            "nodejs20.x needs Node.js 20 or newer (the program `node`)",
            &others,
            "install it with `apt-get install nodejs`; where that is older (Debian 12 has 18), add \
             NodeSource's repository for Node.js 20 first",
        )
    })
}

const ASK_PYTHON: &str = "import http.client, json, logging, os, sys
print(os.path.realpath(sys.executable))
print('.'.join(map(str, sys.version_info[:3])))";

/// Python 3.11: the distribution's if there is one, since it brings nothing along.
fn find_python() -> Result<Interpreter> {
    let mut others = Vec::new();
    for candidate in candidates("python3.11", Some("/usr/bin/python3.11")) {
        let answer = ask(&candidate, &["-c", ASK_PYTHON]);
        let found = match answer.as_deref() {
            Some([program, version]) if version.starts_with("3.11.") => {
                place(Path::new(program), version)
            }
            _ => None,
        };
        match found {
            Some(found) => return Ok(found),
            None => others.push(format!("{} does not work", candidate.display())),
        }
    }
    Err(missing(
        "python3.11 needs Python 3.11 with its standard library (the program `python3.11`)",
        &others,
        "install it with `apt-get install python3.11` (Debian 12), or with pyenv",
    ))
}

fn missing(needs: &str, others: &[String], remedy: &str) -> Error {
    let found = match others {
        [] => "none was found".to_owned(),
        others => others.join(", "),
    };
    Error::Missing(format!("{needs}; {found}; {remedy}"))
}

fn major(version: &str) -> Option<u32> {
    version
        .trim_start_matches('v')
        .split('.')
        .next()?
        .parse()
        .ok()
}

/// An interpreter at its real path. Outside `/usr` it must be in the `bin` of a prefix of its own,
/// at least two levels deep, so that no whole home or system folder is shown inside.
fn place(program: &Path, version: &str) -> Option<Interpreter> {
    let program = std::fs::canonicalize(program).ok()?;
    let prefix = if program.starts_with("/usr") {
        None
    } else {
        let folder = program.parent()?;
        let prefix = folder.parent()?;
        let own = folder.ends_with("bin") && prefix.components().count() > 2;
        Some(own.then(|| prefix.to_owned())?)
    };
    Some(Interpreter {
        program,
        prefix,
        version: version.to_owned(),
        mapped: Arc::default(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_interpreter_outside_usr_brings_only_its_prefix() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("versions/3.11/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let program = bin.join("python3.11");
        std::fs::write(&program, "").unwrap();
        let found = place(&program, "3.11.7").unwrap();
        let prefix = std::fs::canonicalize(bin.parent().unwrap()).unwrap();
        assert_eq!(found.prefix.as_deref(), Some(prefix.as_path()));
        let expected = format!("{}/bin:/usr/bin", prefix.display());
        assert_eq!(found.path("/usr/bin"), expected);
        // Loose in some folder, it would drag that folder's parent along.
        let loose = folder.path().join("python3.11");
        std::fs::write(&loose, "").unwrap();
        assert_eq!(place(&loose, "3.11.7"), None);
    }

    #[test]
    fn a_node_tells_what_it_maps() {
        let found = find_node().unwrap();
        assert!(found.mapped.contains(&found.program), "{found:?}");
        let is_libc = |path: &PathBuf| path.ends_with("libc.so.6");
        assert!(found.mapped.iter().any(is_libc), "{found:?}");
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(major("v20.11.1"), Some(20));
        assert_eq!(major("3.11.2"), Some(3));
        assert_eq!(major("next"), None);
    }

    #[test]
    fn the_base_holds_programs_and_no_users() {
        let base = Host::base();
        assert!(base.iter().any(|bind| bind.target == Path::new("/usr")));
        for secret in ["/etc", "/etc/passwd", "/etc/ssl/private", "/root", "/home"] {
            assert!(base.iter().all(|bind| bind.source != Path::new(secret)));
        }
    }

    #[test]
    fn what_is_missing_comes_with_its_remedy() {
        let error = missing("x needs y", &["/a is old".into()], "install it").to_string();
        assert_eq!(error, "x needs y; /a is old; install it");
    }
}
