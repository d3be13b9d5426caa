//! Moving into a waiting sandbox what belongs to its work: the code, and the size of `/tmp`. The launcher enters the sandbox's mounts for that, as long as nothing of a user has run
//! there.

use crate::error::{Failure, Step};
use crate::mounts::{READ_ONLY, attach, bind};
use crate::sandbox::Sandbox;
use crate::{Assignment, Shape, root};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, open, openat2};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use std::os::fd::{AsFd, OwnedFd};

/// See the module.
pub(crate) fn furnish(
    sandbox: &Sandbox,
    shape: &Shape,
    assignment: &Assignment,
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
        if !shape.places.contains(&code.target) {
            return Err(Failure::new(step(), "the shape has no such place"));
        }
        // Copied here, where the source is; a copy can be moved to another mount namespace.
        let tree = bind(&code.source, sandbox.slot().users.fd.as_fd(), READ_ONLY).step(step())?;
        trees.push((tree.fd, &code.target));
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = open("/proc/self/ns/mnt", flags, Mode::empty()).step("finding the own mounts")?;
    let pidfd = sandbox.first().pidfd.as_fd();
    move_into_thread_name_spaces(pidfd, ThreadNameSpaceType::MOUNT)
        .step("entering the sandbox's mounts")?;
    let done = inside(&trees, assignment);
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))
        .step("returning from a sandbox's mounts")?;
    done
}

fn inside(
    trees: &[(OwnedFd, &std::path::PathBuf)],
    assignment: &Assignment,
) -> Result<(), Failure> {
    for (tree, target) in trees {
        let step = || format!("mounting the code at {}", target.display());
        // The place is a folder of ours, or of an image, whose links could lead anywhere inside.
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let at = openat2(CWD, target.as_path(), flags, Mode::empty(), resolve).step(step())?;
        attach(tree, at).step(step())?;
    }
    root::resize_temporary(&assignment.limits)
}
