//! Which prepared sandbox fits an instance.

use crate::InstanceSpec;
use launcher::{Root, Shape};
use model::{Contract, RuntimeName};
use std::collections::HashSet;
use std::path::Path;

/// Sandboxes of one kind can take each other's place until they are assigned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    pub(super) shape: Shape,
    pub(super) stem: Stem,
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

/// The stem for a function whose code is in `folder`. `preloaded`: the names of the modules that the
/// zygote has imported, if it has.
pub(super) fn stem(
    spec: &InstanceSpec,
    argv: &[String],
    environment: &[(String, String)],
    folder: &Path,
    preloaded: Option<&HashSet<String>>,
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
        RuntimeName::Python311 if folder.join("lib").exists() => Stem::None,
        RuntimeName::Python311 => {
            let shadows = preloaded.is_some_and(|names| shadows(folder, names));
            Stem::Python(if shadows {
                Preload::Bootstrap
            } else {
                Preload::Modules
            })
        }
        RuntimeName::Provided | RuntimeName::Image => Stem::None,
    }
}

/// Whether the code brings a module of its own that the zygote has imported from elsewhere.
fn shadows(folder: &Path, names: &HashSet<String>) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return true;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let module = name.split('.').next().unwrap_or_default();
        names.contains(module)
    })
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::spec::tests::spec;

    fn python() -> InstanceSpec {
        InstanceSpec {
            runtime: RuntimeName::Python311,
            ..spec()
        }
    }

    fn stem_of(spec: &InstanceSpec, folder: &Path, names: &[&str]) -> Stem {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        stem(spec, &["node".to_owned()], &[], folder, Some(&names))
    }

    #[test]
    fn code_that_brings_a_preloaded_module_gets_a_zygote_without() {
        let folder = tempfile::tempdir().unwrap();
        let modules = Stem::Python(Preload::Modules);
        let bootstrap = Stem::Python(Preload::Bootstrap);
        assert_eq!(stem_of(&python(), folder.path(), &["numpy"]), modules);
        std::fs::write(folder.path().join("numpyish.py"), "").unwrap();
        assert_eq!(stem_of(&python(), folder.path(), &["numpy"]), modules);
        std::fs::create_dir(folder.path().join("numpy")).unwrap();
        assert_eq!(stem_of(&python(), folder.path(), &["numpy"]), bootstrap);
        assert_eq!(stem_of(&python(), folder.path(), &["six"]), modules);
        std::fs::write(folder.path().join("six.py"), "").unwrap();
        assert_eq!(stem_of(&python(), folder.path(), &["six"]), bootstrap);
    }

    #[test]
    fn libraries_and_early_variables_need_a_program_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut early = python();
        let set = |spec: &mut InstanceSpec, name: &str| {
            spec.environment.insert(name.to_owned(), "1".to_owned());
        };
        set(&mut early, "STAGE");
        assert_ne!(stem_of(&early, folder.path(), &[]), Stem::None);
        set(&mut early, "PYTHONUNBUFFERED");
        assert_eq!(stem_of(&early, folder.path(), &[]), Stem::None);
        let mut node = spec();
        set(&mut node, "NODE_ENV");
        assert!(matches!(
            stem_of(&node, folder.path(), &[]),
            Stem::Node { .. }
        ));
        set(&mut node, "NODE_OPTIONS");
        assert_eq!(stem_of(&node, folder.path(), &[]), Stem::None);
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        assert_eq!(stem_of(&python(), folder.path(), &[]), Stem::None);
    }
}
