//! Multipart uploads.

use crate::folders::{self, Folders};
use crate::objects::{self, Data, MAX_OBJECT};
use crate::{Error, ObjectRow, ObjectWriter, PartRow, PutObject, Result, Storage, UploadRow};
use crate::{blocking, notification};
use md5::{Digest as _, Md5};
use model::{BucketName, Timestamp};
use state::crash;
use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;

/// Largest part number (S3's bound).
const MAX_PART: u32 = 10_000;
/// Least size of every part but the last: 5 MiB (S3's bound).
const MIN_PART_SIZE: u64 = 5 << 20;

impl Storage {
    /// Begins an upload; of `put`, bucket, key, headers and metadata are kept.
    ///
    /// # Errors
    /// `NotFound` (bucket), `Invalid` (key, metadata).
    pub async fn create_upload(&self, put: &PutObject) -> Result<UploadRow> {
        objects::check(put)?;
        let upload = UploadRow {
            id: folders::fresh_name(),
            bucket: put.bucket.clone(),
            key: put.key.clone(),
            created: Timestamp::now(),
            headers: put.headers.clone(),
            metadata: put.metadata.clone(),
        };
        self.state().create_upload(upload.clone()).await?;
        Ok(upload)
    }

    /// Makes the written bytes a part, durably. Its number is 1 to 10 000.
    ///
    /// # Errors
    /// `NotFound` (upload), `Invalid` (number).
    pub async fn commit_part(
        &self,
        bucket: &BucketName,
        key: &str,
        upload: &str,
        number: u32,
        writer: ObjectWriter,
    ) -> Result<PartRow> {
        if !(1..=MAX_PART).contains(&number) {
            let reason = format!("part number {number} is not 1 to {MAX_PART}");
            return Err(Error::Invalid(reason));
        }
        self.get_upload(bucket, key, upload).await?;
        let (storage, upload) = (self.clone(), upload.to_owned());
        blocking::to_the_end(async move {
            let data = writer.complete().await?;
            let part = PartRow {
                number,
                data: data.name.clone(),
                size: data.size,
                etag: data.etag.clone(),
                modified: Timestamp::now(),
            };
            let stored = storage.state().put_part(upload, part.clone());
            let replaced = data.committed(stored).await?;
            storage.delete_data(replaced.into_iter().collect()).await;
            Ok(part)
        })
        .await
    }

    /// An upload and its parts by number.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_upload(
        &self,
        bucket: &BucketName,
        key: &str,
        upload: &str,
    ) -> Result<(UploadRow, Vec<PartRow>)> {
        let found = self.state().get_upload(bucket.clone(), key, upload).await?;
        Ok(found)
    }

    /// A bucket's uploads.
    ///
    /// # Errors
    /// `NotFound` (bucket).
    pub async fn list_uploads(&self, bucket: &BucketName, prefix: &str) -> Result<Vec<UploadRow>> {
        Ok(self.state().list_uploads(bucket.clone(), prefix).await?)
    }

    /// Joins the named parts (number and ETag, ascending) to an object, with its events. All but the
    /// last must have 5 MiB or more. `put` gives event, principal, cause and precondition; headers
    /// and metadata are those that the upload was begun with.
    ///
    /// # Errors
    /// `NotFound` (upload), `Invalid` with a text beginning `InvalidPart`, `InvalidPartOrder` or
    /// `EntityTooSmall`, `Conflict`.
    pub async fn complete_upload(
        &self,
        upload: &str,
        parts: &[(u32, String)],
        put: PutObject,
    ) -> Result<ObjectRow> {
        let (begun, stored) = self.get_upload(&put.bucket, &put.key, upload).await?;
        let parts = chosen(parts, &stored)?;
        let rules = self.get_bucket(&put.bucket).await?.notify;
        let put = PutObject {
            headers: begun.headers,
            metadata: begun.metadata,
            ..put
        };
        let storage = self.clone();
        blocking::to_the_end(async move {
            let folders = Arc::clone(storage.folders());
            let data = blocking::on_disk(move || join(&folders, &parts)).await?;
            let (row, precondition, change) = objects::described(&data, put);
            let region = storage.region();
            let events =
                move |row: &ObjectRow| notification::events_for(&region, &rules, row, &change);
            let state = storage.state();
            let completed = state.complete_upload(begun.id, row, precondition, events);
            let (row, unneeded) = data.committed(completed).await?;
            crash::point("upload-completed");
            storage.delete_data(unneeded).await;
            Ok(row)
        })
        .await
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn abort_upload(&self, bucket: &BucketName, key: &str, upload: &str) -> Result<()> {
        self.get_upload(bucket, key, upload).await?;
        let (storage, upload) = (self.clone(), upload.to_owned());
        blocking::to_the_end(async move {
            let unneeded = storage.state().abort_upload(upload).await?;
            storage.delete_data(unneeded).await;
            Ok(())
        })
        .await
    }
}

