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
