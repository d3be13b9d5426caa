//! Zips, honest and hostile.

use super::*;
use crate::testing::Room;
use bytes::Bytes;
use model::Kind;
use proptest::prelude::*;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

pub(crate) enum Entry<'a> {
    File(&'a str, &'a [u8], u32),
    Folder(&'a str),
    Link(&'a str, &'a str),
}
use Entry::{File as F, Folder as D, Link as L};

pub(crate) fn zip(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default();
    for entry in entries {
        match entry {
            F(name, content, mode) => {
                writer
                    .start_file(*name, options.unix_permissions(*mode))
                    .unwrap();
                writer.write_all(content).unwrap();
            }
            D(name) => writer.add_directory(*name, options).unwrap(),
            L(name, target) => writer.add_symlink(*name, *target, options).unwrap(),
        }
    }
    writer.finish().unwrap().into_inner()
}

pub(crate) async fn store(room: &Room, bytes: Vec<u8>) -> Digest {
    let mut writer = room.storage.begin_blob(1 << 30).await.unwrap();
    writer.write(Bytes::from(bytes)).await.unwrap();
    room.storage.commit_blob(writer, None).await.unwrap().0
}

/// Unpacks, and checks that a refusal leaves nothing.
async fn unpacked(room: &Room, bytes: Vec<u8>) -> Result<PathBuf> {
    let digest = store(room, bytes).await;
    let result = room.storage.ensure_code(&digest).await;
    assert_eq!(room.names("staging"), Vec::<String>::new());
    if result.is_err() {
        assert_eq!(room.names("code"), Vec::<String>::new());
    }
    result
}

#[tokio::test]
async fn an_archive_is_unpacked_readable_for_everyone() {
    let room = Room::open().await;
    let archive = zip(&[
        F("index.js", b"exports", 0o600),
        F("bootstrap", b"#!/bin/sh", 0o4_750),
        D("lib"),
        F("node_modules/mime/cli.js", b"cli", 0o755),
        L("node_modules/.bin/mime", "../mime/cli.js"),
    ]);
    let code = unpacked(&room, archive).await.unwrap();
    let mode = |name: &str| {
        std::fs::metadata(code.join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(std::fs::read(code.join("index.js")).unwrap(), b"exports");
    assert_eq!(mode("index.js") & 0o7777, 0o644);
    assert_eq!(mode("bootstrap") & 0o7777, 0o755);
    assert_eq!(mode("lib") & 0o7777, 0o755);
    assert_eq!(mode("node_modules") & 0o7777, 0o755);
    assert_eq!(mode("") & 0o7777, 0o755);
    let link = std::fs::read(code.join("node_modules/.bin/mime")).unwrap();
    assert_eq!(link, b"cli");
}

#[tokio::test]
async fn hostile_archives_are_refused_and_leave_nothing() {
    let room = Room::open().await;
    let long = "d/".repeat(2_100) + "f";
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (zip(&[F("../evil", b"x", 0o644)]), ".."),
        (zip(&[F("a/../../evil", b"x", 0o644)]), ".."),
        (renamed(b"_etc_evil", b"/etc/evil"), "absolute"),
        (renamed(b"a_evil.txt", b"a\\evil.txt"), "backslash"),
        (renamed(b"a_evil.txt", b"a\0evil.txt"), "NUL"),
        (zip(&[F(&long, b"x", 0o644)]), "4096"),
        (zip(&[L("l", "/etc/passwd")]), "absolute"),
        (zip(&[L("a/l", "../../etc/passwd")]), "leads out"),
        (zip(&[L("l", ".."), F("l/evil", b"x", 0o644)]), "leads out"),
        (
            zip(&[L("l", "d"), F("l/evil", b"x", 0o644)]),
            "stands twice",
        ),
        (
            zip(&[F("a", b"x", 0o644), F("a/b", b"x", 0o644)]),
            "through a file",
        ),
        (
            zip(&[F("a/b", b"x", 0o644), F("a", b"x", 0o644)]),
            "stands twice",
        ),
        (
            zip(&[L("p/q/s", "."), L("e", "p/q/s/../../..")]),
            "leads out",
        ),
        (
            zip(&[F("a", b"1", 0o644), F("./a", b"2", 0o644)]),
            "stands twice",
        ),
        (renamed_second(), "stands twice"),
        (b"this is no zip".to_vec(), "cannot be read"),
        (cut(), ""),
        (Vec::new(), "cannot be read"),
    ];
    for (number, (archive, rule)) in cases.into_iter().enumerate() {
        let error = unpacked(&room, archive).await.unwrap_err();
        assert!(
            matches!(error, Error::Archive(_)),
            "case {number}: {error:?}"
        );
        assert!(error.to_string().contains(rule), "case {number}: {error}");
        assert_eq!(error.kind(), Kind::Invalid);
    }
    assert!(!std::path::Path::new("/etc/evil").exists());
}

/// A zip whose only entry was renamed after it was made, to what a zip writer would not write.
fn renamed(from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut archive = zip(&[F(std::str::from_utf8(from).unwrap(), b"x", 0o644)]);
    for at in 0..archive.len() - from.len() {
        if archive[at..].starts_with(from) {
            archive[at..at + to.len()].copy_from_slice(to);
        }
    }
    archive
}

/// A zip in which one name stands twice.
fn renamed_second() -> Vec<u8> {
    let mut archive = zip(&[F("first", b"1", 0o644), F("other", b"2", 0o644)]);
    for at in 0..archive.len() - 5 {
        if archive[at..].starts_with(b"other") {
            archive[at..at + 5].copy_from_slice(b"first");
        }
    }
    archive
}

/// A zip whose content was changed after its checksum was taken.
fn cut() -> Vec<u8> {
    let mut archive = zip(&[F("a", &[7; 5_000], 0o644), F("b", b"x", 0o644)]);
    archive[40] ^= 0xFF;
    archive
}

#[test]
fn links_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Tree::open(folder.path(), Links::Refused).unwrap();
    let blob = folder.path().join("blob");
    let target = "t".repeat(200);
    std::fs::write(&blob, zip(&[L("one", "short"), L("two", &target)])).unwrap();
    let open = || BufReader::new(File::open(&blob).unwrap());
    let mut archive = ZipIterable::try_new(open(), Config::default()).unwrap();
    let mut unpacker = Unpacker {
        tree: &tree,
        contents: open(),
        left: 0,
        links: Vec::new(),
        links_left: 250,
    };
    let entries: Vec<_> = archive.files().unwrap().collect();
    let results: Vec<_> = entries
        .into_iter()
        .map(|entry| unpacker.entry(entry.unwrap()).is_ok())
        .collect();
    assert_eq!(results, [true, false]);
}

