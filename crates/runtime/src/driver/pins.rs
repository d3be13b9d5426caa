//! What the managed runtimes read when they start, kept in memory while functions use them. The files
//! are those that stems and zygotes have mapped and imported, and where no stem of Node.js is made, those that
//! it maps when it is asked for its version.

use super::kind::Preload;
use crate::bootstrap;
use launcher::Launcher;
use model::RuntimeName;
use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;

/// How often it is looked whether files were replaced, by an upgrade, or are not used any more.
const LOOK: Duration = Duration::from_secs(60);
/// After something was learned: more is likely to follow.
const SETTLE: Duration = Duration::from_millis(500);
/// A runtime that no function is deployed for is let go when it was not used for so long.
const UNUSED: Duration = Duration::from_secs(600);

/// Who has told of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// A Python zygote.
    Python(Preload),
    /// A Node.js that waits.
    Node,
}

impl Source {
    fn runtime(self) -> RuntimeName {
        match self {
            Self::Python(_) => RuntimeName::Python311,
            Self::Node => RuntimeName::Nodejs20,
        }
    }
}

/// See the module. A cheap handle.
#[derive(Clone)]
pub(super) struct Pins {
    inner: Arc<Inner>,
}

struct Inner {
    launcher: Launcher,
    /// Most bytes; 0: nothing is pinned.
    bytes: u64,
    /// Where the bootstraps are, which instances see elsewhere.
    bootstraps: PathBuf,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    files: HashMap<Source, Vec<PathBuf>>,
    /// Whether files have changed since a Node.js told of its own; a Python zygote tells anyhow.
    node_is_old: bool,
    uses: HashMap<RuntimeName, Use>,
}

struct Use {
    last: Instant,
    /// Held for each deployed function.
    functions: Weak<()>,
}

/// A file, and what tells that another has taken its place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    path: PathBuf,
    length: u64,
    place: (u64, u64),
    modified: Option<SystemTime>,
}

impl Pins {
    /// Keeps at most so many bytes of files.
    pub(super) fn new(launcher: Launcher, bytes: u64, bootstraps: PathBuf) -> Self {
        let inner = Arc::new(Inner {
            launcher,
            bytes,
            bootstraps,
            table: Mutex::default(),
            changed: Notify::new(),
        });
        if bytes > 0 {
            tokio::spawn(keep(Arc::downgrade(&inner)));
        }
        Self { inner }
    }

    /// Something of the runtime is started. While what is returned exists, it is in use.
    pub(super) fn used(&self, runtime: RuntimeName) -> Arc<()> {
        let mut table = self.inner.table();
        let used = table.uses.entry(runtime).or_insert_with(|| Use {
            last: Instant::now(),
            functions: Weak::new(),
        });
        let again = used.last.elapsed() > UNUSED;
        used.last = Instant::now();
        let functions = used.functions.upgrade().unwrap_or_default();
        used.functions = Arc::downgrade(&functions);
        drop(table);
        if again {
            self.inner.changed.notify_one();
        }
        functions
    }

    /// Whether the next Node.js shall tell of its files.
    pub(super) fn lacks_node(&self) -> bool {
        let table = self.inner.table();
        self.inner.bytes > 0 && (table.node_is_old || !table.files.contains_key(&Source::Node))
    }

    /// These are a Node.js's files, as far as none that waits has told of its own, which it shall still do.
    pub(super) fn suppose_node(&self, files: impl FnOnce() -> Vec<PathBuf>) {
        if self.inner.bytes == 0 || self.inner.table().files.contains_key(&Source::Node) {
            return;
        }
        // If one tells meanwhile, the next one does so again.
        self.learn(Source::Node, files());
        self.inner.table().node_is_old = true;
    }

