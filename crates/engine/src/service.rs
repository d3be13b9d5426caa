//! Services: replicas kept running, checked, restarted with backoff, and reached by name.

mod dependencies;
mod health;
mod replica;
mod resident;
mod table;

pub(crate) use replica::GRACE;
pub(crate) use resident::Resident;
pub(crate) use table::Services;

use crate::engine::Corridor;
use crate::prototype::Prototype;
use crate::{Engine, Error, Result};
use model::{
    ChangeKind, Networks, Principal, Service, ServiceName, ServiceSpec, ServiceStatus, Timestamp,
};
use std::sync::Arc;
use tokio::net::TcpStream;

/// Most ports of all services together: an instance has 64 listeners, and two are the platform's.
const MAX_PORTS: usize = 62;
/// Most names of all services together, aliases included: what /etc/hosts of an instance may have beside localhost.
const MAX_NAMES: usize = 256;

/// A service that was checked and whose code is here.
pub(crate) struct PreparedService(ServiceSpec);

impl PreparedService {
    pub(crate) fn name(&self) -> &ServiceName {
        &self.0.name
    }
}

/// A service that is declared and whose replicas are not yet what it declares.
pub(crate) struct Declared {
    pub(crate) resident: Arc<Resident>,
    pub(crate) prototype: Prototype,
}

impl Engine {
    /// Makes or changes a service and brings its replicas to what is declared, in the background:
    /// [`Engine::list_services`] shows how far that is.
    ///
    /// Instances know the names of those services that were there when they started. So functions'
    /// instances are replaced when a name or port changes; other services keep running, and find a
    /// new name after their own next start.
    ///
    /// # Errors
    /// As `put_function`.
    pub async fn put_service(&self, spec: ServiceSpec) -> Result<(Service, ChangeKind)> {
        let corridor = &self.corridor;
        corridor.check_dependencies(std::slice::from_ref(&spec))?;
        let prepared = corridor.prepare_service(spec).await?;
        let _changing = corridor.changing.lock().await;
        if corridor.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        let (service, change, declared) = corridor.declare_service(prepared).await?;
        corridor.renew_peers();
        if let Some(Declared {
            resident,
            prototype,
        }) = declared
        {
            resident.apply(prototype, &corridor.node);
        }
        Ok((service, change))
    }

    /// All services with their replicas.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_services(&self) -> Result<Vec<ServiceStatus>> {
        let all = self.corridor.services.all();
        Ok(all.iter().map(|resident| resident.status()).collect())
    }

    /// Stops and removes a service. Its volumes stay.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_service(&self, name: &ServiceName) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let resident = corridor.services.get(name)?;
        corridor.state.delete_service(name.clone()).await?;
        corridor.services.remove(name);
        corridor.deleted.notify_one();
        corridor.renew_peers();
        resident.stop(GRACE).await;
        let owner = format!("service:{name}");
        corridor.drop_declared_rules(owner).await
    }

    /// A connection to a healthy replica, taking turns. `port`: `None` means its first. Waits up to
    /// 10 s for a replica that is starting.
    ///
    /// # Errors
    /// `NotFound`, `NoReplica`, `Refused` (no port).
    pub async fn connect_service(
        &self,
        name: &ServiceName,
        port: Option<u16>,
    ) -> Result<TcpStream> {
        let resident = self.corridor.services.get(name)?;
        let (_, stream) = resident.connect(port).await?;
        Ok(stream)
    }

    /// Whether an instance that is on these networks may reach a service, as both are declared now.
    ///
    /// # Errors
    /// `NotFound`, `Apart`.
    pub fn check_service_reach(&self, from: &Networks, name: &ServiceName) -> Result<()> {
        let service = self.corridor.services.get(name)?.service();
        match service.spec.networks.meet(from) {
            true => Ok(()),
            false => Err(Error::Apart(format!("service \"{name}\""))),
        }
    }
}

impl Corridor {
    /// Everything of a put that can fail because of what was asked.
    pub(crate) async fn prepare_service(&self, mut spec: ServiceSpec) -> Result<PreparedService> {
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        check(&spec)?;
        spec.code = self.pin_code(&spec.code).await?;
        let runtime = &self.node.runtime;
        let checked = runtime.check(spec.runtime, spec.driver, model::Snapshot::None);
        checked.await?;
        self.check_secrets(&spec.secrets, &spec.environment).await?;
        Ok(PreparedService(spec))
    }

    /// That what these services wait for is among them or there, and that nobody waits for itself.
    pub(crate) fn check_dependencies(&self, declared: &[ServiceSpec]) -> Result<()> {
        let present = self.services.all();
        let present: Vec<_> = present.iter().map(|resident| resident.service()).collect();
        dependencies::check(declared, &present)
    }

