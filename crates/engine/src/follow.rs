//! Functions of images from the registry: released by themselves, and those that follow a tag, of which
//! every push becomes a version.

use crate::engine::Corridor;
use crate::turn::Turn;
use crate::{Engine, Error, Result};
use model::{
    CONTRACT_LABEL, ChangeKind, Code, ContentDigest, Contract, Function, FunctionName,
    FunctionSpec, Kind, MAX_PUSH_FAILURE, Principal, Push, RuntimeName, Timestamp,
};
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;

/// When a push is tried again that could not be settled for a reason of the machine.
const AGAIN: Duration = Duration::from_secs(30);

/// A function that is made of an image, or whose image is changed and nothing else.
#[derive(Debug, Clone)]
pub struct ImageRelease {
    /// Which function.
    pub name: FunctionName,
    /// The image's name.
    pub reference: String,
    /// How it is talked to; `None`: as the image's label [`CONTRACT_LABEL`] says, else as before.
    pub contract: Option<Contract>,
    /// Whether pushes to the tag become versions from now on.
    pub follow: bool,
}

impl Engine {
    /// Releases an image as a function, as a deployment does: it is published as a version, which serves
    /// from its first start on. What the function has beside its code stays.
    ///
    /// # Errors
    /// As [`Engine::put_function`]; `NotStarted`, and what served before goes on.
    pub async fn release_image(&self, asked: ImageRelease) -> Result<(Function, ChangeKind)> {
        let corridor = &self.corridor;
        if corridor.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        let wanted = Code::Image {
            reference: asked.reference.clone(),
            digest: no_digest()?,
        };
        let code = corridor.pin_code(&wanted).await?;
        let labelled = corridor.labelled_contract(&code).await?;
        let mut turn = Turn::take(&corridor.changing).await;
        let before = corridor.functions.find(&asked.name);
        let mut spec = match before {
            Some(before) if before.spec.runtime == RuntimeName::Image => before.spec.clone(),
            Some(before) => turned(&before.spec),
            None => FunctionSpec::of_image(asked.name.clone(), code.clone()),
        };
        spec.code = code;
        spec.follow = asked.follow;
        spec.contract = asked.contract.or(labelled).unwrap_or(spec.contract);
        let prepared = corridor.prepare_pinned(spec).await?;
        let change = corridor.release_function(prepared, &mut turn).await?;
        corridor.pushed.notify_one();
        Ok((self.get_function(&asked.name).await?, change))
    }

    /// Tells that a tag of the registry was moved. Functions that follow it are released; this does not
    /// wait for them.
    pub fn tag_moved(&self) {
        self.corridor.pushed.notify_one();
    }

    /// What became of pushes to the tags that a function followed, the newest first.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_pushes(&self, name: &FunctionName) -> Result<Vec<Push>> {
        self.corridor.functions.latest(name)?;
        Ok(self.corridor.state.list_pushes(name.clone()).await?)
    }
}

/// Stands where a digest is looked up by a name.
fn no_digest() -> Result<model::Digest> {
    Ok(model::Digest::from_hex(&"0".repeat(64))?)
}

/// A function of a folder as one of an image: what the folder needed goes.
fn turned(before: &FunctionSpec) -> FunctionSpec {
    FunctionSpec {
        runtime: RuntimeName::Image,
        handler: None,
        entrypoint: None,
        command: None,
        working_dir: None,
        snapshot: Default::default(),
        ..before.clone()
    }
}

/// The name of the image whose tag a function follows.
fn followed(function: &Function) -> Option<&str> {
    match &function.spec.code {
        Code::Image { reference, .. } if function.spec.follow => Some(reference),
        _ => None,
    }
}

/// Functions that shall follow a tag, and what that is, which is not in this server's registry: one of earlier
/// versions, or of a server with another address or `--registry-name`.
fn astray<'a>(all: &'a [Arc<Function>], storage: &Storage) -> Vec<(&'a str, &'a str)> {
    let followed = all
        .iter()
        .filter_map(|one| Some((one.spec.name.as_str(), followed(one)?)));
    let astray = followed.filter(|(_, reference)| storage.local_tag(reference).is_none());
    astray.collect()
}

/// Releases what is pushed to tags that functions follow, until the engine drains. What was pushed
/// before the server ended and did not become a version is found at once.
pub(crate) async fn run(corridor: Arc<Corridor>) {
    for (function, reference) in astray(&corridor.functions.list(), &corridor.storage) {
        tracing::warn!(
            function,
            reference,
            "it follows no tag any more: another registry than this server's is named; deploy it again with a name \
             of this registry, or start the server with --registry-name"
        );
    }
    loop {
        let mut again = None;
        for function in corridor.functions.list() {
            if corridor.draining.is_cancelled() {
                return;
            }
            if let Err(error) = corridor.take_push(&function).await {
                let function = function.spec.name.as_str();
                tracing::warn!(function, %error, "a push could not be released; trying again later");
                again = Some(AGAIN);
            }
        }
        tokio::select! {
            biased;
            () = corridor.draining.cancelled() => return,
            () = corridor.pushed.notified() => {}
            () = tokio::time::sleep(again.unwrap_or_default()), if again.is_some() => {}
        }
    }
}

