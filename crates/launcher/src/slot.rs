//! What sandboxes use one after the other: a range of user ids, cgroups, a network namespace, and a
//! template of mounts. Making and destroying these costs milliseconds and takes locks of the whole
//! kernel; handing them on, after a look that nothing is left in them, costs microseconds.

use crate::Shape;
use crate::cgroup::{Cgroups, Group};
use crate::error::{Failure, Step};
use crate::namespaces::go_home;
use crate::network::Namespace;
use crate::root::Ids;
use crate::spaces::Spaces;
use crate::userns::{UserNamespace, UserNamespaces};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Slots that wait for their next sandbox, at most.
const IDLE_MAX: usize = 256;
/// Slots that are looked at for one that fits.
const LOOK: usize = 64;
/// How long the server may take to close its sockets in a network namespace after a sandbox's end. One
/// that is not quiet after that is given up.
const QUIET: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct Slot {
    pub(crate) users: UserNamespace,
    pub(crate) group: Group,
    /// Made up.
    pub(crate) hostname: String,
    /// None until a sandbox has made it.
    pub(crate) network: Option<Namespace>,
    /// None until a sandbox has made it.
    pub(crate) template: Option<Template>,
    /// None until a sandbox has made them, and where they are made anew each time.
    pub(crate) spaces: Option<Spaces>,
    /// The snapshot whose user ids it has: then it serves one sandbox, and is gone.
    pub(crate) lender: Option<u64>,
}

/// Why nothing was made in a slot, and the slot.
pub(crate) type Unused = Box<(Failure, Slot)>;

/// A mount namespace that holds what sandboxes of one shape see. No sandbox is ever in it: each enters
/// and makes its own copy.
pub(crate) struct Template {
    pub(crate) shape: Rc<Shape>,
    pub(crate) namespace: OwnedFd,
    pub(crate) ids: Ids,
}

/// The slots that no sandbox uses now.
pub(crate) struct Slots {
    users: UserNamespaces,
    idle: VecDeque<(Slot, Instant)>,
    own_network: OwnedFd,
    /// None if this process may not return there: then it must not leave it.
    own_ipc: Option<OwnedFd>,
    made: u64,
}

impl Slots {
    pub(crate) fn new(users: UserNamespaces) -> io::Result<Self> {
        let own_ipc = OwnedFd::from(std::fs::File::open("/proc/self/ns/ipc")?);
        let kind = LinkNameSpaceType::InterProcessCommunication;
        let returns = move_into_link_name_space(own_ipc.as_fd(), Some(kind)).is_ok();
        Ok(Self {
            users,
            idle: VecDeque::new(),
            own_ipc: returns.then_some(own_ipc),
            own_network: std::fs::File::open("/proc/self/ns/net")?.into(),
            made: 0,
        })
    }

    /// One for a sandbox of this shape: preferably one that has its template already.
    pub(crate) fn take(&mut self, cgroups: &Cgroups, shape: &Shape) -> Result<Slot, Failure> {
        let fits = |slot: &Slot| slot.template.as_ref().is_some_and(|t| *t.shape == *shape);
        if let Some(slot) = self.take_idle(fits)? {
            return Ok(slot);
        }
        // One without a template was made for a shape that leaves none, or failed before it had one.
        let mut other = self.take_idle(|slot| slot.template.is_none())?;
        if other.is_none() && (self.idle.len() >= IDLE_MAX / 2 || self.users.are_used_up()) {
            other = self.take_idle(|_| true)?;
        }
        if let Some(mut slot) = other {
            slot.template = None;
            if slot
                .network
                .as_ref()
                .is_some_and(|n| n.egress != shape.egress)
            {
                slot.network = None;
            }
            return Ok(slot);
        }
        self.make(cgroups)
    }

