//! Requests about the networks of containers that something else made.

use super::{Gone, Process};
use crate::Furniture;
use crate::error::{Failure, Step as _};
use crate::network::{self, Network};
use crate::wire::Reply;
use rustix::net::AddressFamily;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

const STEP: &str = "entering a container's network";

impl Process {
    /// Makes the listeners there, and the way out.
    pub(super) fn furnish(
        &self,
        request: u64,
        furniture: &Furniture,
        fds: &[OwnedFd],
    ) -> Result<(), Gone> {
        match self.furnished(furniture, fds) {
            Ok(made) => {
                let redirect = made.redirect.as_ref();
                let mut fds: Vec<BorrowedFd<'_>> =
                    made.listeners.iter().map(|fd| fd.as_fd()).collect();
                fds.extend(
                    redirect
                        .into_iter()
                        .flat_map(|r| [r.map.as_fd(), r.link.as_fd()]),
                );
                let redirect = redirect.is_some();
                self.reply(&Reply::Furnished { request, redirect }, &fds)
            }
            Err(failure) => self.reply(&Reply::Refused { request, failure }, &[]),
        }
    }

    fn furnished(&self, furniture: &Furniture, fds: &[OwnedFd]) -> Result<Network, Failure> {
        furniture
            .check()
            .map_err(|reason| Failure::new(STEP, reason))?;
        let Furniture {
            listen,
            serves,
            egress,
        } = furniture;
        let work = || {
            network::establish(*egress)?;
            network::listen_on(listen, *serves, *egress, None)
        };
        self.slots.inside(self.foreign(fds)?, || Ok(work()))?
    }

    /// Makes a socket there.
    pub(super) fn reach(&self, request: u64, fds: &[OwnedFd]) -> Result<(), Gone> {
        let made = self.foreign(fds).and_then(|namespace| {
            let make = || Ok(network::tcp(AddressFamily::INET)?);
            self.slots.inside(namespace, make)
        });
        match made {
            Ok(socket) => self.reply(&Reply::Socket { request }, &[socket.as_fd()]),
            Err(failure) => self.reply(&Reply::Refused { request, failure }, &[]),
        }
    }

    /// The network namespace that came with a request. The server's own is not one: nothing there is to
    /// be changed, whoever asks.
    fn foreign<'a>(&self, fds: &'a [OwnedFd]) -> Result<&'a OwnedFd, Failure> {
        let [namespace] = fds else {
            return Err(Failure::new(STEP, "it did not come with the request"));
        };
        match self.slots.is_own(namespace).step(STEP)? {
            false => Ok(namespace),
            true => Err(Failure::new(
                STEP,
                "it has the host's: run it with a network of its own",
            )),
        }
    }
}
