//! Which prepared sandbox fits an instance.

use super::snapshots::Init;
use super::zygotes::Imported;
use crate::host::Interpreter;
use crate::{InstanceSpec, environment};
use launcher::{Root, Shape};
use model::{Contract, RuntimeName};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Sandboxes of one kind can take each other's place until they are assigned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) shape: Shape,
    pub(super) stem: Stem,
}

impl Kind {
    /// It, and where stems may not suffice, the kind in which a program starts afresh.
    pub(super) fn with_plain(&self) -> Vec<Self> {
        match self.stem {
            Stem::None | Stem::Snapshot(_) => vec![self.clone()],
            Stem::Python(_) | Stem::Node { .. } => {
                let plain = Self {
                    shape: self.shape.clone(),
                    stem: Stem::None,
                };
                vec![self.clone(), plain]
            }
        }
    }
}

/// What waits in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Stem {
    /// Only the launcher's process.
    None,
    /// A fork of a Python zygote.
    Python(Preload),
    /// A Node.js of its own: it cannot be forked.
    Node {
        /// Program and arguments.
        argv: Vec<String>,
        /// What it needs to start with.
        environment: Vec<(String, String)>,
    },
    /// A fork of the function's own zygote.
    Snapshot(Arc<Init>),
}

/// What a Python zygote has imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Preload {
    /// The bootstrap only.
    Bootstrap,
    /// Also the modules that the host has decided on.
    Modules,
}

/// Variables that a program reads before the bootstrap could set them: a function that sets one gets a
/// program of its own.
const EARLY: [&str; 13] = [
    "PYTHON",
    "NODE_",
    "UV_",
    "LD_",
    "MALLOC_",
    "GLIBC_",
    "OPENBLAS_",
    "OMP_",
    "MKL_",
    "LC_",
    "LANG",
    "SSL_",
    "OPENSSL_",
];
/// Of these, one that is read late.
const LATE: &str = "NODE_ENV";

/// Whether a program that was started without the function's variables can still take them.
fn takes_late(spec: &InstanceSpec) -> bool {
    spec.environment
        .keys()
        .all(|name| name == LATE || !EARLY.iter().any(|early| name.starts_with(early)))
}

/// The stem for a function. `shadows`: whether its code brings modules of its own that this zygote has
/// imported from elsewhere; `has_libraries`: whether it has a folder for the dynamic loader.
pub(super) fn stem(
    spec: &InstanceSpec,
    argv: &[String],
    environment: &[(String, String)],
    has_libraries: bool,
    shadows: impl Fn(Preload) -> bool,
) -> Stem {
    if spec.contract != Contract::Lambda || !takes_late(spec) {
        return Stem::None;
    }
    match spec.runtime {
        RuntimeName::Nodejs20 => Stem::Node {
            argv: argv.to_vec(),
            environment: early(environment),
        },
        // The dynamic loader remembers that a folder was missing.
        RuntimeName::Python311 if has_libraries => Stem::None,
        RuntimeName::Python311 => {
            let fitting = [Preload::Modules, Preload::Bootstrap];
            let fitting = fitting.into_iter().find(|preload| !shadows(*preload));
            fitting.map_or(Stem::None, Stem::Python)
        }
        RuntimeName::Provided | RuntimeName::Image => Stem::None,
    }
}

/// How deep a function's own packages are looked for, and how many entries are looked at; code with more
/// is taken to bring its own.
const DEPTH: usize = 4;
const ENTRIES: usize = 20_000;

/// Whether code brings a module of its own that a zygote has imported from elsewhere: one of Python's own
/// at its top, or another's anywhere, since code may put its folders on the path by itself.
pub(super) fn shadows(folder: &Path, imported: &Imported) -> bool {
    let mut left = vec![(folder.to_owned(), 0)];
    let mut seen = 0;
    while let Some((folder, depth)) = left.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            return true;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            // Its names are those of the sources beside it, and compiling ahead adds to them.
            if name == "__pycache__" {
                continue;
            }
            seen += 1;
            let name = name.to_string_lossy();
            let module = name.split('.').next().unwrap_or_default();
            let at_top = depth == 0 && imported.modules.contains(module);
            if seen > ENTRIES || at_top || imported.packages.contains(module) {
                return true;
            }
            if depth < DEPTH && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push((entry.path(), depth + 1));
            }
        }
    }
    false
}