    /// The idle one that waits longest of those that fit and are quiet.
    fn take_idle(&mut self, fits: impl Fn(&Slot) -> bool) -> Result<Option<Slot>, Failure> {
        for index in 0..self.idle.len().min(LOOK) {
            let Some((slot, since)) = self.idle.get(index) else {
                break;
            };
            if !fits(slot) {
                continue;
            }
            let quiet = match &slot.network {
                Some(network) => network.is_quiet(|look| self.inside(&network.fd, look))?,
                None => true,
            };
            if !quiet && since.elapsed() < QUIET {
                continue;
            }
            let taken = self.idle.remove(index).map(|(mut slot, _)| {
                if !quiet {
                    slot.network = None;
                }
                slot
            });
            return Ok(taken);
        }
        Ok(None)
    }

    fn make(&mut self, cgroups: &Cgroups) -> Result<Slot, Failure> {
        let users = self.users.take()?;
        match self.make_group(cgroups) {
            Ok(group) => Ok(Slot {
                users,
                group,
                hostname: made_up_name(),
                network: None,
                template: None,
                spaces: None,
                lender: None,
            }),
            Err(failure) => {
                self.users.give_back(users);
                Err(failure)
            }
        }
    }

    /// One for a fork of this snapshot: with the user ids and the template of its slot.
    pub(crate) fn lend(
        &mut self,
        cgroups: &Cgroups,
        snapshot: u64,
        of: &Slot,
    ) -> Result<Slot, Failure> {
        const STEP: &str = "making room for a snapshot's fork";
        let template = of.template.as_ref();
        let template = template.ok_or_else(|| Failure::new(STEP, "its shape is unique"))?;
        let template = Template {
            shape: template.shape.clone(),
            namespace: template.namespace.try_clone().step(STEP)?,
            ids: template.ids.clone(),
        };
        Ok(Slot {
            users: of.users.clone(),
            group: self.make_group(cgroups)?,
            hostname: made_up_name(),
            network: None,
            template: Some(template),
            spaces: None,
            lender: Some(snapshot),
        })
    }

    fn make_group(&mut self, cgroups: &Cgroups) -> Result<Group, Failure> {
        self.made += 1;
        cgroups.create(&format!("slot-{:05}", self.made))
    }

    /// Takes a slot back when nothing runs in it any more. `intact`: its last sandbox was made as it
    /// should be. Cgroups that cannot be used again are given, to be removed.
    pub(crate) fn give_back(
        &mut self,
        cgroups: &Cgroups,
        mut slot: Slot,
        intact: bool,
    ) -> Option<Group> {
        if slot.lender.is_some() {
            return Some(slot.group);
        }
        if intact && self.idle.len() < IDLE_MAX {
            let left = if slot.group.is_unified() {
                let fresh = self.make_group(cgroups).ok();
                fresh.map(|fresh| Some(std::mem::replace(&mut slot.group, fresh)))
            } else {
                slot.group.reset().then_some(None)
            };
            if let Some(left) = left {
                self.clean(&mut slot);
                self.idle.push_back((slot, Instant::now()));
                return left;
            }
        }
        self.users.give_back(slot.users);
        Some(slot.group)
    }

    /// Lets go of namespaces in which something may be left.
    fn clean(&self, slot: &mut Slot) {
        let clean = match (&mut slot.spaces, &self.own_ipc) {
            (Some(spaces), Some(own)) => spaces.are_clean(own).unwrap_or(false),
            _ => false,
        };
        if !clean {
            slot.spaces = None;
        }
    }

    /// Whether this is the network namespace that the launcher itself is in.
    pub(crate) fn is_own(&self, network: &OwnedFd) -> io::Result<bool> {
        let (own, other) = (
            rustix::fs::fstat(&self.own_network)?,
            rustix::fs::fstat(network)?,
        );
        Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino))
    }

    /// Does something inside of a network namespace.
    pub(crate) fn inside<T>(
        &self,
        network: &OwnedFd,
        work: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, Failure> {
        move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
            .step("entering a sandbox's network")?;
        let done = work();
        go_home(&self.own_network, LinkNameSpaceType::Network);
        done.step("looking at a sandbox's network")
    }

    /// Removes the cgroups of idle slots; for the end.
    pub(crate) fn remove(&mut self) {
        for (slot, _) in &mut self.idle {
            slot.group.remove();
        }
    }
}

/// Twelve hex digits.
fn made_up_name() -> String {
    let mut bytes = [0_u8; 6];
    // A name that is not random is still a name.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
