//! Our own small runtimes for managed languages, shown inside at `/var/runtime`.

use crate::{Error, Result};
use model::RuntimeName;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where they are inside an instance.
pub(crate) const FOLDER: &str = "/var/runtime";

/// Where Node.js looks for how much memory it may take (libuv's `uv_get_constrained_memory`).
pub(crate) const BOUNDS: &str = "/sys/fs/cgroup";
/// With version 1 of control groups and with version 2.
const BOUND: [&str; 4] = [
    "memory/memory.limit_in_bytes",
    "memory/memory.soft_limit_in_bytes",
    "memory.max",
    "memory.high",
];

const FILES: [(&str, &str); 7] = [
    ("index.js", include_str!("../../bootstrap/index.js")),
    ("bootstrap.py", include_str!("../../bootstrap/bootstrap.py")),
    ("compile.py", include_str!("../../bootstrap/compile.py")),
    ("stem.py", include_str!("../../bootstrap/stem.py")),
    ("zygote.py", include_str!("../../bootstrap/zygote.py")),
    ("snapshot.py", include_str!("../../bootstrap/snapshot.py")),
    (
        "modules/snapshot_restore_py.py",
        include_str!("../../bootstrap/modules/snapshot_restore_py.py"),
    ),
];
/// Beneath [`FOLDER`]: what functions may import.
const MODULES: &str = "modules";

/// The program that calls handlers of a managed runtime, by its file's name and text: what an image needs
/// that has a handler and the interpreter, and none that knows the Runtime API.
pub fn bootstrap_of(runtime: RuntimeName) -> Option<(&'static str, &'static str)> {
    let name = match runtime {
        RuntimeName::Nodejs20 => "index.js",
        RuntimeName::Python311 => "bootstrap.py",
        RuntimeName::Provided | RuntimeName::Image => return None,
    };
    FILES.into_iter().find(|file| file.0 == name)
}

/// Writes the bootstraps below `folder`, readable by everyone since instances run as nobody that the
/// host knows, and gives the folder that holds them.
///
/// # Errors
/// Of the file system.
pub(crate) fn write(folder: &Path) -> Result<PathBuf> {
    let runtime = folder.join("var-runtime");
    let io = |path: &Path| {
        let path = path.display().to_string();
        move |source| Error::Bootstrap { path, source }
    };
    for folder in [runtime.clone(), runtime.join(MODULES)] {
        std::fs::create_dir_all(&folder).map_err(io(&folder))?;
        set_mode(&folder, 0o755).map_err(io(&folder))?;
    }
    for (name, text) in FILES {
        let path = runtime.join(name);
        // A running instance of an earlier server may have the old file open: replace it whole.
        let fresh = path.with_extension("new");
        std::fs::write(&fresh, text).map_err(io(&fresh))?;
        set_mode(&fresh, 0o644).map_err(io(&fresh))?;
        std::fs::rename(&fresh, &path).map_err(io(&path))?;
    }
    std::fs::canonicalize(&runtime).map_err(io(&runtime))
}

/// What tells a Node.js that it may take so much memory, in bytes, to be shown at [`BOUNDS`]; written if it is not there
/// yet. `runtime` is what [`write`] gave; beside it are as many as functions have sizes.
///
/// # Errors
/// Of the file system.
pub(crate) fn bounds(runtime: &Path, memory: u64) -> Result<PathBuf> {
    /// Those that this process has seen whole.
    static SEEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let all = runtime.with_file_name("node-memory");
    let folder = all.join(memory.to_string());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.contains(&folder) {
        return Ok(folder);
    }
    let text = format!("{memory}\n");
    let whole = |name| std::fs::read_to_string(folder.join(name)).is_ok_and(|told| told == text);
    if !BOUND.into_iter().all(whole) {
        write_bounds(&all, &folder, &text).map_err(|source| Error::Bootstrap {
            path: folder.display().to_string(),
            source,
        })?;
    }
    seen.insert(folder.clone());
    Ok(folder)
}

fn write_bounds(all: &Path, folder: &Path, text: &str) -> std::io::Result<()> {
    // What an earlier process began, or the power's end has left empty.
    let fresh = all.join("new");
    for old in [&fresh, folder] {
        if old.exists() {
            std::fs::remove_dir_all(old)?;
        }
    }
    for folder in [all, &fresh, &fresh.join("memory")] {
        std::fs::create_dir_all(folder)?;
        set_mode(folder, 0o755)?;
    }
    for name in BOUND {
        let path = fresh.join(name);
        std::fs::write(&path, text)?;
        set_mode(&path, 0o644)?;
    }
    std::fs::rename(fresh, folder)
}

fn set_mode(path: &Path, mode: u32) -> std::io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests;
