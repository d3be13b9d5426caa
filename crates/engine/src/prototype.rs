//! What the instances of one revision are made from, put together once.

use crate::engine::Corridor;
use crate::node::Node;
use crate::secrets::{Furnished, Vault};
use crate::{Error, Result, credentials};
use model::{
    Code, Contract, Digest, Ending, Function, ImageConfig, InstanceId, Kind, ManifestReference,
    Owner, Principal, SecretUse, Service, Snapshot, environment_bytes,
};
use runtime::InstanceSpec;
use state::State;
use std::sync::Arc;

/// The port that functions of the `http` contract are told (Cloud Run's).
const FUNCTION_PORT: u16 = 8080;

/// An instance's specification but for its identity and its peers, or why none can be made.
#[derive(Clone)]
pub(crate) struct Prototype {
    spec: std::result::Result<Box<InstanceSpec>, String>,
    /// Whence it gets its secrets and configs, if it has any: each instance those of its own time.
    secrets: Option<(Arc<Vault>, SecretUse)>,
}

impl Prototype {
    /// From what a test or a function below put together.
    pub(crate) fn new(spec: InstanceSpec) -> Self {
        Self {
            spec: Ok(Box::new(spec)),
            secrets: None,
        }
    }

    fn broken(reason: String) -> Self {
        Self {
            spec: Err(reason),
            secrets: None,
        }
    }

    fn with_secrets(mut self, vault: &Arc<Vault>, used: &SecretUse) -> Self {
        self.secrets = (!used.is_empty()).then(|| (vault.clone(), used.clone()));
        self
    }

    /// Of a function's revision, published as a version or not.
    pub(crate) async fn of_function(
        vault: &Arc<Vault>,
        function: &Function,
        version: Option<u64>,
    ) -> Result<Self> {
        let (spec, state) = (&function.spec, vault.state());
        let credential = match version {
            // One that is opened for a call while its function is deleted does not bring the keys back.
            Some(_) => credentials::ensure_of_kept(state, &spec.name).await?,
            None => {
                let name = spec.name.clone();
                credentials::ensure(state, Principal::Function { name }).await?
            }
        };
        let image = match image_config(state, &spec.code).await? {
            Ok(image) => image,
            Err(reason) => return Ok(Self::broken(reason)),
        };
        Ok(Self::new(InstanceSpec {
            id: InstanceId(String::new()),
            owner: Owner::Function {
                name: spec.name.clone(),
                revision: function.revision,
                version,
            },
            runtime: spec.runtime,
            handler: spec.handler.clone(),
            code: spec.code.clone(),
            image,
            entrypoint: spec.entrypoint.clone(),
            command: spec.command.clone(),
            working_dir: spec.working_dir.clone(),
            contract: spec.contract,
            port: FUNCTION_PORT,
            environment: spec.environment.clone(),
            credential,
            volumes: Vec::new(),
            files: Vec::new(),
            peers: Vec::new(),
            networks: spec.networks.clone(),
            limits: spec.limits.clone(),
            snapshot: spec.snapshot,
            egress: spec.egress.clone(),
            driver: spec.driver,
        })
        .with_secrets(vault, &spec.secrets))
    }

    /// Of a service's revision; each replica sets its own index as owner.
    pub(crate) async fn of_service(vault: &Arc<Vault>, service: &Service) -> Result<Self> {
        let (spec, state) = (&service.spec, vault.state());
        let principal = Principal::Service {
            name: spec.name.clone(),
        };
        let credential = credentials::ensure(state, principal).await?;
        let image = match image_config(state, &spec.code).await? {
            Ok(image) => image,
            Err(reason) => return Ok(Self::broken(reason)),
        };
        Ok(Self::new(InstanceSpec {
            id: InstanceId(String::new()),
            owner: Owner::Service {
                name: spec.name.clone(),
                replica: 0,
            },
            runtime: spec.runtime,
            handler: None,
            code: spec.code.clone(),
            image,
            entrypoint: spec.entrypoint.clone(),
            command: spec.command.clone(),
            working_dir: spec.working_dir.clone(),
            contract: Contract::Http,
            port: spec.ports.first().copied().unwrap_or(0),
            environment: spec.environment.clone(),
            credential,
            volumes: spec.volumes.clone(),
            files: Vec::new(),
            peers: Vec::new(),
            networks: spec.networks.clone(),
            limits: spec.limits.clone(),
            snapshot: Snapshot::None,
            egress: spec.egress.clone(),
            driver: spec.driver,
        })
        .with_secrets(vault, &spec.secrets))
    }