#[tokio::test]
async fn a_bomb_is_stopped_while_it_inflates() {
    let folder = tempfile::tempdir().unwrap();
    let blob = folder.path().join("blob");
    std::fs::write(&blob, zip(&[F("zeros", &vec![0; 1 << 20], 0o644)])).unwrap();
    let into = folder.path().join("into");
    std::fs::create_dir(&into).unwrap();
    let tree = Tree::open(&into, Links::Refused).unwrap();
    let open = || File::open(&blob).unwrap();
    let mut archive = ZipIterable::try_new(BufReader::new(open()), Config::default()).unwrap();
    let mut unpacker = Unpacker {
        tree: &tree,
        contents: BufReader::new(open()),
        left: 1_000_000,
        links: Vec::new(),
        links_left: 100,
    };
    let entry = archive.files().unwrap().next().unwrap().unwrap();
    let error = unpacker.entry(entry).unwrap_err();
    assert!(
        error.to_string().contains("more than is allowed"),
        "{error}"
    );
    assert!(std::fs::metadata(into.join("zeros")).unwrap().len() <= 1_000_000);
}

#[tokio::test]
async fn too_many_entries_are_refused() {
    let room = Room::open().await;
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for number in 0..=MAX_ENTRIES {
        writer.start_file(number.to_string(), stored).unwrap();
    }
    let archive = writer.finish().unwrap().into_inner();
    let error = unpacked(&room, archive).await.unwrap_err();
    assert!(error.to_string().contains("more than 200000"), "{error}");
}

#[tokio::test]
async fn many_at_once_get_one_folder() {
    let room = Room::open().await;
    let digest = store(&room, zip(&[F("index.js", b"exports", 0o644)])).await;
    let calls = (0..16).map(|_| room.storage.ensure_code(&digest));
    let folders = futures::future::join_all(calls).await;
    for folder in folders {
        let index = folder.unwrap().join("index.js");
        assert_eq!(std::fs::read(index).unwrap(), b"exports");
    }
    assert_eq!(room.names("code"), [digest.hex()]);
    assert_eq!(room.names("staging"), Vec::<String>::new());
}

#[tokio::test]
async fn an_unknown_archive_is_not_found() {
    let room = Room::open().await;
    let digest = Digest::from_hex(&"a".repeat(64)).unwrap();
    let error = room.storage.ensure_code(&digest).await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_sweep_keeps_what_it_is_told_to_keep() {
    let room = Room::open().await;
    let kept = store(&room, zip(&[F("a", b"1", 0o644)])).await;
    let other = store(&room, zip(&[F("b", b"2", 0o644)])).await;
    room.storage.ensure_code(&kept).await.unwrap();
    room.storage.ensure_code(&other).await.unwrap();
    let swept = room.storage.sweep_code(std::slice::from_ref(&kept)).await;
    assert_eq!(swept.unwrap(), 2);
    assert_eq!(room.names("code"), [kept.hex()]);
    assert_eq!(room.names("blobs/sha256"), [kept.hex()]);
    assert_eq!(room.names("staging"), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever links and files stand in an archive, nothing is made outside its folder, and no
    /// link of an accepted archive leads out of it.
    #[test]
    fn nothing_gets_out(
        entries in proptest::collection::vec(
            ("[ab]{1}(/[ab.]{1,2}){0,3}", proptest::option::of("(\\.\\./|[ab./]){1,4}")), 1..8)
    ) {
        let outside = tempfile::tempdir().unwrap();
        let blob = outside.path().join("blob");
        let into = outside.path().join("into");
        std::fs::create_dir(&into).unwrap();
        let entries: Vec<Entry<'_>> = entries
            .iter()
            .map(|(name, target)| match target {
                Some(target) => L(name, target),
                None => F(name, b"x", 0o644),
            })
            .collect();
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default();
        for entry in &entries {
            // The writer itself refuses a name that stands twice.
            let _ = match entry {
                L(name, target) => writer.add_symlink(*name, *target, options),
                F(name, ..) | D(name) => writer.start_file(*name, options),
            };
        }
        std::fs::write(&blob, writer.finish().unwrap().into_inner()).unwrap();
        let accepted = unpack(File::open(&blob).unwrap(), &blob, &into).is_ok();
        let around = crate::store::names_in(outside.path()).unwrap();
        prop_assert_eq!(around.len(), 2, "{:?}", around);
        if accepted {
            let root = into.canonicalize().unwrap();
            for entry in &entries {
                if let L(name, _) = entry
                    && let Ok(real) = into.join(name).canonicalize()
                {
                    prop_assert!(real.starts_with(&root), "{name} is {real:?}");
                }
            }
        }
    }
}
