//! The code of a deployment: folders are archived, Dockerfiles built, images looked up.

use crate::archive;
use crate::build::{self, Base, Dockerfile, Image, ImageName, Layer, Recipe, Wanted};
use crate::client::Client;
use crate::commands::{image, progress, upload};
use crate::error::{Error, Result};
use crate::manifest::{CodeSource, Place};
use crate::output;
use model::{Code, Digest, Kind};
use std::collections::BTreeMap;
use std::path::Path;

/// Where code is taken to.
pub(super) struct Placing<'a> {
    /// The project, for the names of images.
    pub(super) project: &'a str,
    pub(super) client: &'a Client,
    /// Whether the server is sent what it lacks.
    pub(super) send: bool,
}

impl Placing<'_> {
    /// The code of one function or service.
    ///
    /// # Errors
    /// A folder that cannot be sent, a Dockerfile that cannot be built, an image that is not there.
    pub(super) async fn code(&self, name: &str, source: &CodeSource) -> Result<Code> {
        match source {
            CodeSource::Image { reference, place } => {
                find_image(self.client, reference, place, self.send).await
            }
            CodeSource::Dockerfile {
                source,
                name: given,
                place,
            } => {
                let own = || image_name(self.project, name, place);
                let image = given.clone().map_or_else(own, Ok)?;
                self.build(source, &image, place).await
            }
            CodeSource::Built {
                path,
                base,
                wanted,
                place,
            } => {
                let image = image_name(self.project, name, place)?;
                let built = self.on_base(path, base.as_ref(), wanted, &image).await;
                built.map_err(|error| at(place, error))
            }
            CodeSource::Folder { path, place } => self.folder(name, path, place).await,
        }
    }

    async fn folder(&self, name: &str, path: &Path, place: &Place) -> Result<Code> {
        let spinner = progress::spinner(format!("archiving {name}"));
        let packed = archive::pack(path, |file| spinner.set_message(output::cell(file, 60)));
        spinner.finish_and_clear();
        let archive = packed.map_err(|error| at(place, error))?;
        let code = Code::Zip {
            digest: archive.digest.clone(),
            size: archive.size,
        };
        if self.send {
            let (entries, size) = (archive.entries, output::bytes(archive.size));
            if upload::upload(self.client, name, archive).await? {
                output::note(format_args!("uploaded {name}: {entries} files, {size}"));
            }
        }
        Ok(code)
    }

    /// Built even if nothing is sent: only then is it known whether the image is another one.
    async fn build(&self, source: &Dockerfile, name: &ImageName, place: &Place) -> Result<Code> {
        let built = source.build(&name.to_string()).await;
        let made = built.map_err(|error| at(place, error))?;
        let image = Image::alone(&made.base)?;
        self.pushed(name, &image, &made.base, None).await
    }

    /// As `rouse build` does it.
    async fn on_base(
        &self,
        folder: &Path,
        base: Option<&ImageName>,
        wanted: &Wanted,
        name: &ImageName,
    ) -> Result<Code> {
        let base = match base {
            Some(base) => Base::of_registry(base, self.client).await?,
            None => Base::nothing(),
        };
        let mut recipe = Recipe::of(folder, wanted)?;
        recipe.check(&base)?;
        let spinner = progress::spinner(format!("packing {}", folder.display()));
        let layer = Layer::pack(recipe.items.clone());
        spinner.finish_and_clear();
        let mut layer = layer?;
        let labels = BTreeMap::new();
        let image = Image::assemble(&base, &layer, &recipe, wanted.contract, &labels)?;
        self.pushed(name, &image, &base, Some(&mut layer)).await
    }

    async fn pushed(
        &self,
        name: &ImageName,
        image: &Image,
        base: &Base,
        layer: Option<&mut Layer>,
    ) -> Result<Code> {
        if self.send {
            build::push(name, image, base, layer, self.client).await?;
            output::note(format_args!("pushed {name}@{}", image.digest));
        }
        let digest = Digest::from_hex(image.digest.hex());
        Ok(Code::Image {
            reference: name.to_string(),
            digest: digest.map_err(|invalid| Error::Failed(invalid.to_string()))?,
        })
    }
}

/// What is wrong with what the manifest names, at its place.
fn at(place: &Place, error: Error) -> Error {
    match error {
        Error::Usage(message) => Error::Manifest(place.error(message)),
        other => other,
    }
}

/// `PROJECT/SERVICE:latest`, in lower case.
fn image_name(project: &str, service: &str, place: &Place) -> Result<ImageName> {
    let text = format!("{project}/{service}").to_lowercase();
    text.parse().map_err(|_| {
        let message = format!("\"{}\" is no name of an image", text.escape_debug());
        let error = place.error(message);
        Error::Manifest(error.hint("give it one: `image: shop/page:latest` beside `build`"))
    })
}

/// What an image's name means; if `send`, all of it is brought to the server.
async fn find_image(client: &Client, reference: &str, place: &Place, send: bool) -> Result<Code> {
    let found = match image::resolve(client, reference).await {
        Ok(found) => found,
        Err(Error::Refused {
            kind: Kind::NotFound,
            message,
        }) => {
            let missing = place.error(format!("the server has no image \"{reference}\""));
            let how = format!(
                "docker push it to the server's registry, or: docker save {reference} -o image.tar;\n\
                 rouse image import image.tar --name {reference};\n\
                 or add its registry: rouse upstream --help\n({message})"
            );
            return Err(Error::Manifest(missing.hint(how)));
        }
        Err(error) => return Err(error),
    };
    if send {
        image::bring(client, &found).await?;
    }
    Ok(Code::Image {
        reference: found.reference,
        digest: found.digest,
    })
}
