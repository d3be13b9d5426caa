//! A disk that is full, as a tmpfs of 4 MiB: what was asked for is refused with `StorageFull`,
//! nothing half-made stays, and what fits afterwards is served.

use super::{bucket, image, put};
use crate::{Result, Storage};
use bytes::Bytes;
use model::Kind;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use state::State;
use std::io::Write;
use std::path::{Path, PathBuf};

const MIB: usize = 1 << 20;

/// A small disk. Needs root.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mount(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        mount("tmpfs", &path, "tmpfs", MountFlags::NODEV, Some(c"size=4m")).unwrap();
        Self { path }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(&self.path, UnmountFlags::DETACH);
    }
}

/// Paths of all files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| byte()).collect()
}

async fn put_object(storage: &Storage, key: &str, length: usize) -> Result<()> {
    let mut writer = storage.begin_object().await?;
    writer.write(Bytes::from(vec![1; length])).await?;
    storage.commit_object(writer, put("photos", key)).await?;
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_said_and_nothing_half_made_stays() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(folder.path().join("disk"));
    let state = State::open(folder.path()).await.unwrap();
    let storage = Storage::open(&disk.path, state).await.unwrap();
    storage.create_bucket(bucket("photos")).await.unwrap();

    let object = put_object(&storage, "big", 8 * MIB).await.unwrap_err();
    assert_eq!(object.kind(), Kind::StorageFull, "{object}");
    assert_eq!(files(&disk.path), Vec::<PathBuf>::new());

    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("big", zip::write::SimpleFileOptions::default())
        .unwrap();
    zip.write_all(&vec![0; 8 * MIB]).unwrap();
    let mut writer = storage.begin_blob(MIB as u64).await.unwrap();
    let zip = zip.finish().unwrap().into_inner();
    writer.write(Bytes::from(zip)).await.unwrap();
    let (digest, _) = storage.commit_blob(writer, None).await.unwrap();
    let code = storage.ensure_code(&digest).await.unwrap_err();
    assert_eq!(code.kind(), Kind::StorageFull, "{code}");
    assert_eq!(files(&disk.path).len(), 1);

    let content = hex::encode(noise(MIB));
    let layer = image::layer(&[image::Change::File("big", &content, 0o644)]);
    let archive = folder.path().join("image.tar");
    std::fs::write(&archive, image::Image::of(vec![layer]).oci()).unwrap();
    let image = storage
        .import_image(&archive, None, |_| {})
        .await
        .unwrap_err();
    assert_eq!(image.kind(), Kind::StorageFull, "{image}");
    assert_eq!(files(&disk.path).len(), 1);

    put_object(&storage, "small", MIB).await.unwrap();
    assert_eq!(files(&disk.path).len(), 2);
}
