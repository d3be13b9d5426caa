//! Moving into a waiting sandbox what belongs to its work: the code, and the size of `/tmp`. The
//! launcher enters the sandbox's mounts for that, as long as nothing of a user has run there.

use crate::error::{Failure, Step};
use crate::mounts::{READ_ONLY, attach, bind, open_in};
use crate::namespaces::go_home;
use crate::sandbox::Sandbox;
use crate::{Assignment, root};
use rustix::fs::{CWD, OFlags};
use rustix::thread::{LinkNameSpaceType, ThreadNameSpaceType, move_into_thread_name_spaces};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// See the module. `own_mounts`: the launcher's mount namespace.
pub(crate) fn furnish(
    sandbox: &Sandbox,
    assignment: &Assignment,
    own_mounts: &OwnedFd,
) -> Result<(), Failure> {
    let mut trees = Vec::with_capacity(assignment.code.len());
    for code in &assignment.code {
        let step = || {
            format!(
                "binding {} at {}",
                code.source.display(),
                code.target.display()
            )
        };
        if !sandbox.shape().places.contains(&code.target) {
            return Err(Failure::new(step(), "the shape has no such place"));
        }
        // Copied here, where the source is; a copy can be moved to another mount namespace.
        let tree = bind(&code.source, sandbox.slot().users.fd.as_fd(), READ_ONLY).step(step())?;
        trees.push((tree.fd, code.target.as_path()));
    }
    let tmp = root::temporary_size(&assignment.limits);
    let tmp = Some(tmp).filter(|tmp| *tmp != sandbox.tmp());
    if trees.is_empty() && tmp.is_none() {
        return Ok(());
    }
    let pidfd = sandbox.first().pidfd.as_fd();
    move_into_thread_name_spaces(pidfd, ThreadNameSpaceType::MOUNT)
        .step("entering the sandbox's mounts")?;
    let done = inside(&trees, tmp);
    go_home(own_mounts, LinkNameSpaceType::Mount);
    done
}

fn inside(trees: &[(OwnedFd, &Path)], tmp: Option<u64>) -> Result<(), Failure> {
    for (tree, target) in trees {
        let step = || format!("mounting the code at {}", target.display());
        // The place is a folder of ours, or of an image, whose links could lead anywhere inside.
        let at = open_in(CWD, *target, OFlags::PATH).step(step())?;
        attach(tree, at).step(step())?;
    }
    tmp.map_or(Ok(()), root::resize_temporary)
}
