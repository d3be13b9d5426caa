//! `rouse deploy --image`: an image of the registry as a function, without a manifest.

use crate::client::{self, Client, segment};
use crate::commands::{image, progress};
use crate::error::{Error, Result};
use crate::output;
use model::{ChangeKind, Code, Contract, Function, FunctionName};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What of `rouse deploy` is for an image without a manifest.
#[derive(Debug, clap::Args)]
pub(super) struct Image {
    /// Deploy this image, such as localhost:4566/shop/thumbnail:prod, without a manifest
    #[arg(long, value_name = "REFERENCE", conflicts_with_all = ["files", "dry_run", "no_wait"])]
    pub(super) image: Option<String>,
    /// The function [default: the last part of the image's name]
    #[arg(long, value_name = "FUNCTION", requires = "image")]
    name: Option<FunctionName>,
    /// How the image is talked to: lambda or http [default: what its label rouse.contract says, else as
    /// before, else lambda]
    #[arg(long, requires = "image", value_parser = |text: &str| text.parse::<Contract>())]
    contract: Option<Contract>,
    /// From now on every push to the image's tag becomes a version, which serves from its first start on
    #[arg(long, requires = "image", conflicts_with = "no_follow")]
    follow: bool,
    /// Do not follow the tag any more; so it is without --follow
    #[arg(long, requires = "image")]
    no_follow: bool,
}

/// What releasing an image did.
#[derive(Debug, Serialize, Deserialize)]
struct Released {
    function: Function,
    change: ChangeKind,
}

/// Deploys one image.
pub(super) async fn run(
    reference: &str,
    options: &Image,
    json: bool,
    client: &Client,
) -> Result<()> {
    let name = match &options.name {
        Some(name) => name.clone(),
        None => named(reference)?,
    };
    match image::resolve(client, reference).await {
        Ok(found) => image::bring(client, &found).await?,
        // The release says it as well.
        Err(Error::Refused { .. }) => {}
        Err(error) => return Err(error),
    }
    let path = format!("functions/{}/image", segment(name.as_str()));
    let body = json!({
        "reference": reference, "contract": options.contract, "follow": options.follow,
    });
    let request = client.request(Method::PUT, &path).json(&body);
    let spinner = progress::spinner(format!("deploying {name}"));
    let response = client.send(request).await;
    spinner.finish_and_clear();
    let released: Released = client::parse(response?, &format!("PUT {path}")).await?;
    if json {
        return output::json(&released);
    }
    let word = match released.change {
        ChangeKind::Created => "created",
        ChangeKind::Updated => "updated",
        ChangeKind::Unchanged => "unchanged",
    };
    let digest = match &released.function.spec.code {
        Code::Image { digest, .. } | Code::Zip { digest, .. } => digest,
    };
    output::line(format_args!("function {name} {word}: {digest}"))?;
    if options.follow {
        let shown = output::clean(reference, false);
        output::note(format_args!(
            "a push to {shown} becomes a version of {name}"
        ));
    }
    Ok(())
}

/// A function's name out of an image's: `localhost:4566/shop/thumbnail:prod` is `thumbnail`.
fn named(reference: &str) -> Result<FunctionName> {
    let last = reference.rsplit('/').next().unwrap_or_default();
    let last = last.split(['@', ':']).next().unwrap_or_default();
    last.parse().map_err(|_| {
        Error::Usage(format!(
            "the image's name \"{}\" gives no function's name: say one with --name",
            output::clean(reference, false)
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_function_is_named_by_its_image() {
        for (reference, name) in [
            ("localhost:4566/shop/thumbnail:prod", "thumbnail"),
            ("thumb", "thumb"),
            ("shop/a_b@sha256:0", "a_b"),
        ] {
            assert_eq!(named(reference).unwrap().as_str(), name);
        }
        for wrong in ["", "shop/", "a.b", "localhost:4566"] {
            assert_eq!(named(wrong).is_ok(), wrong == "localhost:4566", "{wrong}");
        }
    }
}
