//! Table `image`: references and the manifests they mean.

use crate::error::{Done, Failure};
use crate::row::{all, count, first, int, json, name, run, time, to_json};
use crate::{Result, State};
use model::{Digest, ImageRecord};
use rusqlite::{Row, params};

fn read(row: &Row<'_>) -> Done<ImageRecord> {
    Ok(ImageRecord {
        reference: row.get("reference")?,
        digest: name(row, "digest")?,
        size: count(row, "size")?,
        config: json(row, "config")?,
        imported: time(row, "imported")?,
    })
}

impl State {
    /// Adds an image, or moves its reference to another digest.
    ///
    /// # Errors
    /// Of the store.
    pub async fn put_image(&self, image: ImageRecord) -> Result<()> {
        self.write("storing an image's record", move |tx| {
            let sql = "REPLACE INTO image (reference, digest, size, imported, config)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let ImageRecord {
                reference,
                digest,
                size,
                config,
                imported,
            } = &image;
            let row = params![
                reference,
                digest.as_str(),
                int(*size),
                imported.0,
                to_json(config)?
            ];
            run(tx, sql, row)?;
            Ok(())
        })
        .await
    }

    /// The image that a reference means now.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_image(&self, reference: &str) -> Result<ImageRecord> {
        let reference = reference.to_owned();
        self.read("reading an image's record", move |db| {
            first(
                db,
                "SELECT * FROM image WHERE reference = ?1",
                [&reference],
                read,
            )?
            .ok_or_else(|| Failure::not_found("image", reference))
        })
        .await
    }

    /// Any record with this manifest digest.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_image_by_digest(&self, digest: Digest) -> Result<ImageRecord> {
        self.read("reading an image's record", move |db| {
            let sql = "SELECT * FROM image WHERE digest = ?1 ORDER BY reference LIMIT 1";
            first(db, sql, [digest.as_str()], read)?
                .ok_or_else(|| Failure::not_found("image", digest))
        })
        .await
    }

    /// All images by reference.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_images(&self) -> Result<Vec<ImageRecord>> {
        self.read("listing images", |db| {
            all(db, "SELECT * FROM image ORDER BY reference", [], read)
        })
        .await
    }

    /// Removes a reference.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_image(&self, reference: &str) -> Result<()> {
        let reference = reference.to_owned();
        self.write("deleting an image's record", move |tx| {
            match run(tx, "DELETE FROM image WHERE reference = ?1", [&reference])? {
                0 => Err(Failure::not_found("image", reference)),
                _ => Ok(()),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::store;
    use model::{ImageConfig, Kind, Timestamp};

    fn image(reference: &str, letter: &str) -> ImageRecord {
        ImageRecord {
            reference: reference.to_owned(),
            digest: Digest::from_hex(&letter.repeat(64)).unwrap(),
            size: 1 << 40,
            config: ImageConfig {
                ports: vec![80],
                ..ImageConfig::default()
            },
            imported: Timestamp(9),
        }
    }

    #[tokio::test]
    async fn a_reference_moves_and_is_removed() {
        let (_folder, state) = store().await;
        state.put_image(image("shop:b", "a")).await.unwrap();
        state.put_image(image("shop:a", "a")).await.unwrap();
        state.put_image(image("shop:b", "b")).await.unwrap();
        let (a, b) = (image("shop:a", "a"), image("shop:b", "b"));
        assert_eq!(state.get_image("shop:b").await.unwrap(), b);
        assert_eq!(
            state.get_image_by_digest(a.digest.clone()).await.unwrap(),
            a
        );
        assert_eq!(state.list_images().await.unwrap(), [a.clone(), b]);
        state.delete_image("shop:a").await.unwrap();
        let gone = state.get_image_by_digest(a.digest).await.unwrap_err();
        assert_eq!(gone.kind(), Kind::NotFound);
        assert_eq!(
            state.delete_image("shop:a").await.unwrap_err().kind(),
            Kind::NotFound
        );
        assert_eq!(
            state.get_image("shop:a").await.unwrap_err().kind(),
            Kind::NotFound
        );
    }
}
