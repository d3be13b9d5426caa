//! The services as they are now.

use super::Resident;
use super::dependencies::Neighbours;
use crate::node::Neighbour;
use crate::{Error, Result};
use futures::future::join_all;
use model::{InstanceStatus, Service, ServiceName};
use runtime::Runtime;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// By name.
pub(super) type Residents = RwLock<BTreeMap<ServiceName, Arc<Resident>>>;

/// Follows the store: changed only after the store was.
#[derive(Default)]
pub(crate) struct Services {
    residents: Arc<Residents>,
}

impl Services {
    /// # Errors
    /// `NotFound`.
    pub(crate) fn get(&self, name: &ServiceName) -> Result<Arc<Resident>> {
        let residents = self.residents.read();
        let residents = residents.unwrap_or_else(PoisonError::into_inner);
        residents
            .get(name)
            .cloned()
            .ok_or_else(|| Error::no_service(name))
    }

    /// Declares a service, new or changed.
    pub(crate) fn put(&self, service: Service) -> Arc<Resident> {
        let residents = self.residents.write();
        let mut residents = residents.unwrap_or_else(PoisonError::into_inner);
        match residents.entry(service.spec.name.clone()) {
            Entry::Occupied(resident) => {
                resident.get().declare(service);
                resident.get().clone()
            }
            Entry::Vacant(place) => {
                let neighbours = Neighbours(Arc::downgrade(&self.residents));
                let resident = Resident::new(service, neighbours);
                place.insert(Arc::new(resident)).clone()
            }
        }
    }

    pub(crate) fn remove(&self, name: &ServiceName) {
        let residents = self.residents.write();
        let mut residents = residents.unwrap_or_else(PoisonError::into_inner);
        residents.remove(name);
    }

    /// All services by name.
    pub(crate) fn all(&self) -> Vec<Arc<Resident>> {
        let residents = self.residents.read();
        let residents = residents.unwrap_or_else(PoisonError::into_inner);
        residents.values().cloned().collect()
    }

    /// The services that have ports, by which instances reach them.
    pub(crate) fn neighbours(&self) -> Vec<Neighbour> {
        let services = self.all().into_iter().map(|resident| resident.service());
        services
            .filter(|service| !service.spec.ports.is_empty())
            .map(|service| Neighbour {
                name: service.spec.name.clone(),
                ports: service.spec.ports.clone(),
                networks: service.spec.networks.clone(),
            })
            .collect()
    }

    pub(crate) fn statuses(&self, runtime: &Runtime) -> Vec<InstanceStatus> {
        self.all()
            .iter()
            .flat_map(|resident| resident.instances(runtime))
            .collect()
    }

    /// Stops every replica, all at once.
    pub(crate) async fn stop_all(&self, grace: Duration) {
        let all = self.all();
        join_all(all.iter().map(|resident| resident.stop(grace))).await;
    }
}
