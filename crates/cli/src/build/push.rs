//! An image into the server's registry.

use super::{Base, Blob, Image, ImageName, Layer, MANIFEST};
use crate::client::{Client, segment};
use crate::commands::{body, byte_bar};
use crate::error::{Error, Result};
use model::Kind;
use reqwest::{Body, Method, StatusCode};
use std::fs::File;
use std::io::Seek as _;
use tokio::io::AsyncReadExt as _;

/// Pushes what the registry does not have, the manifest last. Without a layer the image is its base alone.
///
/// # Errors
/// Of the registry; a layer of the base that cannot be had.
pub(crate) async fn push(
    name: &ImageName,
    image: &Image,
    base: &Base,
    layer: Option<&mut Layer>,
    client: &Client,
) -> Result<()> {
    for blob in &base.layers {
        if is_there(name, blob, client).await? || mount(name, blob, base, client).await? {
            continue;
        }
        let file = base.open(blob, Some(client)).await?;
        upload(name, blob, file, client).await?;
    }
    if let Some(layer) = layer
        && !is_there(name, &layer.blob, client).await?
    {
        let doing = || Error::io("reading the layer");
        layer.file.rewind().map_err(doing())?;
        let file = layer.file.try_clone().map_err(doing())?;
        upload(name, &layer.blob, file, client).await?;
    }
    if !is_there(name, &image.config, client).await? {
        let bytes = image.config_bytes.clone();
        send(name, &image.config, Body::from(bytes), client).await?;
    }
    let path = format!("{}/manifests/{}", name.repository, name.reference);
    let request = client
        .registry(Method::PUT, &path)
        .header("content-type", MANIFEST);
    client.send(request.body(image.manifest.clone())).await?;
    Ok(())
}

async fn is_there(name: &ImageName, blob: &Blob, client: &Client) -> Result<bool> {
    let path = format!("{}/blobs/{}", name.repository, blob.digest);
    match client.send(client.registry(Method::HEAD, &path)).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == Kind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes a layer from the base's repository. Says whether there was one.
async fn mount(name: &ImageName, blob: &Blob, base: &Base, client: &Client) -> Result<bool> {
    let Some(from) = base.repository() else {
        return Ok(false);
    };
    let digest = segment(blob.digest.as_str());
    let from = segment(from.as_str());
    let path = format!(
        "{}/blobs/uploads/?mount={digest}&from={from}",
        name.repository
    );
    let response = client.send(client.registry(Method::POST, &path)).await?;
    Ok(response.status() == StatusCode::CREATED)
}

async fn upload(name: &ImageName, blob: &Blob, file: File, client: &Client) -> Result<()> {
    let bar = byte_bar(format!("pushing {name}"), blob.size);
    let bytes = tokio::fs::File::from_std(file).take(blob.size);
    let sent = send(name, blob, body(bytes, bar.clone()), client).await;
    bar.finish_and_clear();
    sent
}

async fn send(name: &ImageName, blob: &Blob, body: Body, client: &Client) -> Result<()> {
    let digest = segment(blob.digest.as_str());
    let path = format!("{}/blobs/uploads/?digest={digest}", name.repository);
    let request = client
        .registry(Method::POST, &path)
        .header("content-type", "application/octet-stream")
        .header("content-length", blob.size);
    client.send(request.body(body)).await?;
    Ok(())
}