    /// These are the files of a source now, as instances see them.
    pub(super) fn learn(&self, source: Source, files: Vec<PathBuf>) {
        if self.inner.bytes == 0 {
            return;
        }
        let bootstraps = &self.inner.bootstraps;
        let outside = |path: PathBuf| match path.strip_prefix(bootstrap::FOLDER) {
            Ok(name) => bootstraps.join(name),
            Err(_) => path,
        };
        let files = files.into_iter().map(outside).collect();
        let mut table = self.inner.table();
        table.node_is_old &= source != Source::Node;
        table.files.insert(source, files);
        drop(table);
        self.inner.changed.notify_one();
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The files of all runtimes in use.
    fn wanted(&self, now: Instant) -> HashSet<PathBuf> {
        let in_use = |source: &Source| {
            self.uses
                .get(&source.runtime())
                .is_some_and(|used| used.functions.strong_count() > 0 || now <= used.last + UNUSED)
        };
        let files = self.files.iter().filter(|(source, _)| in_use(source));
        files.flat_map(|(_, files)| files.iter().cloned()).collect()
    }
}

/// Pins what is wanted whenever that changes, until nobody has a handle any more.
async fn keep(pins: Weak<Inner>) {
    let mut pinned: Vec<Found> = Vec::new();
    loop {
        {
            let Some(inner) = pins.upgrade() else { return };
            let look = tokio::time::timeout(LOOK, inner.changed.notified());
            if look.await.is_ok() {
                tokio::time::sleep(SETTLE).await;
            }
        }
        let Some(inner) = pins.upgrade() else { return };
        let wanted = inner.table().wanted(Instant::now());
        let Ok(found) = tokio::task::spawn_blocking(move || find(wanted)).await else {
            return;
        };
        if found == pinned {
            continue;
        }
        if pinned.iter().any(|file| !found.contains(file)) {
            inner.table().node_is_old = true;
        }
        let files = found.iter().map(|file| file.path.clone()).collect();
        match inner.launcher.pin(files, inner.bytes).await {
            Ok(held) => tell(&held, &found),
            Err(error) => tracing::warn!(%error, "the runtimes' files are not pinned in memory"),
        }
        // What could not be pinned is tried again when something changes.
        pinned = found;
    }
}

/// Each file once, whatever it is called, the smallest first: where not all may be pinned, these save
/// the most reads for their size.
fn find(wanted: HashSet<PathBuf>) -> Vec<Found> {
    let mut found: Vec<Found> = wanted.into_iter().filter_map(|path| look(&path)).collect();
    found.sort_by(|a, b| (a.place, &a.path).cmp(&(b.place, &b.path)));
    found.dedup_by_key(|file| file.place);
    found.sort_by(|a, b| (a.length, &a.path).cmp(&(b.length, &b.path)));
    found
}

fn look(path: &Path) -> Option<Found> {
    let found = std::fs::metadata(path)
        .ok()
        .filter(|found| found.is_file())?;
    Some(Found {
        path: path.to_owned(),
        length: found.len(),
        place: (found.dev(), found.ino()),
        modified: found.modified().ok(),
    })
}

fn tell(held: &launcher::Pinned, wanted: &[Found]) {
    const MIB: u64 = 1024 * 1024;
    let of = wanted.len();
    let (files, mib) = (held.files, held.bytes.div_ceil(MIB));
    match &held.refused {
        Some(reason) => tracing::warn!(
            files,
            of,
            mib,
            reason,
            "the kernel refuses to pin some of the runtimes' files in memory: give rouse CAP_IPC_LOCK, or \
             a higher limit (LimitMEMLOCK), or turn it off (--pin 0)"
        ),
        None => tracing::info!(files, of, mib, "the runtimes' files are pinned in memory"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn table(files: &[(Source, &str)]) -> Table {
        let files = files
            .iter()
            .map(|(source, path)| (*source, vec![PathBuf::from(path)]));
        Table {
            files: files.collect(),
            ..Table::default()
        }
    }

    #[test]
    fn only_what_is_in_use_is_wanted() {
        let python = Source::Python(Preload::Modules);
        let mut table = table(&[(python, "/python"), (Source::Node, "/node")]);
        assert!(table.wanted(Instant::now()).is_empty());
        let (begun, function) = (Instant::now(), Arc::new(()));
        let mut set = |runtime, functions| {
            let last = begun;
            table.uses.insert(runtime, Use { last, functions });
        };
        set(RuntimeName::Nodejs20, Weak::new());
        set(RuntimeName::Python311, Arc::downgrade(&function));
        let both: HashSet<PathBuf> = ["/python".into(), "/node".into()].into();
        assert_eq!(table.wanted(begun + UNUSED), both);
        let later = begun + UNUSED + LOOK;
        assert_eq!(table.wanted(later), ["/python".into()].into());
        drop(function);
        assert!(table.wanted(later).is_empty());
    }

    #[test]
    fn a_file_is_found_once_and_the_smallest_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("large"), "large").unwrap();
        std::fs::write(path("small"), "s").unwrap();
        std::os::unix::fs::symlink("large", path("link")).unwrap();
        std::fs::hard_link(path("small"), path("again")).unwrap();
        let names = ["large", "small", "link", "again", "absent", ""];
        let before = find(names.map(path).into());
        let lengths: Vec<u64> = before.iter().map(|file| file.length).collect();
        assert_eq!(lengths, [1, 5]);
        assert_eq!(find(names.map(path).into()), before);
        // An upgrade puts another file in its place.
        std::fs::write(path("new"), "s").unwrap();
        std::fs::rename(path("new"), path("small")).unwrap();
        std::fs::remove_file(path("again")).unwrap();
        assert_ne!(find(names.map(path).into()), before);
    }
}