/// What a stem's program starts with: what is the same for all functions.
pub(super) fn early(environment: &[(String, String)]) -> Vec<(String, String)> {
    const SAME: [&str; 9] = [
        "PATH",
        "LANG",
        "TZ",
        "HOME",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "NODE_PATH",
        "AWS_LAMBDA_RUNTIME_API",
    ];
    let same = environment
        .iter()
        .filter(|(name, _)| SAME.contains(&name.as_str()));
    same.cloned().collect()
}

/// A zygote's shape: what its forks will see, and nothing that is one function's.
pub(super) fn of_zygote(shape: &Shape) -> Option<Shape> {
    let Root::Host { .. } = shape.root else {
        return None;
    };
    Some(Shape {
        volumes: Vec::new(),
        hosts: Vec::new(),
        listen: Vec::new(),
        hostname: String::new(),
        serves: false,
        egress: false,
        files: 1024,
        ..shape.clone()
    })
}

/// What a zygote starts with: of the variables that a function sets, none, since others are forked from it too.
pub(super) fn environment_of_zygote(
    spec: &InstanceSpec,
    interpreter: &Interpreter,
    region: &str,
) -> Vec<(String, String)> {
    let plain = InstanceSpec {
        environment: BTreeMap::new(),
        ..spec.clone()
    };
    early(&environment::build(&plain, Some(interpreter), region))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::driver::plan::{Sources, plan};
    use crate::spec::tests::spec;
    use crate::{Peer, bootstrap};
    use launcher::{Bind, Volume};
    use std::path::PathBuf;

    fn python() -> InstanceSpec {
        InstanceSpec {
            runtime: RuntimeName::Python311,
            ..spec()
        }
    }

    fn imported() -> Imported {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Imported {
            modules: names(&["numpy", "six", "email"]),
            packages: names(&["numpy", "six"]),
            ..Imported::default()
        }
    }

    #[test]
    fn code_that_brings_a_preloaded_module_is_found() {
        let fresh = || tempfile::tempdir().unwrap();
        let with = |path: &str| {
            let folder = fresh();
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
            shadows(folder.path(), &imported())
        };
        assert!(!shadows(fresh().path(), &imported()));
        assert!(!with("numpyish.py") && !with("app.py") && !with("app/email.py"));
        assert!(with("numpy/__init__.py") && with("six.py") && with("email/__init__.py"));
        assert!(with("vendor/six.py") && with("a/b/c/numpy/core.so"));
        assert!(!with("vendor/__pycache__/six.cpython-311.pyc"));
        assert!(shadows(Path::new("/no/such"), &imported()));
    }

    #[test]
    fn what_shadows_gets_a_zygote_without() {
        let of = |shadowed: &[Preload]| {
            stem(&python(), &[], &[], false, |preload| {
                shadowed.contains(&preload)
            })
        };
        assert_eq!(of(&[]), Stem::Python(Preload::Modules));
        assert_eq!(of(&[Preload::Modules]), Stem::Python(Preload::Bootstrap));
        // What every zygote has imported itself.
        assert_eq!(of(&[Preload::Modules, Preload::Bootstrap]), Stem::None);
    }

    #[test]
    fn libraries_and_early_variables_need_a_program_of_their_own() {
        let stem_of = |spec: &InstanceSpec| stem(spec, &["node".to_owned()], &[], false, |_| false);
        let mut early = python();
        let set = |spec: &mut InstanceSpec, name: &str| {
            spec.environment.insert(name.to_owned(), "1".to_owned());
        };
        set(&mut early, "STAGE");
        assert_ne!(stem_of(&early), Stem::None);
        set(&mut early, "PYTHONUNBUFFERED");
        assert_eq!(stem_of(&early), Stem::None);
        let mut node = spec();
        set(&mut node, "NODE_ENV");
        assert!(matches!(stem_of(&node), Stem::Node { .. }));
        set(&mut node, "NODE_OPTIONS");
        assert_eq!(stem_of(&node), Stem::None);
        assert_eq!(stem(&python(), &[], &[], true, |_| false), Stem::None);
    }

    fn sources(folder: &Path, volumes: Vec<Volume>) -> Sources {
        Sources {
            folder: folder.to_owned(),
            bootstraps: PathBuf::from("/data/var-runtime"),
            interpreter: Some(interpreter()),
            bounds: None,
            volumes,
            region: "us-east-1".to_owned(),
            egress: !folder.ends_with("plain"),
        }
    }

    fn interpreter() -> Interpreter {
        Interpreter {
            program: PathBuf::from("/usr/bin/python3.11"),
            prefix: None,
            version: "3.11.2".to_owned(),
            mapped: Arc::default(),
        }
    }

    /// A function of which all is its own.
    fn peculiar() -> InstanceSpec {
        let mut spec = python();
        for (name, value) in [
            ("TOKEN", "secret"),
            ("TZ", "EST5"),
            ("HOME", "/var/task"),
            ("PYTHONPATH", "/usr/share/other"),
            ("LD_LIBRARY_PATH", "/usr/share/other"),
        ] {
            spec.environment.insert(name.to_owned(), value.to_owned());
        }
        spec.peers.push(Peer {
            name: "catalog".parse().unwrap(),
            aliases: Vec::new(),
            ports: vec![80],
        });
        spec.limits.files = 64;
        spec
    }

    #[test]
    fn a_zygote_sees_nothing_of_one_function() {
        let volume = |source: &str, target: &str| Volume {
            source: source.into(),
            target: target.into(),
            read_only: true,
        };
        let volumes = vec![
            volume("/data/volumes/photos", "/mnt/photos"),
            volume("/data/memory/key", "/run/secrets/key"),
        ];
        let code = Path::new("/data/code/own");
        let own = plan(&peculiar(), &sources(code, volumes)).unwrap();
        assert_eq!(own.assignment.code.len(), 1, "it has code");
        assert_eq!(own.shape.volumes.len(), 2);
        let zygotes = of_zygote(&own.shape).unwrap();
        assert!(zygotes.volumes.is_empty() && zygotes.hosts.is_empty());
        assert!(zygotes.listen.is_empty() && !zygotes.egress && !zygotes.serves);
        let bootstraps = Bind {
            source: "/data/var-runtime".into(),
            target: bootstrap::FOLDER.into(),
        };
        assert_eq!(zygotes.binds, [bootstraps]);
        let Root::Host { binds } = &zygotes.root else {
            panic!("{zygotes:?}");
        };
        let shows = |bind: &Bind| Path::new("/data").starts_with(&bind.source);
        assert!(
            !binds
                .iter()
                .any(|bind| shows(bind) || bind.source.starts_with("/data"))
        );
        // So it is any other function's zygote too.
        let plain = sources(Path::new("/data/code/plain"), Vec::new());
        let other = plan(&python(), &plain).unwrap();
        assert_ne!(other.shape, own.shape);
        assert_eq!(of_zygote(&other.shape).unwrap(), zygotes);
        // What an image shows is one function's.
        let root = Root::Image {
            folder: code.to_owned(),
        };
        assert_eq!(of_zygote(&Shape { root, ..zygotes }), None);
    }

    #[test]
    fn a_zygote_has_no_variables_of_a_function() {
        let of = |spec: &InstanceSpec| environment_of_zygote(spec, &interpreter(), "us-east-1");
        assert_eq!(of(&peculiar()), of(&python()));
        let names: Vec<String> = of(&python()).into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"PATH".to_owned()) && names.contains(&"TZ".to_owned()));
        assert!(
            !names.iter().any(|name| name.contains("SECRET")),
            "{names:?}"
        );
    }
}
