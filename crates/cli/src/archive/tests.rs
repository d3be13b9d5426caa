//! Archives: the same bytes for the same content, and nothing from outside.

#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn names(archive: Archive) -> Vec<String> {
    let zip = zip::ZipArchive::new(archive.file).unwrap();
    zip.file_names()
        .map(|name| name.unwrap().into_owned())
        .collect()
}

#[test]
fn the_same_content_gives_the_same_digest() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let files = ["b.js", "a/z.js", "a/b/c.txt"];
    for name in files {
        write(one.path(), name, name);
    }
    for name in files.iter().rev() {
        write(two.path(), name, name);
    }
    let modes = [(one.path(), 0o700), (two.path(), 0o755)];
    for (folder, mode) in modes {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.join("b.js"), mode).unwrap();
    }
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    File::open(two.path().join("b.js"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    let (one, two) = (
        pack(one.path(), |_| ()).unwrap(),
        pack(two.path(), |_| ()).unwrap(),
    );
    assert_eq!(one.digest, two.digest);
    assert_eq!(one.size, two.size);
    assert_eq!(names(one), ["a/b/c.txt", "a/z.js", "b.js"]);
}

#[test]
fn bits_links_and_empty_folders_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "bin/run", "#!/bin/sh");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path().join("bin/run"), mode).unwrap();
    symlink("../bin/run", folder.path().join("bin/link")).unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let archive = pack(folder.path(), |_| ()).unwrap();
    assert_eq!(archive.entries, 3);
    let mut zip = zip::ZipArchive::new(archive.file).unwrap();
    let mode = |zip: &mut zip::ZipArchive<File>, name: &str| {
        zip.by_name(name).unwrap().unix_mode().unwrap()
    };
    assert_eq!(mode(&mut zip, "bin/run") & 0o777, 0o755);
    assert_eq!(mode(&mut zip, "bin/link") & 0o170_000, 0o120_000);
    let mut target = String::new();
    zip.by_name("bin/link")
        .unwrap()
        .read_to_string(&mut target)
        .unwrap();
    assert_eq!(target, "../bin/run");
    assert!(zip.by_name("empty/").unwrap().is_dir());
}

#[test]
fn links_out_of_the_folder_are_refused_by_name() {
    for target in ["/etc/passwd", "../x", "a/../../x"] {
        let folder = tempfile::tempdir().unwrap();
        symlink(target, folder.path().join("link")).unwrap();
        let error = pack(folder.path(), |_| ()).unwrap_err().to_string();
        assert!(error.contains("link") && error.contains(target), "{error}");
    }
}

#[test]
fn ignored_files_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    for name in [
        "keep.js",
        "a.log",
        "deep/b.log",
        ".git/config",
        "node_modules/x/y.js",
    ] {
        write(folder.path(), name, "x");
    }
    write(folder.path(), ".dockerignore", "*.log\nnode_modules\n");
    let packed = names(pack(folder.path(), |_| ()).unwrap());
    assert_eq!(
        packed,
        ["deep/b.log", "keep.js"],
        "Docker's rules are anchored"
    );
    write(folder.path(), ".rouseignore", "*.log\n");
    let packed = names(pack(folder.path(), |_| ()).unwrap());
    assert_eq!(packed, ["keep.js", "node_modules/x/y.js"], "git's are not");
}

#[test]
fn an_empty_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(pack(folder.path(), |_| ()).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn what_is_packed_is_what_was_there(
        files in proptest::collection::btree_map("([a-z]{1,6}[0-9]/){0,2}[a-z]{1,9}", ".{0,64}", 1..8)
    ) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in &files {
            write(folder.path(), name, text);
        }
        let archive = pack(folder.path(), |_| ()).unwrap();
        let again = pack(folder.path(), |_| ()).unwrap();
        prop_assert_eq!(&archive.digest, &again.digest);
        let mut zip = zip::ZipArchive::new(archive.file).unwrap();
        let mut found = BTreeMap::new();
        for index in 0..zip.len() {
            let mut file = zip.by_index(index).unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            found.insert(file.name().unwrap().into_owned(), text);
        }
        prop_assert_eq!(found, files);
    }
}
