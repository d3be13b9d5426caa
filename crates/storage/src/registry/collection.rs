//! What of the registry nobody needs any more, and how it goes.

use crate::store::names_in;
use crate::{Result, Storage, blocking, folders};
use model::{ContentDigest, Digest, Timestamp};
use state::LinkCursor;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Blobs and uploads that go in one step; pushes wait for no more than one.
const STEP: u32 = 200;

/// What was collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Blobs taken out of repositories.
    pub links: u64,
    /// Blobs that went.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Uploads given up.
    pub uploads: u64,
}

/// Blobs that are listed of what would go.
const LISTED: usize = 1_000;

/// What a collection would take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surplus {
    /// Blobs that would go.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first of them by digest, with their sizes; a thousand at most.
    pub listed: Vec<(ContentDigest, u64)>,
    /// Uploads that would be given up.
    pub uploads: u64,
}

/// So long ago.
pub(super) fn before(grace: Duration) -> Timestamp {
    let millis = i64::try_from(grace.as_millis()).unwrap_or(i64::MAX);
    Timestamp(Timestamp::now().0.saturating_sub(millis))
}

impl Storage {
    /// What [`Storage::collect_registry`] would take now. Changes nothing.
    ///
    /// # Errors
    /// Of the store and the file system.
    pub async fn registry_surplus(&self, grace: Duration, in_use: &[Digest]) -> Result<Surplus> {
        let before = before(grace);
        let mut surplus = Surplus {
            uploads: self.state().count_old_blob_uploads(before).await?,
            ..Surplus::default()
        };
        let mut last = String::new();
        loop {
            let step = self.state().surplus_registry_blobs(before, last, STEP);
            let mut step = step.await?;
            let Some((end, _)) = step.last() else {
                return Ok(surplus);
            };
            last = end.to_string();
            step.retain(|(digest, _)| !in_use.iter().any(|d| d.as_str() == digest.as_str()));
            let folders = self.folders().clone();
            let step = blocking::on_disk(move || {
                step.retain(|(digest, _)| is_older(&folders.content(digest), grace));
                Ok(step)
            });
            for (digest, size) in step.await? {
                surplus.blobs += 1;
                surplus.bytes += size;
                if surplus.listed.len() < LISTED {
                    surplus.listed.push((digest, size));
                }
            }
        }
    }

    /// Deletes blobs that no manifest of their repository names and that nobody pushed, mounted or asked
    /// for within `grace`, and uploads that nobody went on with. Bytes that are code in use (`in_use`)
    /// stay. Safe beside pushes, and wherever it is cut short.
    ///
    /// # Errors
    /// Of the store and the file system.
    pub async fn collect_registry(&self, grace: Duration, in_use: &[Digest]) -> Result<Collected> {
        let before = before(grace);
        let mut collected = Collected::default();
        let state = self.state();
        loop {
            let gone = state.abandon_blob_uploads(before, STEP).await?;
            if gone.is_empty() {
                break;
            }
            collected.uploads += gone.len() as u64;
            self.delete_uploads(gone).await?;
        }
        let mut cursor: Option<LinkCursor> = Some(LinkCursor::default());
        while let Some(at) = cursor {
            let (links, next) = state.collect_registry_links(before, at).await?;
            collected.links += links;
            cursor = next;
        }
        let mut last = String::new();
        loop {
            let unlinked = state.unlinked_registry_blobs(last, STEP).await?;
            let Some(end) = unlinked.last() else {
                return Ok(collected);
            };
            last = end.to_string();
            let (blobs, bytes) = self.delete_blobs(unlinked, grace, in_use).await?;
            collected.blobs += blobs;
            collected.bytes += bytes;
        }
    }

