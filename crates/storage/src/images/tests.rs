//! Images, honest and hostile.

use super::*;
use crate::testing::Room;
use crate::testing::image::{Change as C, Image, layer};
use bytes::Bytes;
use model::Kind;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;

/// Imports, and checks that a refusal leaves nothing.
async fn import(room: &Room, archive: Vec<u8>, reference: Option<&str>) -> Result<ImageRecord> {
    let mut writer = room.storage.begin_archive(1 << 30).await.unwrap();
    writer.write(Bytes::from(archive)).await.unwrap();
    let result = room.storage.import_archive(writer, reference, |_| {}).await;
    assert_eq!(room.names("staging"), Vec::<String>::new());
    if result.is_err() {
        assert_eq!(room.names("images"), Vec::<String>::new());
        assert_eq!(room.storage.list_images().await.unwrap(), []);
    }
    result
}

/// The root of an image of these layers.
async fn flattened(room: &Room, layers: &[Vec<C<'_>>]) -> Result<PathBuf> {
    let layers = layers.iter().map(|changes| layer(changes)).collect();
    let record = import(room, Image::of(layers).oci(), Some("test")).await?;
    room.storage.image_root(&record.digest)
}

fn text(root: &Path, path: &str) -> String {
    std::fs::read_to_string(root.join(path)).unwrap()
}

fn mode(root: &Path, path: &str) -> u32 {
    std::fs::symlink_metadata(root.join(path)).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn an_oci_layout_is_flattened_and_its_configuration_kept() {
    let room = Room::open().await;
    let base = layer(&[
        C::Folder("bin", 0o700),
        C::File("bin/tool", "tool", 0o4_755),
        C::File("etc/shadow", "secret", 0o640),
        C::Folder("var/tmp", 0o1_777),
    ]);
    let top = layer(&[C::File("app/index.js", "exports", 0o644)]);
    let image = Image::of(vec![base, top]);
    let record = import(&room, image.oci(), None).await.unwrap();
    assert_eq!(record.reference, "shop/thumb:1");
    assert_eq!(record.digest.as_str(), image.digest());
    assert_eq!(record.size, 4 + 6 + 7);
    assert_eq!(record.config.entrypoint, ["/bin/tool"]);
    assert_eq!(record.config.environment, ["A=b"]);
    assert_eq!(record.config.ports, [8080]);
    let root = room.storage.image_root(&record.digest).unwrap();
    assert_eq!(text(&root, "app/index.js"), "exports");
    assert_eq!(mode(&root, "bin/tool"), 0o755);
    assert_eq!(mode(&root, "bin"), 0o755);
    assert_eq!(mode(&root, "etc/shadow"), 0o644);
    assert_eq!(mode(&root, "var/tmp"), 0o1_777);
    assert_eq!(mode(&root, ""), 0o755);
    let modified = std::fs::metadata(root.join("bin/tool")).unwrap().mtime();
    assert_eq!(modified, crate::testing::image::MTIME);
    assert_eq!(
        room.storage.get_image("shop/thumb:1").await.unwrap(),
        record
    );
    assert_eq!(
        room.storage.get_image(image.digest()).await.unwrap(),
        record
    );
    let kept = std::fs::read(root.parent().unwrap().join("config.json")).unwrap();
    assert_eq!(kept, image.config());
}

#[tokio::test]
async fn every_form_of_an_archive_gives_the_same_root() {
    let room = Room::open().await;
    let image = Image::of(vec![
        layer(&[C::File("a", "1", 0o644)]),
        layer(&[C::File("a", "2", 0o644)]),
        layer(&[C::File("a", "1", 0o644)]),
        layer(&[C::File("a", "2", 0o644)]),
    ]);
    let gzip = image.clone().packed(crate::testing::image::gzip);
    let zstd = image
        .clone()
        .packed(|bytes| zstd::encode_all(bytes, 0).unwrap());
    let archives = [
        image.oci(),
        crate::testing::image::gzip(&image.oci()),
        zstd::encode_all(image.oci().as_slice(), 0).unwrap(),
        gzip.oci(),
        zstd.oci(),
        image.docker_save(),
        image.docker_save_25(),
    ];
    for (number, archive) in archives.into_iter().enumerate() {
        let record = import(&room, archive, None).await.unwrap();
        assert_eq!(record.reference, "shop/thumb:1", "form {number}");
        let root = room.storage.image_root(&record.digest).unwrap();
        assert_eq!(text(&root, "a"), "2", "form {number}");
    }
    // Plain, gzip and zstd layers make three manifests; an old `docker save` has none.
    assert_eq!(room.names("images").len(), 4);
}

#[tokio::test]
async fn a_layout_folder_is_imported_where_it_is() {
    let room = Room::open().await;
    let image = Image::of(vec![layer(&[C::File("a", "1", 0o644)])]);
    let folder = tempfile::tempdir().unwrap();
    tar::Archive::new(image.oci().as_slice())
        .unpack(folder.path())
        .unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let imported = room
        .storage
        .import_image(folder.path(), Some("mine"), move |progress| {
            tell.lock().unwrap().push(progress);
        });
    assert_eq!(imported.await.unwrap().reference, "mine:latest");
    let first = ImportProgress {
        layer: 1,
        layers: 1,
        bytes: 0,
    };
    assert_eq!(told.lock().unwrap().first(), Some(&first));
}

#[tokio::test]
async fn of_several_platforms_ours_is_taken() {
    let room = Room::open().await;
    let image = Image::of(vec![layer(&[C::File("a", "ours", 0o644)])]);
    let record = import(&room, image.multi_platform(), None).await.unwrap();
    assert_eq!(record.digest.as_str(), image.digest());
    let root = room.storage.image_root(&record.digest).unwrap();
    assert_eq!(text(&root, "a"), "ours");
}

#[tokio::test]
async fn links_mean_what_they_mean_inside_the_image() {
    let room = Room::open().await;
    let outside = tempfile::tempdir().unwrap();
    let away = outside.path().to_str().unwrap();
    let up = "../../../../../../../../../../../..".to_owned() + away;
    let layers = [
        vec![
            C::Folder("usr/lib", 0o755),
            C::Link("lib", "usr/lib"),
            C::Link("away", away),
            C::Link("up", &up),
            C::File("one", "1", 0o644),
        ],
        vec![
            C::File("lib/libc.so", "libc", 0o755),
            C::Folder(away, 0o755),
            C::File("away/evil", "x", 0o644),
            C::File("up/evil2", "x", 0o644),
            C::HardLink("two", "one"),
            C::HardLink("three", "/lib/libc.so"),
        ],
    ];
    let root = flattened(&room, &layers).await.unwrap();
    assert_eq!(text(&root, "usr/lib/libc.so"), "libc");
    assert_eq!(text(&root, "two"), "1");
    assert_eq!(text(&root, "three"), "libc");
    let inside = root.join(away.trim_start_matches('/'));
    assert_eq!(text(&inside, "evil") + &text(&inside, "evil2"), "xx");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn hostile_layers_are_refused_and_leave_nothing() {
    let room = Room::open().await;
    let deep = "d/".repeat(300) + "f";
    let cases: Vec<(Vec<C<'_>>, &str)> = vec![
        (vec![C::File("../evil", "x", 0o644)], "'..'"),
        (vec![C::File("a/../../evil", "x", 0o644)], "'..'"),
        (
            vec![C::HardLink("passwd", "../../../../etc/passwd")],
            "'..'",
        ),
        (vec![C::HardLink("passwd", "/etc/passwd")], "not there"),
        (
            vec![C::Link("e", "/etc"), C::HardLink("p", "e/passwd")],
            "not there",
        ),
        (
            vec![C::Folder("d", 0o755), C::HardLink("l", "d")],
            "to a folder",
        ),
        (vec![C::File(&deep, "x", 0o644)], "deeper"),
        (
            vec![C::File("a", "x", 0o644), C::File("a/b", "x", 0o644)],
            "through a file",
        ),
        (
            vec![C::Link("l", "l"), C::File("l/b", "x", 0o644)],
            "through a link",
        ),
        (vec![C::File(".wh.", "", 0o644)], "names nothing"),
        (vec![C::File(".wh...", "", 0o644)], "names nothing"),
        (vec![C::Link("etc", "/usr")], "must be a folder"),
        (vec![C::Other("odd", b'Z')], "unknown kind"),
    ];
    for (number, (changes, rule)) in cases.into_iter().enumerate() {
        let error = flattened(&room, &[vec![], changes]).await.unwrap_err();
        assert!(
            matches!(error, Error::Archive(_)),
            "case {number}: {error:?}"
        );
        assert!(error.to_string().contains(rule), "case {number}: {error}");
    }
}

#[tokio::test]
async fn devices_are_left_out_and_mount_points_made() {
    let room = Room::open().await;
    let layers = [vec![
        C::Other("dev/sda", b'4'),
        C::Other("pipe", b'6'),
        C::Link("proc", "/etc"),
        C::Link("tmp", "var/tmp"),
        C::Link("etc/resolv.conf", "../run/resolv.conf"),
        C::File("etc/hosts", "127.0.0.1 localhost", 0o600),
    ]];
    let root = flattened(&room, &layers).await.unwrap();
    assert!(!root.join("pipe").exists() && !root.join("dev/sda").exists());
    for folder in [
        "proc",
        "dev",
        "tmp",
        "sys",
        "etc",
        "var/task",
        "var/runtime",
        "app",
    ] {
        let found = std::fs::symlink_metadata(root.join(folder)).unwrap();
        assert!(found.is_dir(), "{folder}");
    }
    for file in ["etc/resolv.conf", "etc/hostname"] {
        assert_eq!(text(&root, file), "");
        assert!(
            std::fs::symlink_metadata(root.join(file))
                .unwrap()
                .is_file()
        );
    }
    assert_eq!(text(&root, "etc/hosts"), "127.0.0.1 localhost");
}

#[tokio::test]
async fn replacing_a_hard_linked_file_leaves_the_other_name() {
    let room = Room::open().await;
    let lower = vec![
        C::File("a", "old", 0o644),
        C::HardLink("b", "a"),
        C::HardLink("a", "a"),
    ];
    let upper = vec![C::File("a", "new", 0o644)];
    let root = flattened(&room, &[lower, upper]).await.unwrap();
    assert_eq!(
        (text(&root, "a"), text(&root, "b")),
        ("new".into(), "old".into())
    );
}

#[tokio::test]
async fn what_does_not_match_its_digest_is_refused() {
    let room = Room::open().await;
    let image = Image::of(vec![layer(&[C::File("a", "1", 0o644)])]);
    for (archive, what) in [
        (image.with_broken("layer"), "layer"),
        (image.with_broken("manifest"), "blob"),
        (image.with_broken("config"), "blob"),
        (image.with_broken("diff id"), "diff id"),
    ] {
        let error = import(&room, archive, None).await.unwrap_err();
        assert!(matches!(error, Error::Mismatch(_)), "{what}: {error:?}");
        assert!(error.to_string().contains(what), "{error}");
    }
}

#[tokio::test]
async fn archives_that_are_no_image_are_refused_with_a_reason() {
    let room = Room::open().await;
    let image = Image::of(vec![layer(&[C::File("a", "1", 0o644)])]);
    let whole = image.oci();
    for (archive, rule) in [
        (
            layer(&[C::File("readme", "x", 0o644)]),
            "neither index.json nor",
        ),
        (whole[..whole.len() / 2].to_vec(), ""),
        (b"x".repeat(2_000), ""),
        (layer(&[C::File("../../evil", "x", 0o644)]), "'..'"),
        (layer(&[C::Link("blobs", "/etc")]), "absolute"),
        (layer(&[C::Link("blobs", "../..")]), "leads out"),
        (layer(&[C::File("index.json", "{", 0o644)]), "index.json"),
        (image.for_architecture("mips64"), "mips64"),
    ] {
        let error = import(&room, archive, Some("x")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
        assert!(error.to_string().contains(rule), "{error}");
    }
    let nameless = import(&room, image.nameless().oci(), None)
        .await
        .unwrap_err();
    assert!(
        nameless.to_string().contains("gives it no name"),
        "{nameless}"
    );
    let bad = import(&room, whole, Some("../x")).await.unwrap_err();
    assert!(matches!(bad, Error::Invalid(_)), "{bad:?}");
}

#[tokio::test]
async fn an_endless_layer_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let tree = Tree::open(folder.path(), Links::Followed).unwrap();
    let apply = |changes: &[C<'_>], bytes, entries| {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, &layer(changes)).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut budget = Budget { bytes, entries };
        layer::apply(&tree, file, &mut budget, |_| {})
            .unwrap_err()
            .error
            .to_string()
    };
    let big = "x".repeat(3_000_000);
    let long = "n".repeat(3_000_000);
    let too_large = apply(&[C::File("big", &big, 0o644)], 1_000_000, 10);
    assert!(too_large.contains("more than is allowed"), "{too_large}");
    let too_many = apply(&[C::File("a", "", 0o644), C::File("b", "", 0o644)], 10, 1);
    assert!(too_many.contains("more entries"), "{too_many}");
    let headers = apply(&[C::LongName(&long)], 10, 10);
    assert!(headers.contains("headers of one entry"), "{headers}");
}

#[tokio::test]
async fn a_root_goes_with_its_last_reference() {
    let room = Room::open().await;
    let archive = Image::of(vec![layer(&[C::File("a", "1", 0o644)])]).oci();
    let digest = import(&room, archive.clone(), Some("one"))
        .await
        .unwrap()
        .digest;
    import(&room, archive.clone(), Some("two")).await.unwrap();
    room.storage.delete_image("one", &[]).await.unwrap();
    assert!(room.storage.image_root(&digest).is_ok());
    room.storage
        .delete_image("two:latest", std::slice::from_ref(&digest))
        .await
        .unwrap();
    assert!(room.storage.image_root(&digest).is_ok());
    import(&room, archive, Some("three")).await.unwrap();
    room.storage.delete_image("three", &[]).await.unwrap();
    let gone = room.storage.image_root(&digest).unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
    let unknown = room.storage.delete_image("three", &[]).await.unwrap_err();
    assert_eq!(unknown.kind(), Kind::NotFound);
    assert_eq!(room.names("images"), Vec::<String>::new());
}