    /// Whether no instance can be made, because the image is gone. Deploying again mends it.
    pub(crate) fn is_broken(&self) -> bool {
        self.spec.is_err()
    }

    /// The specification of one instance that is started now.
    pub(crate) async fn spec(
        &self,
        id: InstanceId,
        node: &Node,
    ) -> std::result::Result<InstanceSpec, Ending> {
        let spec = self.spec.as_ref().map_err(|reason| Ending::Unavailable {
            reason: reason.clone(),
        })?;
        let mut spec = InstanceSpec {
            id,
            peers: node.peers(&spec.networks),
            ..InstanceSpec::clone(spec)
        };
        if let Some((vault, used)) = &self.secrets {
            let taken = environment_bytes(&spec.environment);
            let Furnished { files, environment } = vault.furnish(used, taken).await?;
            spec.files = files;
            spec.environment.extend(environment);
        }
        Ok(spec)
    }
}

/// The image's configuration; the inner error says that the image is gone, which must not keep the
/// server from starting.
async fn image_config(
    state: &State,
    code: &Code,
) -> Result<std::result::Result<Option<ImageConfig>, String>> {
    let Code::Image { reference, digest } = code else {
        return Ok(Ok(None));
    };
    match state.get_image_by_digest(digest.clone()).await {
        Ok(image) => Ok(Ok(Some(image.config))),
        Err(state::Error::NotFound { .. }) => Ok(Err(format!(
            "image \"{reference}\" ({digest}) is not here any more; import it and deploy again"
        ))),
        Err(error) => Err(error.into()),
    }
}

impl Corridor {
    /// Makes sure that the code is here, readable and unpacked, and pins what a name means: the size of
    /// a zip, the digest of an image's reference, which is pulled through if it is an upstream's. Where the
    /// repository has the digest that came with a tag, that is meant: the tag may have moved since it was built.
    pub(crate) async fn pin_code(&self, code: &Code) -> Result<Code> {
        let storage = &self.storage;
        match code {
            Code::Zip { digest, .. } => {
                let Some(size) = storage.blob_size(digest).await? else {
                    return Err(Error::Absent(format!(
                        "the code {digest} is not on this server; upload it first, or deploy again"
                    )));
                };
                storage.ensure_code(digest).await?;
                Ok(Code::Zip {
                    digest: digest.clone(),
                    size,
                })
            }
            Code::Image { reference, digest } => {
                let pinned = self.pinned_name(reference, digest).await?;
                let meant = pinned.as_deref().unwrap_or(reference);
                let found = self.ready_image(meant, &|_| ()).await;
                let found = found.and_then(|image| {
                    storage.image_root(&image.digest)?;
                    Ok(image)
                });
                let image = found.map_err(|error| match error {
                    Error::Upstream { .. } => error,
                    error if error.kind() == Kind::NotFound => Error::Absent(format!(
                        "image \"{reference}\" is not on this server; push it to the registry, import it with \
                         `rouse image import`, or add its registry with `rouse upstream add`"
                    )),
                    error => error,
                })?;
                Ok(Code::Image {
                    reference: reference.clone(),
                    digest: image.digest,
                })
            }
        }
    }

    /// The name of a tag's image by its digest, if its repository here has that.
    async fn pinned_name(&self, reference: &str, digest: &Digest) -> Result<Option<String>> {
        let Some((repository, ManifestReference::Tag(_))) = self.storage.local_image(reference)
        else {
            return Ok(None);
        };
        let name = format!("{repository}@sha256:{}", digest.hex());
        let found = self.storage.resolve_image(&name).await?;
        Ok(found.map(|_| name))
    }
}