    /// Row first, then file, with no push between the two: one that came before has linked the blob,
    /// one that comes after brings the file anew. What stays keeps its row, so that a later collection
    /// finds it. A file whose row a crash has taken goes at the next start.
    async fn delete_blobs(
        &self,
        mut digests: Vec<ContentDigest>,
        grace: Duration,
        in_use: &[Digest],
    ) -> Result<(u64, u64)> {
        let is_code = |digest: &ContentDigest| in_use.iter().any(|d| d.as_str() == digest.as_str());
        digests.retain(|digest| !is_code(digest));
        let storage = self.clone();
        blocking::to_the_end(async move {
            let _alone = storage.registry_turn().write_owned().await;
            let folders = storage.folders().clone();
            let old = blocking::on_disk(move || {
                digests.retain(|digest| is_older(&folders.content(digest), grace));
                Ok(digests)
            });
            let gone = storage.state().forget_registry_blobs(old.await?).await?;
            let folders = storage.folders().clone();
            blocking::on_disk(move || {
                let (mut blobs, mut bytes) = (0, 0);
                for (digest, size) in gone {
                    folders::remove_file(&folders.content(&digest))?;
                    blobs += 1;
                    bytes += size;
                }
                Ok((blobs, bytes))
            })
            .await
        })
        .await
    }

    /// Those of the blob files of `names` that the registry knows.
    pub(crate) async fn registry_names(&self, names: Vec<String>) -> Result<Vec<String>> {
        let digests: Vec<ContentDigest> = names
            .iter()
            .filter_map(|name| format!("sha256:{name}").parse().ok())
            .collect();
        let unknown = self.state().unknown_registry_blobs(digests).await?;
        let is_known = |name: &String| !unknown.iter().any(|digest| digest.hex() == name);
        Ok(names.into_iter().filter(is_known).collect())
    }

    /// Deletes what a crash has left: files of uploads and of sha512 blobs that have no row. For a
    /// server that takes no push yet.
    pub(crate) async fn sweep_registry(&self) -> Result<()> {
        let folder = self.folders().uploads();
        let names = blocking::on_disk(move || names_in(&folder)).await?;
        let unknown = self.state().unknown_blob_uploads(names).await?;
        self.delete_uploads(unknown).await?;
        let folder = self.folders().long_blobs();
        let names = blocking::on_disk(move || names_in(&folder)).await?;
        let digests = names
            .iter()
            .filter_map(|name| format!("sha512:{name}").parse().ok());
        let unknown = self
            .state()
            .unknown_registry_blobs(digests.collect())
            .await?;
        let folders = self.folders().clone();
        blocking::on_disk(move || {
            let mut paths = unknown.iter().map(|digest| folders.content(digest));
            paths.try_for_each(|path| folders::remove_file(&path))
        })
        .await
    }
}