/// Whether trying again would end the same way.
fn is_final(error: &Error) -> bool {
    !matches!(
        error.kind(),
        Kind::Internal | Kind::Unavailable | Kind::Throttled | Kind::StorageFull
    )
}

impl Corridor {
    /// How the image says that it is talked to.
    async fn labelled_contract(&self, code: &Code) -> Result<Option<Contract>> {
        let Code::Image { digest, .. } = code else {
            return Ok(None);
        };
        let image = self.state.get_image_by_digest(digest.clone()).await?;
        let label = image.config.labels.get(CONTRACT_LABEL);
        Ok(label.and_then(|label| label.parse().ok()))
    }

    /// Settles what was pushed to the tag that a function follows, if that is not settled yet.
    async fn take_push(self: &Arc<Self>, function: &Function) -> Result<()> {
        let name = &function.spec.name;
        let Some(reference) = followed(function) else {
            return Ok(());
        };
        let Some(tag) = self.storage.find_tag(reference).await? else {
            return Ok(());
        };
        let (digest, pushed) = tag.clone();
        let settled = self.state.list_pushes(name.clone()).await?;
        let is_this = |push: &Push| push.is_of(reference, &digest, pushed);
        if settled.iter().any(is_this) {
            return Ok(());
        }
        let released = self.release_pushed(name, reference, tag).await;
        // Whatever came of it then may be because of that; at the next start it is tried again.
        if self.draining.is_cancelled() {
            return Ok(());
        }
        let (version, failure) = match released {
            Ok(None) => return Ok(()),
            Ok(version) => (version, None),
            Err(error) if is_final(&error) => (None, Some(told(&error))),
            Err(error) => return Err(error),
        };
        match &failure {
            None => tracing::info!(%name, reference, %digest, version, "a push serves"),
            Some(reason) => {
                tracing::warn!(%name, reference, %digest, reason, "a push does not serve");
            }
        }
        let push = settlement(reference, digest, pushed, version, failure);
        match self.state.put_push(name.clone(), push).await {
            // It was deleted meanwhile.
            Err(error) if error.kind() == Kind::NotFound => Ok(()),
            kept => Ok(kept?),
        }
    }

    /// Releases what the tag is on and gives the version that serves; `None` when the function does not
    /// follow it any more, or the tag was moved meanwhile.
    async fn release_pushed(
        self: &Arc<Self>,
        name: &FunctionName,
        reference: &str,
        tag: (ContentDigest, Timestamp),
    ) -> Result<Option<u64>> {
        let wanted = Code::Image {
            reference: reference.to_owned(),
            digest: no_digest()?,
        };
        let code = self.pin_code(&wanted).await?;
        let mut turn = Turn::take(&self.changing).await;
        let Some(function) = self.functions.find(name) else {
            return Ok(None);
        };
        if followed(&function) != Some(reference) {
            return Ok(None);
        }
        if self.storage.find_tag(reference).await? != Some(tag) {
            // The next round sees what it means now.
            self.pushed.notify_one();
            return Ok(None);
        }
        let spec = FunctionSpec {
            code,
            ..function.spec.clone()
        };
        let prepared = self.prepare_pinned(spec).await?;
        self.release_function(prepared, &mut turn).await?;
        Ok(self.leading(name)?.map(|alias| alias.version))
    }
}

/// Only the owner pushes.
fn settlement(
    reference: &str,
    digest: ContentDigest,
    pushed: Timestamp,
    version: Option<u64>,
    failure: Option<String>,
) -> Push {
    Push {
        reference: reference.to_owned(),
        digest,
        pushed,
        settled: Timestamp::now(),
        by: Principal::Root.key(),
        version,
        failure,
    }
}

/// Why, within its bound.
fn told(error: &Error) -> String {
    error.to_string().chars().take(MAX_PUSH_FAILURE).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use state::State;

    fn following(name: &str, reference: &str, follow: bool) -> Arc<Function> {
        let code = Code::Image {
            reference: reference.to_owned(),
            digest: no_digest().unwrap(),
        };
        let spec = FunctionSpec::of_image(name.parse().unwrap(), code);
        Arc::new(Function {
            spec: FunctionSpec { follow, ..spec },
            revision: 1,
            revision_id: String::new(),
            created: Timestamp::now(),
            modified: Timestamp::now(),
        })
    }

    #[tokio::test]
    async fn who_follows_a_tag_of_another_registry_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(folder.path()).await.unwrap();
        let storage = Storage::open(folder.path(), state).await.unwrap();
        storage.name_registry("127.0.0.1:5001".parse().unwrap(), &["shop.lan".to_owned()]);
        let all = [
            following("own", "localhost:5001/shop/f:prod", true),
            following("inside", "localhost:4566/shop/f:prod", true),
            following("named", "shop.lan/shop/f:prod", true),
            following("other", "localhost:5000/shop/f:prod", true),
            following("pinned", "localhost:5000/shop/f:prod", false),
        ];
        assert_eq!(
            astray(&all, &storage),
            [("other", "localhost:5000/shop/f:prod")]
        );
    }
}