/// The stored parts that a client names, checked as S3 checks them.
fn chosen(named: &[(u32, String)], stored: &[PartRow]) -> Result<Vec<PartRow>> {
    let refuse = |code: &str, reason: String| Err(Error::Invalid(format!("{code}: {reason}")));
    if named.is_empty() {
        return refuse("InvalidPart", "no part is named".to_owned());
    }
    if !named.windows(2).all(|pair| pair[0].0 < pair[1].0) {
        return refuse("InvalidPartOrder", "part numbers must ascend".to_owned());
    }
    let mut parts = Vec::with_capacity(named.len());
    for (position, (number, etag)) in named.iter().enumerate() {
        let found = stored.binary_search_by_key(number, |part| part.number);
        let Some(part) = found
            .ok()
            .map(|at| &stored[at])
            .filter(|part| part.etag == etag.trim_matches('"'))
        else {
            let reason = format!("part {number} was not uploaded with this ETag");
            return refuse("InvalidPart", reason);
        };
        if part.size < MIN_PART_SIZE && position + 1 < named.len() {
            let size = part.size;
            let reason =
                format!("part {number} has {size} bytes; all but the last need {MIN_PART_SIZE}");
            return refuse("EntityTooSmall", reason);
        }
        parts.push(part.clone());
    }
    let size: u64 = parts.iter().map(|part| part.size).sum();
    if size > MAX_OBJECT {
        let what = "object".to_owned();
        let limit = MAX_OBJECT;
        return Err(Error::TooLarge { what, limit });
    }
    Ok(parts)
}

/// The ETag that S3 gives: the MD5 of the parts' MD5s, and how many.
fn joined_etag(parts: &[PartRow]) -> Result<String> {
    let mut all = Md5::new();
    for part in parts {
        let digest = hex::decode(&part.etag)
            .map_err(|_| Error::Invalid(format!("InvalidPart: part {} has no MD5", part.number)))?;
        all.update(&digest);
    }
    Ok(format!("{}-{}", hex::encode(all.finalize()), parts.len()))
}