/// Whether a file's bytes were written that long ago, or are gone: what was just uploaded as code has no
/// row here.
fn is_older(path: &Path, grace: Duration) -> bool {
    let modified = std::fs::metadata(path).and_then(|found| found.modified());
    if matches!(&modified, Err(error) if error.kind() == ErrorKind::NotFound) {
        return true;
    }
    let age = modified.map(|modified| SystemTime::now().duration_since(modified));
    // What cannot be read is not deleted; a time in the future is as good as now.
    matches!(age, Ok(Ok(age)) if age >= grace)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::testing::Room;
    use bytes::Bytes;
    use model::{ManifestReference, RepositoryName};
    use sha2::{Digest as _, Sha256, Sha512};

    fn shop() -> RepositoryName {
        "shop/a".parse().unwrap()
    }

    fn digest(bytes: &[u8]) -> ContentDigest {
        let hex = hex::encode(Sha256::digest(bytes));
        format!("sha256:{hex}").parse().unwrap()
    }

    async fn push(room: &Room, bytes: &[u8]) -> ContentDigest {
        try_push(room, bytes).await.unwrap()
    }

    async fn try_push(room: &Room, bytes: &[u8]) -> Result<ContentDigest> {
        let (shop, digest) = (shop(), digest(bytes));
        let upload = room.storage.begin_blob_upload(&shop).await?;
        let chunk = room.storage.begin_chunk(&shop, &upload.id, 1 << 20);
        let mut chunk = chunk.await?;
        chunk.write(Bytes::copy_from_slice(bytes)).await?;
        chunk.finish(digest.clone()).await?;
        Ok(digest)
    }

    async fn tagged(room: &Room, layer: &ContentDigest) {
        let body = format!(r#"{{"layers":[{{"digest":"{layer}"}}]}}"#);
        let tag = ManifestReference::Tag("prod".parse().unwrap());
        let shop = shop();
        let put = room.storage.push_manifest(&shop, tag, None, body.into());
        put.await.unwrap();
    }

    #[tokio::test]
    async fn only_what_nothing_names_goes() {
        let room = Room::open().await;
        let kept = push(&room, b"kept").await;
        let gone = push(&room, b"gone").await;
        tagged(&room, &kept).await;
        let young = Duration::from_secs(3600);
        let collected = room.storage.collect_registry(young, &[]).await.unwrap();
        assert_eq!(collected, Collected::default());
        tokio::time::sleep(Duration::from_millis(5)).await;
        let surplus = room.storage.registry_surplus(young, &[]).await.unwrap();
        assert_eq!(surplus, Surplus::default());
        let in_use: [Digest; 1] = [gone.as_str().parse().unwrap()];
        let surplus = room.storage.registry_surplus(Duration::ZERO, &in_use);
        assert_eq!(surplus.await.unwrap().blobs, 0, "it is code, too");
        let surplus = room.storage.registry_surplus(Duration::ZERO, &[]).await;
        let surplus = surplus.unwrap();
        assert_eq!((surplus.blobs, surplus.bytes, surplus.uploads), (1, 4, 0));
        assert_eq!(surplus.listed, [(gone.clone(), 4)]);
        let collected = room.storage.collect_registry(Duration::ZERO, &[]).await;
        assert_eq!(collected.unwrap().bytes, 4);
        assert_eq!(room.names("blobs/sha256"), [kept.hex()]);
        let unknown = room.storage.registry_blob_size(&shop(), &gone).await;
        assert!(unknown.is_err());
        // Pushed again, it is there again.
        push(&room, b"gone").await;
        assert_eq!(
            room.storage
                .registry_blob_size(&shop(), &gone)
                .await
                .unwrap(),
            4
        );
    }

    #[tokio::test]
    async fn pushes_beside_the_collection_lose_nothing() {
        let room = Room::open().await;
        let storage = room.storage.clone();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let collecting = tokio::spawn(async move {
            while stopped.try_recv().is_err() {
                let grace = Duration::from_millis(20);
                storage.collect_registry(grace, &[]).await.unwrap();
            }
        });
        let shop = shop();
        for _ in 0..60 {
            // With so little grace an upload may be given up, or a blob be gone before its manifest
            // comes; that is said, and never found out later.
            let Ok(digest) = try_push(&room, b"the same bytes").await else {
                continue;
            };
            let body = format!(r#"{{"layers":[{{"digest":"{digest}"}}]}}"#);
            let tag = ManifestReference::Tag("prod".parse().unwrap());
            let put = room
                .storage
                .push_manifest(&shop, tag.clone(), None, body.into());
            let Ok(pushed) = put.await else { continue };
            let read = room
                .storage
                .read_registry_blob(&digest, None)
                .await
                .unwrap();
            assert_eq!(crate::body::collect(read).await.unwrap(), b"the same bytes");
            let by_digest = ManifestReference::Digest(pushed.digest);
            let state = room.storage.state();
            state
                .delete_manifest(shop.clone(), by_digest)
                .await
                .unwrap();
        }
        stop.send(()).unwrap();
        collecting.await.unwrap();
    }

    #[tokio::test]
    async fn uploads_go_on_after_a_restart_and_broken_chunks_leave_nothing() {
        let room = Room::open().await;
        let upload = room.storage.begin_blob_upload(&shop()).await.unwrap();
        let storage = room.storage.clone();
        let mut first = storage.begin_chunk(&shop(), &upload.id, 100).await.unwrap();
        first.write(Bytes::from_static(b"hel")).await.unwrap();
        assert_eq!(first.commit().await.unwrap(), 3);
        let mut broken = storage.begin_chunk(&shop(), &upload.id, 100).await.unwrap();
        broken.write(Bytes::from_static(b"XXXX")).await.unwrap();
        drop(broken);
        let mut large = storage.begin_chunk(&shop(), &upload.id, 4).await.unwrap();
        assert!(matches!(
            large.write(Bytes::from_static(b"lo")).await,
            Err(Error::TooLarge { .. })
        ));
        drop(large);
        drop(storage);
        let room = room.reopen().await;
        let storage = room.storage.clone();
        storage.sweep_registry().await.unwrap();
        let mut last = storage.begin_chunk(&shop(), &upload.id, 100).await.unwrap();
        assert_eq!(last.size(), 3);
        last.write(Bytes::from_static(b"lo")).await.unwrap();
        let hex = hex::encode(Sha512::digest(b"hello"));
        let digest: ContentDigest = format!("sha512:{hex}").parse().unwrap();
        assert_eq!(last.finish(digest.clone()).await.unwrap(), 5);
        assert_eq!(room.names("uploads"), Vec::<String>::new());
        drop(storage);
        let room = room.reopen().await;
        room.storage.sweep_registry().await.unwrap();
        let read = room
            .storage
            .read_registry_blob(&digest, None)
            .await
            .unwrap();
        assert_eq!(crate::body::collect(read).await.unwrap(), b"hello");
    }

    #[tokio::test]
    async fn other_bytes_than_named_end_the_upload_and_old_uploads_are_given_up() {
        let room = Room::open().await;
        let upload = room.storage.begin_blob_upload(&shop()).await.unwrap();
        let mut chunk = room
            .storage
            .begin_chunk(&shop(), &upload.id, 9)
            .await
            .unwrap();
        chunk.write(Bytes::from_static(b"other")).await.unwrap();
        let refused = chunk.finish(digest(b"hello")).await.unwrap_err();
        assert!(matches!(refused, Error::Mismatch(_)), "{refused:?}");
        assert!(
            room.storage
                .get_blob_upload(&shop(), &upload.id)
                .await
                .is_err()
        );
        let upload = room.storage.begin_blob_upload(&shop()).await.unwrap();
        let mut chunk = room
            .storage
            .begin_chunk(&shop(), &upload.id, 9)
            .await
            .unwrap();
        chunk.write(Bytes::from_static(b"x")).await.unwrap();
        chunk.commit().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        let collected = room.storage.collect_registry(Duration::ZERO, &[]).await;
        assert_eq!(collected.unwrap().uploads, 1);
        assert_eq!(room.names("uploads"), Vec::<String>::new());
    }

    #[tokio::test]
    async fn code_in_use_keeps_its_bytes_and_a_sweep_of_code_those_of_the_registry() {
        let room = Room::open().await;
        let digest = push(&room, b"both").await;
        let used: Digest = digest.as_str().parse().unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(room.storage.sweep_code(&[]).await.unwrap(), 0);
        room.storage
            .collect_registry(Duration::ZERO, std::slice::from_ref(&used))
            .await
            .unwrap();
        assert_eq!(room.names("blobs/sha256"), [digest.hex()]);
        // It is the registry's still, and goes when it is no code any more.
        assert_eq!(room.storage.sweep_code(&[]).await.unwrap(), 0);
        let collected = room.storage.collect_registry(Duration::ZERO, &[]).await;
        assert_eq!(collected.unwrap().blobs, 1);
        assert_eq!(room.names("blobs/sha256"), Vec::<String>::new());
    }

    #[tokio::test]
    async fn files_too_young_to_go_are_found_by_a_later_collection() {
        let room = Room::open().await;
        let digest = push(&room, b"young").await;
        let state = room.storage.state();
        state.unlink_registry_blob(shop(), digest).await.unwrap();
        let young = Duration::from_secs(3600);
        let collected = room.storage.collect_registry(young, &[]).await.unwrap();
        assert_eq!(collected, Collected::default());
        tokio::time::sleep(Duration::from_millis(5)).await;
        let collected = room.storage.collect_registry(Duration::ZERO, &[]).await;
        assert_eq!(collected.unwrap().blobs, 1);
        assert_eq!(room.names("blobs/sha256"), Vec::<String>::new());
    }
}