    /// Every instance can reach every service, and has a listener for each of their ports.
    fn check_ports(&self, spec: &ServiceSpec) -> Result<()> {
        let others = self.services.all().into_iter();
        let others = others.map(|resident| resident.service());
        let others = others.filter(|other| other.spec.name != spec.name);
        let others: usize = others.map(|other| other.spec.ports.len()).sum();
        if others + spec.ports.len() > MAX_PORTS {
            return Err(Error::Refused(format!(
                "all services together may have {MAX_PORTS} ports, since every instance can reach \
                 each of them, and the others have {others}: declare fewer"
            )));
        }
        Ok(())
    }

    /// An instance can be on all networks, and knows every name and alias there. An alias in two networks counts
    /// twice.
    fn check_names(&self, spec: &ServiceSpec) -> Result<()> {
        let others = self.services.all().into_iter();
        let others = others.map(|resident| resident.service());
        let others = others.filter(|other| other.spec.name != spec.name);
        let others: usize = others
            .map(|other| 1 + other.spec.networks.alias_count())
            .sum();
        if others + 1 + spec.networks.alias_count() > MAX_NAMES {
            return Err(Error::Refused(format!(
                "all services together may have {MAX_NAMES} names and aliases, since an instance can reach \
                 each of them, and the others have {others}: give them fewer aliases"
            )));
        }
        Ok(())
    }

    /// Keeps a service and knows its name from now on. `None` if it is as it was.
    pub(crate) async fn declare_service(
        &self,
        PreparedService(spec): PreparedService,
    ) -> Result<(Service, ChangeKind, Option<Declared>)> {
        let now = Timestamp::now();
        let before = self.services.get(&spec.name).ok();
        let broken = before.as_ref().is_some_and(|resident| resident.is_broken());
        let before = before.map(|resident| resident.service());
        let same = before.as_ref().filter(|before| before.spec == spec);
        if let Some(before) = same.filter(|_| !broken) {
            return Ok((Service::clone(before), ChangeKind::Unchanged, None));
        }
        self.check_ports(&spec)?;
        self.check_names(&spec)?;
        // One may have been removed since.
        self.check_secrets(&spec.secrets, &spec.environment).await?;
        let service = Service {
            revision: before.as_ref().map_or(1, |before| before.revision + 1),
            created: before.as_ref().map_or(now, |before| before.created),
            modified: now,
            spec,
        };
        let change = match before {
            Some(_) => ChangeKind::Updated,
            None => ChangeKind::Created,
        };
        let prototype = Prototype::of_service(&self.vault, &service).await?;
        if prototype.is_broken() {
            let reason = "its image was removed meanwhile: import it again, then deploy";
            return Err(Error::Absent(reason.to_owned()));
        }
        if let Err(error) = self.state.put_service(service.clone()).await {
            if change == ChangeKind::Created {
                self.forget_credential(Principal::Service {
                    name: service.spec.name,
                })
                .await;
            }
            return Err(error.into());
        }
        let resident = self.services.put(service.clone());
        let declared = Declared {
            resident,
            prototype,
        };
        Ok((service, change, Some(declared)))
    }

    /// Knows a service that the store has.
    pub(crate) async fn admit(&self, service: Service) -> Result<(Arc<Resident>, Prototype)> {
        let prototype = Prototype::of_service(&self.vault, &service).await?;
        Ok((self.services.put(service), prototype))
    }

    /// Tells new instances which services there are; functions' instances that were told otherwise
    /// are replaced.
    pub(crate) fn renew_peers(&self) {
        if self.node.set_neighbours(self.services.neighbours()) {
            for pool in self.functions.all() {
                pool.recycle();
            }
        }
    }

    /// After a creation that failed half way.
    pub(crate) async fn forget_credential(&self, principal: Principal) {
        let who = principal.key();
        if let Err(error) = self.state.delete_credential(principal).await {
            tracing::warn!(%error, principal = %who, "keys of what was not made could not be removed");
        }
    }
}

/// The model's rules, with the place of a limit named.
pub(crate) fn check(spec: &ServiceSpec) -> std::result::Result<(), model::Invalid> {
    spec.limits
        .check()
        .map_err(|error| crate::catalog::below("limits", error))?;
    spec.check()?;
    match &spec.health.path {
        Some(path) if !path.starts_with('/') || path.parse::<http::Uri>().is_err() => Err(
            model::Invalid::new("health.path", "must be a URL's path, beginning with /"),
        ),
        Some(_) if spec.ports.is_empty() => Err(model::Invalid::new(
            "health.path",
            "needs a port: give one under ports",
        )),
        _ => Ok(()),
    }
}
