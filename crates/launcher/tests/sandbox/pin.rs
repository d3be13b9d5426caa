//! Files that are kept in memory.

use crate::Case;
use crate::bench::{Bench, program, status, until, with};
use launcher::residency::resident;
use launcher::{Pinned, Stem};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) const CASES: &[Case] = &[
    ("pinned_files_stay_in_memory", stay),
    ("what_pins_holds_no_privilege", unprivileged),
    ("as_much_is_pinned_as_was_asked_for", bounded),
    ("what_is_no_file_is_left_out", no_file),
    ("a_stem_tells_which_files_it_has_mapped", mapped),
];

const MIB: u64 = 1 << 20;

/// A file of one MiB that is on the disk. Not below `/tmp`, which may be in memory only.
fn file(folder: &TempDir, name: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, vec![1; MIB as usize]).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    path
}

fn folder() -> TempDir {
    TempDir::new_in("/var/tmp").expect("a folder on a disk")
}

/// Asks the kernel to let go of the file; how many bytes of it are in memory then.
fn let_go(path: &Path) -> u64 {
    let file = File::open(path).unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let left = resident(&file).unwrap();
    left.iter().map(|part| part.end - part.start).sum()
}

/// The processes that pin for this case's launcher.
fn pinning(bench: &Bench) -> Vec<u32> {
    let launcher = bench.data.path().display().to_string();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        let name = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let parent = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = crate::bench::field(&parent, "PPid");
        let ours = std::fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
        name == b"rouse-pin\0" && String::from_utf8_lossy(&ours).contains(&launcher)
    })
    .collect()
}

fn stay() {
    with(|bench| async move {
        let folder = folder();
        let (kept, other) = (file(&folder, "kept"), file(&folder, "other"));
        let files = vec![kept.clone()];
        let pinned = bench.launcher.pin(files, 64 * MIB).await.unwrap();
        let one = Pinned {
            files: 1,
            bytes: MIB,
            refused: None,
        };
        assert_eq!(pinned, one);
        assert_eq!(let_go(&kept), MIB);
        assert_eq!(
            let_go(&other),
            0,
            "the kernel lets go of what is not pinned"
        );
        // Another list takes its place, without a moment in which neither holds.
        let files = vec![kept.clone(), other.clone()];
        let pinned = bench.launcher.pin(files, 64 * MIB).await.unwrap();
        assert_eq!((pinned.files, pinned.bytes), (2, 2 * MIB));
        assert_eq!((let_go(&kept), let_go(&other)), (MIB, MIB));
        until("the end of the first", || pinning(&bench).len() == 1).await;
        let pinned = bench.launcher.pin(vec![other.clone()], 64 * MIB).await;
        assert_eq!(pinned.unwrap().files, 1);
        until("the first is let go", || let_go(&kept) == 0).await;
        assert_eq!(let_go(&other), MIB);
        let pinned = bench.launcher.pin(Vec::new(), 64 * MIB).await.unwrap();
        assert_eq!(pinned, Pinned::default());
        until("all are let go", || let_go(&other) == 0).await;
        until("nothing pins", || pinning(&bench).is_empty()).await;
    });
}

fn unprivileged() {
    let folder = folder();
    let kept = file(&folder, "kept");
    let held = kept.clone();
    with(|bench| async move {
        bench.launcher.pin(vec![held], MIB).await.unwrap();
        let pids = pinning(&bench);
        let [pid] = pids.as_slice() else {
            panic!("{pids:?}");
        };
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(*pid, set), "0000000000000000", "{set}");
        }
        assert_eq!(status(*pid, "NoNewPrivs"), "1");
        assert_eq!(status(*pid, "Name"), "rouse-pin");
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        assert!(open.count() <= 4, "it closes the files that it holds");
    });
    // It ends with the launcher.
    crate::bench::block_on(until("the file is let go", || let_go(&kept) == 0));
}

fn bounded() {
    with(|bench| async move {
        let folder = folder();
        let files = ["a", "b", "c"].map(|name| file(&folder, name));
        let pinned = bench.launcher.pin(files.to_vec(), 2 * MIB).await.unwrap();
        assert_eq!((pinned.files, pinned.bytes), (2, 2 * MIB));
        let [a, b, c] = &files;
        assert_eq!([let_go(a), let_go(b), let_go(c)], [MIB, MIB, 0]);
        let pinned = bench.launcher.pin(files.to_vec(), 0).await.unwrap();
        assert_eq!(pinned, Pinned::default());
    });
}

fn no_file() {
    with(|bench| async move {
        let folder = folder();
        let kept = file(&folder, "kept");
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        let files = vec![
            fifo,
            "/dev/zero".into(),
            "/usr".into(),
            "/no/such".into(),
            kept,
        ];
        let pinned = bench.launcher.pin(files, 64 * MIB).await.unwrap();
        assert_eq!((pinned.files, pinned.refused), (1, None));
    });
}

fn mapped() {
    with(|bench| async move {
        let argv = [
            "/usr/bin/perl",
            "-e",
            "open my $s, '+<&=', 3; syswrite $s, '1'; sleep 1000",
        ];
        let stem = Stem::Program {
            argv: argv.map(str::to_owned).into(),
            environment: Vec::new(),
        };
        let armed = bench.arm(&program(&["true"]), stem).await.unwrap();
        let files = armed.mapped().await.unwrap();
        let names: Vec<_> = files.iter().filter_map(|path| path.file_name()).collect();
        assert!(names.iter().any(|name| *name == "perl"), "{files:?}");
        assert!(names.iter().any(|name| *name == "libc.so.6"), "{files:?}");
        assert!(files.iter().all(|path| path.is_file()), "{files:?}");
    });
}
