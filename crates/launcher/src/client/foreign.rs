//! What a container that something else made is given: its network, and what of the host belongs to its user.

use super::{Egress, Launcher, NO_ROOM};
use crate::Bind;
use crate::bounds::{MOUNTS_MAX, check_path, check_target, within};
use crate::error::{Error, Result};
use crate::network::EGRESS_SOCKETS;
use crate::shape::LISTENERS_MAX;
use crate::wire::{Reply, Request};
use serde::{Deserialize, Serialize};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// What is put into a container's network, which has a loopback link and nothing else. The same fields of
/// [`crate::Shape`] say what each means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Furniture {
    /// Listeners (loopback addresses); at most 64.
    pub listen: Vec<SocketAddr>,
    /// Whether the program listens itself.
    pub serves: bool,
    /// Whether what it sends elsewhere is taken.
    pub egress: bool,
}

impl Furniture {
    /// Checks every bound. The launcher does so again: it trusts nobody.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        within("listeners", self.listen.len(), LISTENERS_MAX)?;
        let other = |address: &&SocketAddr| !address.ip().is_loopback();
        match self.listen.iter().find(other) {
            Some(other) => Err(format!("{other} is not a loopback address")),
            None => Ok(()),
        }
    }
}

/// What of the host belongs to the user of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belongings {
    /// The user and group that its program runs as, in ids of the host.
    pub user: (u32, u32),
    /// The file, made for that, which the container has mounted wherever one of `files` is to be.
    pub place: PathBuf,
    /// Files that are shown inside, read-only; at most 64. On the host they become the user's too, so show them to
    /// no other user.
    pub files: Vec<Bind>,
    /// Folders that the container has mounted, which become the user's (not what is in them); at most 64.
    pub folders: Vec<PathBuf>,
}

impl Belongings {
    /// Checks every bound. The launcher does so again: it trusts nobody.
    pub(crate) fn check(&self) -> std::result::Result<(), String> {
        within("files", self.files.len(), MOUNTS_MAX)?;
        within("folders", self.folders.len(), MOUNTS_MAX)?;
        check_path(&self.place)?;
        for file in &self.files {
            check_path(&file.source)?;
            check_target(&file.target)?;
        }
        self.folders
            .iter()
            .try_for_each(|folder| check_path(folder))
    }
}

/// The network of a container that something else made, furnished as a sandbox's is. What leads its
/// connections lasts as long as this.
pub struct Foreign {
    /// The listeners that were asked for, in order; take them. They are non-blocking.
    pub listeners: Vec<TcpListener>,
    /// What takes all that it sends elsewhere, if that was asked for; take it.
    pub egress: Option<Egress>,
    namespace: OwnedFd,
    launcher: Launcher,
    _redirect: Vec<OwnedFd>,
}

impl Launcher {
    /// Makes the network of a container what a sandbox's is.
    ///
    /// # Errors
    /// `Step` when it is the host's own network, or a step failed; `Invalid` past a bound.
    pub async fn furnish(&self, namespace: OwnedFd, furniture: Furniture) -> Result<Foreign> {
        furniture.check().map_err(Error::Invalid)?;
        let listeners = furniture.listen.len();
        let outbound = if furniture.egress { EGRESS_SOCKETS } else { 0 };
        let request = self.number();
        let question = Request::Furnish {
            request,
            furniture: Box::new(furniture),
        };
        let given = namespace
            .try_clone()
            .map_err(|error| no_room(&error.to_string()))?;
        let (reply, fds) = self.ask_with(request, &question, Some(given), None).await?;
        let Reply::Furnished { redirect, .. } = reply else {
            return Err(Error::Gone("it answered something else".to_owned()));
        };
        if fds.len() != listeners + outbound + 2 * usize::from(redirect) {
            return Err(no_room(NO_ROOM));
        }
        let mut fds = fds.into_iter();
        let listeners = fds
            .by_ref()
            .take(listeners)
            .map(TcpListener::from)
            .collect();
        let mut outbound = fds.by_ref().take(outbound);
        let egress = match (outbound.next(), outbound.next(), outbound.next()) {
            (Some(connections), Some(dns), Some(datagrams)) => Some(Egress {
                connections: connections.into(),
                dns: dns.into(),
                datagrams: datagrams.into(),
            }),
            _ => None,
        };
        Ok(Foreign {
            listeners,
            egress,
            namespace,
            launcher: self.clone(),
            _redirect: fds.collect(),
        })
    }
}

impl Launcher {
    /// Gives the user of a container what belongs to it. `mounts`: its mount namespace; nothing of a user may have
    /// run there.
    ///
    /// # Errors
    /// `Step` when these are the host's own mounts, or have no place for a file, or a step failed; `Invalid` past a
    /// bound.
    pub async fn endow(&self, mounts: OwnedFd, belongings: Belongings) -> Result<()> {
        belongings.check().map_err(Error::Invalid)?;
        let request = self.number();
        let question = Request::Endow {
            request,
            belongings: Box::new(belongings),
        };
        match self
            .ask_with(request, &question, Some(mounts), None)
            .await?
        {
            (Reply::Endowed { .. }, _) => Ok(()),
            _ => Err(Error::Gone("it answered something else".to_owned())),
        }
    }
}

impl Foreign {
    /// An unconnected TCP socket inside, close-on-exec and non-blocking.
    ///
    /// # Errors
    /// When the launcher is gone.
    pub async fn socket(&self) -> Result<OwnedFd> {
        let given = self.namespace.try_clone();
        let given = given.map_err(|error| no_room(&error.to_string()))?;
        let request = self.launcher.number();
        let question = Request::Reach { request };
        let asked = self
            .launcher
            .ask_with(request, &question, Some(given), None);
        let (_, fds) = asked.await?;
        fds.into_iter().next().ok_or_else(|| no_room(NO_ROOM))
    }
}

fn no_room(reason: &str) -> Error {
    Error::Step {
        step: "receiving the sockets of a container".to_owned(),
        reason: reason.to_owned(),
    }
}
