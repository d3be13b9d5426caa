//! Giving the user of a container, which something else made, what of the host belongs to it: secrets and configs
//! over places that were made for them, and the folders of its volumes.

use super::{Gone, Process};
use crate::Belongings;
use crate::error::{Failure, Step as _};
use crate::mounts::{READ_ONLY, attach, copy, open_in};
use crate::namespaces::go_home;
use crate::wire::Reply;
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, chown, fstat, openat};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, Permissions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const STEP: &str = "entering a container's mounts";
/// What earlier versions gave the folders of volumes with Docker.
const OPEN: u32 = 0o777;

impl Process {
    /// See the module. Nothing of a user has run in the container yet.
    pub(super) fn endow(
        &self,
        request: u64,
        belongings: &Belongings,
        fds: &[OwnedFd],
    ) -> Result<(), Gone> {
        match self.endowed(belongings, fds) {
            Ok(()) => self.reply(&Reply::Endowed { request }, &[]),
            Err(failure) => self.reply(&Reply::Refused { request, failure }, &[]),
        }
    }

    fn endowed(&self, belongings: &Belongings, fds: &[OwnedFd]) -> Result<(), Failure> {
        belongings
            .check()
            .map_err(|reason| Failure::new(STEP, reason))?;
        let [mounts] = fds else {
            return Err(Failure::new(STEP, "they did not come with the request"));
        };
        if identity(mounts).step(STEP)? == identity(&self.workshop.mounts).step(STEP)? {
            let reason = "they are the host's: run the container with mounts of its own";
            return Err(Failure::new(STEP, reason));
        }
        let place = openat(CWD, &belongings.place, OFlags::PATH, Mode::empty());
        let place = place.and_then(identity).step("looking at the empty file")?;
        for folder in &belongings.folders {
            let step = || format!("giving the volume {} to its user", folder.display());
            own(folder, belongings.user).step(step())?;
            let mode = fs::metadata(folder).step(step())?.permissions().mode();
            if mode & 0o7777 == OPEN {
                fs::set_permissions(folder, Permissions::from_mode(0o700)).step(step())?;
            }
        }
        let mut trees = Vec::with_capacity(belongings.files.len());
        for file in &belongings.files {
            let step = || format!("giving {} to its user", file.target.display());
            own(&file.source, belongings.user).step(step())?;
            // Copied here, where the source is; a copy can be moved to another mount namespace.
            let tree = copy(&file.source, READ_ONLY).step(step())?;
            trees.push((tree, file.target.as_path()));
        }
        if trees.is_empty() {
            return Ok(());
        }
        move_into_link_name_space(mounts.as_fd(), Some(LinkNameSpaceType::Mount)).step(STEP)?;
        let done = show(&trees, place);
        go_home(&self.workshop.mounts, LinkNameSpaceType::Mount);
        done
    }
}

/// A file or namespace, whatever its name.
fn identity(of: impl AsFd) -> rustix::io::Result<(u64, u64)> {
    fstat(of).map(|seen| (seen.st_dev, seen.st_ino))
}

fn own(path: &Path, (user, group): (u32, u32)) -> rustix::io::Result<()> {
    chown(path, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
}

/// Inside: covers each place, if it is the one that was made for that. So nothing is shown anywhere but in a
/// container that was made for it, whosever mounts these are.
fn show(trees: &[(OwnedFd, &Path)], place: (u64, u64)) -> Result<(), Failure> {
    for (tree, target) in trees {
        let step = || format!("mounting {}", target.display());
        let at = open_in(CWD, *target, OFlags::PATH).step(step())?;
        if identity(&at).step(step())? != place {
            let reason = "another file is there than the one that Docker was asked to put there";
            return Err(Failure::new(step(), reason));
        }
        attach(tree, at).step(step())?;
    }
    Ok(())
}
