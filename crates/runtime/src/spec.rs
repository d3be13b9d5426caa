//! What one instance shall be.

use model::{
    Code, Contract, Driver, Egress, ImageConfig, InstanceId, Limits, Networks, Owner, RuntimeName,
    ServiceName, Snapshot, VolumeMount,
};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A service that the instance can reach by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name, in the instance's `/etc/hosts`.
    pub name: ServiceName,
    /// Other names for it there.
    pub aliases: Vec<ServiceName>,
    /// The TCP ports that it listens on.
    pub ports: Vec<u16>,
}

/// A secret or config as a file of an instance. `Debug` leaves out what is in it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretFile {
    /// Absolute path inside.
    pub target: String,
    /// Permission bits; it belongs to the user that the program runs as, and cannot be written.
    pub mode: u32,
    /// Two files with the same are the same.
    pub revision_id: String,
    /// What is in it.
    pub content: Arc<[u8]>,
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SecretFile");
        shown.field("target", &self.target).finish_non_exhaustive()
    }
}

/// Everything needed to start one instance of a function, or one replica of a service. `Debug` leaves
/// out the environment, which may hold secrets.
#[derive(Clone)]
pub struct InstanceSpec {
    /// Its identity.
    pub id: InstanceId,
    /// Whose it is.
    pub owner: Owner,
    /// What runs the code.
    pub runtime: RuntimeName,
    /// The entry point of managed runtimes.
    pub handler: Option<String>,
    /// Where the code is.
    pub code: Code,
    /// The image's configuration, if the code is an image.
    pub image: Option<ImageConfig>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command; the program of a service.
    pub command: Option<Vec<String>>,
    /// Replaces the working directory.
    pub working_dir: Option<String>,
    /// How platform and instance talk. A service has the `http` contract and no calls.
    pub contract: Contract,
    /// The port for `$PORT`; 8080 for functions, the first port of a service.
    pub port: u16,
    /// The user's variables; the platform's (`AWS_LAMBDA_*`, `PORT`, `AWS_ENDPOINT_URL`,
    /// `AWS_ACCESS_KEY_ID` …) are added by the runtime and cannot be replaced, but for `AWS_REGION`
    /// and the credentials.
    pub environment: BTreeMap<String, String>,
    /// The keys that the instance asks the platform with.
    pub credential: model::Credential,
    /// Writable volumes (services).
    pub volumes: Vec<VolumeMount>,
    /// Secrets and configs that it is given as files. Those that it is given as variables are in
    /// `environment`.
    pub files: Vec<SecretFile>,
    /// Services that it can reach by name.
    pub peers: Vec<Peer>,
    /// The networks that it is on, told with each connection that comes out of it.
    pub networks: Networks,
    /// Enforced by the kernel.
    pub limits: Limits,
    /// Whether it is forked from an initialisation of its own; of functions for which
    /// [`Snapshot::check`] finds no fault.
    pub snapshot: Snapshot,
    /// Where it may connect to; without, [`crate::Options::egress`].
    pub egress: Option<Egress>,
    /// What makes its container; without, [`crate::Options::driver`].
    pub driver: Option<Driver>,
}

impl fmt::Debug for InstanceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceSpec")
            .field("id", &self.id)
            .field("owner", &self.owner)
            .field("runtime", &self.runtime)
            .field("code", &self.code)
            .field("contract", &self.contract)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::{Credential, Digest, Principal};

    /// A small Node.js function.
    pub(crate) fn spec() -> InstanceSpec {
        InstanceSpec {
            id: InstanceId::generate(),
            owner: Owner::Function {
                name: "thumbnail".parse().unwrap(),
                revision: 1,
                version: None,
            },
            runtime: RuntimeName::Nodejs20,
            handler: Some("index.handler".into()),
            code: Code::Zip {
                digest: Digest::from_hex(&"0".repeat(64)).unwrap(),
                size: 1,
            },
            image: None,
            entrypoint: None,
            command: None,
            working_dir: None,
            contract: Contract::Lambda,
            port: 8080,
            environment: BTreeMap::new(),
            credential: Credential {
                principal: Principal::Root,
                access_key_id: "AKIDEXAMPLEAKIDEXAMP".into(),
                secret_access_key: "x".repeat(40),
            },
            volumes: Vec::new(),
            files: Vec::new(),
            peers: Vec::new(),
            networks: Networks::default(),
            limits: Limits::default(),
            snapshot: Snapshot::None,
            egress: None,
            driver: None,
        }
    }
}