/// One file of all parts, durably. A single part is linked, several are copied within the kernel.
fn join(folders: &Folders, parts: &[PartRow]) -> Result<Data> {
    let etag = joined_etag(parts)?;
    let gone = |part: &PartRow| {
        let number = part.number;
        let reason = format!("InvalidPart: part {number} was replaced or given up meanwhile");
        Error::Invalid(reason)
    };
    if let [part] = parts {
        let linked = objects::link(folders, &part.data, part.size, &etag)?;
        return linked.ok_or_else(|| gone(part));
    }
    let name = folders::fresh_name();
    let path = folders.object(&name);
    let size = parts.iter().map(|part| part.size).sum();
    let data = Data::made(folders, name, size, etag);
    let mut whole = folders::make_file(&path)?;
    for part in parts {
        let part_path = folders.object(&part.data);
        let mut file = File::open(&part_path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => gone(part),
            _ => Error::io("opening", &part_path, error),
        })?;
        let copied = std::io::copy(&mut file, &mut whole)
            .map_err(|error| Error::io("joining the parts in", &path, error))?;
        if copied != part.size {
            return Err(gone(part));
        }
    }
    crash::point("parts-joined");
    whole
        .sync_all()
        .map_err(|error| Error::io("syncing", &path, error))?;
    folders::sync_parent(&path)?;
    Ok(data)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use crate::body;
    use crate::testing::{Room, bucket, put};
    use bytes::Bytes;
    use model::Kind;

    const MIB: usize = 1 << 20;

    async fn begun() -> (Room, UploadRow) {
        let room = Room::open().await;
        room.storage.create_bucket(bucket("photos")).await.unwrap();
        let named = PutObject {
            metadata: [("camera".to_owned(), "old".to_owned())].into(),
            ..put("photos", "big")
        };
        let upload = room.storage.create_upload(&named).await.unwrap();
        (room, upload)
    }

    async fn part(room: &Room, upload: &str, number: u32, bytes: Vec<u8>) -> Result<PartRow> {
        let mut writer = room.storage.begin_object().await?;
        writer.write(Bytes::from(bytes)).await?;
        let photos = bucket("photos");
        room.storage
            .commit_part(&photos, "big", upload, number, writer)
            .await
    }

    async fn complete(room: &Room, upload: &str, parts: &[&PartRow]) -> Result<ObjectRow> {
        let named: Vec<_> = parts
            .iter()
            .map(|part| (part.number, part.etag.clone()))
            .collect();
        let put = PutObject {
            event: "ObjectCreated:CompleteMultipartUpload",
            ..put("photos", "big")
        };
        room.storage.complete_upload(upload, &named, put).await
    }

    async fn bytes(room: &Room, row: &ObjectRow) -> Vec<u8> {
        let opened = room.storage.read_object(row, None).await.unwrap();
        body::collect(opened).await.unwrap()
    }

    #[tokio::test]
    async fn parts_are_joined_in_order_and_the_etag_is_that_of_s3() {
        let (room, upload) = begun().await;
        let last = part(&room, &upload.id, 7, vec![b'b'; 10]).await.unwrap();
        part(&room, &upload.id, 2, vec![b'x'; 10]).await.unwrap();
        let first = part(&room, &upload.id, 2, vec![b'a'; 5 * MIB])
            .await
            .unwrap();
        assert_eq!(room.object_files().len(), 2);
        let row = complete(&room, &upload.id, &[&first, &last]).await.unwrap();
        let mut md5s = hex::decode(&first.etag).unwrap();
        md5s.extend(hex::decode(&last.etag).unwrap());
        assert_eq!(row.etag, format!("{}-2", hex::encode(Md5::digest(&md5s))));
        assert_eq!(row.metadata["camera"], "old");
        let mut expected = vec![b'a'; 5 * MIB];
        expected.extend([b'b'; 10]);
        assert!(bytes(&room, &row).await == expected);
        assert_eq!(room.object_files(), [row.data]);
        let again = complete(&room, &upload.id, &[&first, &last]).await;
        assert_eq!(again.unwrap_err().kind(), Kind::NotFound);
    }

    #[tokio::test]
    async fn a_single_part_is_an_object_too() {
        let (room, upload) = begun().await;
        let only = part(&room, &upload.id, 1, b"hello".to_vec()).await.unwrap();
        let row = complete(&room, &upload.id, &[&only]).await.unwrap();
        assert_eq!(bytes(&room, &row).await, b"hello");
        assert!(row.etag.ends_with("-1"), "{}", row.etag);
        assert_eq!(room.object_files(), [row.data]);
    }

    #[tokio::test]
    async fn wrong_lists_are_refused_and_the_upload_stays() {
        let (room, upload) = begun().await;
        let one = part(&room, &upload.id, 1, vec![1; 10]).await.unwrap();
        let two = part(&room, &upload.id, 2, vec![2; 10]).await.unwrap();
        let unknown = PartRow {
            number: 3,
            ..one.clone()
        };
        for (parts, code) in [
            (vec![], "InvalidPart:"),
            (vec![&one, &two], "EntityTooSmall:"),
            (vec![&two, &one], "InvalidPartOrder:"),
            (vec![&unknown], "InvalidPart:"),
        ] {
            let error = complete(&room, &upload.id, &parts).await.unwrap_err();
            assert!(error.to_string().starts_with(code), "{error}");
            assert_eq!(error.kind(), Kind::Invalid);
        }
        let photos = bucket("photos");
        let (_, parts) = room
            .storage
            .get_upload(&photos, "big", &upload.id)
            .await
            .unwrap();
        assert_eq!(parts, [one, two]);
        assert_eq!(room.object_files().len(), 2);
    }

    #[tokio::test]
    async fn an_upload_that_is_given_up_leaves_nothing() {
        let (room, upload) = begun().await;
        part(&room, &upload.id, 1, vec![1; 10]).await.unwrap();
        let photos = bucket("photos");
        let uploads = room.storage.list_uploads(&photos, "b").await.unwrap();
        assert_eq!(uploads.as_slice(), std::slice::from_ref(&upload));
        room.storage
            .abort_upload(&photos, "big", &upload.id)
            .await
            .unwrap();
        assert_eq!(room.object_files(), Vec::<String>::new());
        let late = part(&room, &upload.id, 1, vec![1; 10]).await.unwrap_err();
        assert_eq!(late.kind(), Kind::NotFound);
        assert_eq!(room.object_files(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn part_numbers_have_bounds_and_parts_survive_a_restart() {
        let (room, upload) = begun().await;
        for number in [0, MAX_PART + 1] {
            let error = part(&room, &upload.id, number, vec![]).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
        }
        let kept = part(&room, &upload.id, MAX_PART, b"x".to_vec())
            .await
            .unwrap();
        let room = room.reopen().await;
        assert_eq!(room.object_files(), [kept.data.as_str()]);
        let row = complete(&room, &upload.id, &[&kept]).await.unwrap();
        assert_eq!(bytes(&room, &row).await, b"x");
    }
}
