//! What a sandbox sees as `/`: the host's own folders or an image, read-only, with what is bound on
//! top. That much is a *template*, which sandboxes of one shape and one range of user ids use one
//! after the other; `/proc`, `/tmp` and `/dev/shm` are each sandbox's own.

use crate::error::{Failure, Step};
use crate::mounts::{self, INERT, READ_ONLY, attach, bind, place};
use crate::skeleton::{Image, Skeleton};
use crate::userns::UserNamespace;
use crate::{Bind, Root, Shape, Volume, devices, etc, proc};
use rustix::fs::{Gid, Mode, OFlags, Uid, chown, open};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Empty folders of the host to attach things at before they become the root. Each sandbox does so
/// in its own mount namespace, so all of them use the same.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    pub(crate) root: String,
    pub(crate) image: String,
    pub(crate) skeleton: String,
}

impl Stage {
    /// Makes the folders beneath `folder`.
    pub(crate) fn new(folder: &Path) -> std::io::Result<Self> {
        let make = |name: &str| {
            let path = folder.join(name);
            fs::create_dir_all(&path)?;
            path.into_os_string()
                .into_string()
                .map_err(|_| std::io::Error::other("the data folder's path is not UTF-8"))
        };
        Ok(Self {
            root: make("root")?,
            image: make("image")?,
            skeleton: make("skeleton")?,
        })
    }
}

/// As whom the program runs, as ids of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ids {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
}

/// Makes the template and moves this process into it. The process must have a mount namespace of its
/// own and still be the host's root. With a unique shape, `/tmp` is part of it.
pub(crate) fn enter(
    shape: &Shape,
    users: &UserNamespace,
    stage: &Stage,
    hostname: &str,
    tmp: u64,
) -> Result<Ids, Failure> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .step("making the mounts private")?;
    let root = match &shape.root {
        Root::Host { binds } => host(shape, binds, users, stage, hostname)?,
        Root::Image { folder } => image(shape, folder, users, stage, hostname)?,
    };
    let mut ids = etc::ids(&root, &shape.user)?;
    let checked = users.ranges.check(&mut ids);
    checked.map_err(|reason| Failure::new("choosing the user", reason))?;
    devices::mount(&root, users.base)?;
    if shape.is_unique() {
        places_beneath(temporary(&root, users, tmp)?, shape, users)?;
    }
    for bound in &shape.binds {
        bind_at(&root, &bound.source, &bound.target, users)?;
    }
    for volume in &shape.volumes {
        volume_at(&root, volume, users, &ids)?;
    }
    kernel_read_only(&root)?;
    pivot(&root)?;
    Ok(ids)
}

/// Mounts what is this sandbox's own, with a `/proc` that was made for it. The process must be in its own
/// copy of the template.
pub(crate) fn furnish(
    shape: &Shape,
    users: &UserNamespace,
    tmp: u64,
    proc: &OwnedFd,
) -> Result<(), Failure> {
    let root = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step("opening the root")?;
    proc::put(proc, &root)?;
    devices::mount_shared_memory(&root, users.base)?;
    if shape.is_unique() {
        return Ok(());
    }
    temporary(&root, users, tmp).map(drop)
}

/// Bytes that `/tmp` may hold: it counts against the memory.
pub(crate) fn temporary_size(limits: &model::Limits) -> u64 {
    limits.tmp.min(limits.memory)
}

/// Pages of a tmpfs of this size, at least a thousand: more inodes could not hold anything.
pub fn inodes(size: u64) -> u64 {
    (size / 4096).max(1024)
}

fn temporary(root: &OwnedFd, users: &UserNamespace, size: u64) -> Result<OwnedFd, Failure> {
    const STEP: &str = "mounting /tmp";
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let tmp = mounts::tmpfs(size, inodes(size), "1777", users.base, attributes).step(STEP)?;
    attach(&tmp, place(root, "tmp").step(STEP)?).step(STEP)?;
    Ok(tmp)
}

/// Makes the places beneath `/tmp` on which is mounted: those of the root are covered by it.
fn places_beneath(tmp: OwnedFd, shape: &Shape, users: &UserNamespace) -> Result<(), Failure> {
    let tmp = Skeleton::of(tmp, users.base);
    let binds = shape.binds.iter().map(|bind| (&bind.source, &bind.target));
    let volumes = shape.volumes.iter();
    let volumes = volumes.map(|volume| (&volume.source, &volume.target));
    for (source, target) in binds.chain(volumes) {
        if let Ok(beneath) = target.strip_prefix("/tmp") {
            let step = || format!("making room for {}", target.display());
            make_place(&tmp, source, text(beneath)?).step(step())?;
        }
    }
    for place in &shape.places {
        if let Ok(beneath) = place.strip_prefix("/tmp") {
            let step = || format!("making room for {}", place.display());
            tmp.folder(text(beneath)?).step(step())?;
        }
    }
    Ok(())
}

/// Sets how much `/tmp` of this mount namespace may hold.
pub(crate) fn resize_temporary(size: u64) -> Result<(), Failure> {
    mounts::resize("/tmp", size, inodes(size)).step("sizing /tmp")
}

/// A tmpfs with the host's folders bound into it.
fn host(
    shape: &Shape,
    binds: &[Bind],
    users: &UserNamespace,
    stage: &Stage,
    hostname: &str,
) -> Result<OwnedFd, Failure> {
    let skeleton = Skeleton::new(users.base, None).step("making the root")?;
    for folder in ["home", "root", "run", "var"] {
        skeleton.folder(folder).step(format!("making /{folder}"))?;
    }
    skeleton
        .link("var/tmp", Path::new("/tmp"))
        .step("making /var/tmp")?;
    let mut trees = Vec::new();
    for bound in binds {
        let target = text(&bound.target)?;
        let step = || format!("showing the host's {}", bound.source.display());
        let kind = fs::symlink_metadata(&bound.source).step(step())?;
        if kind.is_symlink() {
            // Such as /bin → usr/bin.
            let to = fs::read_link(&bound.source).step(step())?;
            skeleton.link(target, &to).step(step())?;
        } else {
            make_place(&skeleton, &bound.source, target).step(step())?;
            trees.push((bound, target));
        }
    }
    prepare(&skeleton, shape, hostname)?;
    let root = open(
        stage.root.as_str(),
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .step("opening the stage")?;
    attach(&skeleton.root, &root).step("attaching the root")?;
    for (bound, _) in trees {
        bind_at(&skeleton.root, &bound.source, &bound.target, users)?;
    }
    Ok(skeleton.root)
}

/// The image, beneath a skeleton that adds the mount points and files which it lacks.
fn image(
    shape: &Shape,
    folder: &Path,
    users: &UserNamespace,
    stage: &Stage,
    hostname: &str,
) -> Result<OwnedFd, Failure> {
    let step = || format!("opening the image {}", folder.display());
    let lower = bind(folder, users.fd.as_fd(), READ_ONLY).step(step())?;
    let stage_fd = |path: &str| {
        open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step("opening the stage")
    };
    attach(&lower.fd, stage_fd(&stage.image)?).step(step())?;
    let beneath = Image {
        root: lower.fd,
        attached: stage.image.clone(),
    };
    let skeleton = Skeleton::new(users.base, Some(beneath)).step("making the root")?;
    prepare(&skeleton, shape, hostname)?;
    attach(&skeleton.root, stage_fd(&stage.skeleton)?).step("attaching the root")?;
    // By descriptor, so that the sandbox's /proc/mounts does not tell the host's paths.
    let image = stage_fd(&stage.image)?;
    let layers = format!(
        "/proc/self/fd/{}:/proc/self/fd/{}",
        skeleton.root.as_raw_fd(),
        image.as_raw_fd()
    );
    let root = mounts::filesystem("overlay", &[("lowerdir", &layers)], READ_ONLY)
        .step("mounting the image's overlay")?;
    attach(&root, stage_fd(&stage.root)?).step("attaching the root")?;
    Ok(root)
}

/// Puts every mount point and every generated file in place.
fn prepare(skeleton: &Skeleton, shape: &Shape, hostname: &str) -> Result<(), Failure> {
    for folder in ["dev", "proc", "sys", "tmp"] {
        skeleton.folder(folder).step(format!("making /{folder}"))?;
    }
    etc::write(skeleton, shape, hostname)?;
    for path in &shape.places {
        let target = text(path)?;
        skeleton
            .folder(target)
            .step(format!("making room for {target}"))?;
    }
    for bound in &shape.binds {
        let target = text(&bound.target)?;
        let step = format!("making room for {target}");
        make_place(skeleton, &bound.source, target).step(step)?;
    }
    for volume in &shape.volumes {
        let target = text(&volume.target)?;
        let step = format!("making room for {target}");
        make_place(skeleton, &volume.source, target).step(step)?;
    }
    Ok(())
}

fn make_place(skeleton: &Skeleton, source: &Path, target: &str) -> std::io::Result<()> {
    if fs::metadata(source)?.is_dir() {
        skeleton.folder(target)
    } else {
        skeleton.file_place(target)
    }
}

fn bind_at(
    root: &OwnedFd,
    source: &Path,
    target: &Path,
    users: &UserNamespace,
) -> Result<(), Failure> {
    let step = || format!("binding {} at {}", source.display(), target.display());
    let tree = bind(source, users.fd.as_fd(), READ_ONLY).step(step())?;
    let at = place(root, text(target)?).step(step())?;
    attach(tree.fd, at).step(step())
}

fn volume_at(
    root: &OwnedFd,
    volume: &Volume,
    users: &UserNamespace,
    ids: &Ids,
) -> Result<(), Failure> {
    let step = || format!("mounting the volume at {}", volume.target.display());
    let attributes = if volume.read_only { READ_ONLY } else { INERT };
    let is_file = fs::metadata(&volume.source).step(step())?.is_file();
    let tree = bind(&volume.source, users.fd.as_fd(), attributes).step(step())?;
    if is_file && !tree.mapped {
        // Its owner can be only one of those that show it at once, so it is made readable by all of them:
        // inside of each there is nobody else.
        let mode = fs::metadata(&volume.source)
            .step(step())?
            .permissions()
            .mode();
        fs::set_permissions(&volume.source, fs::Permissions::from_mode(mode | 0o444))
            .step(step())?;
    } else if is_file || !volume.read_only {
        // With mapped ids the owner on disk is the sandbox's own number, whichever range it has.
        let owner = |id| if tree.mapped { id } else { users.host(id) };
        let (uid, gid) = (Uid::from_raw(owner(ids.uid)), Gid::from_raw(owner(ids.gid)));
        chown(&volume.source, Some(uid), Some(gid)).step(step())?;
    }
    let at = place(root, text(&volume.target)?).step(step())?;
    attach(tree.fd, at).step(step())
}

/// Makes the root itself read-only; what is mounted on it keeps its own attributes.
fn kernel_read_only(root: &OwnedFd) -> Result<(), Failure> {
    crate::kernel::mount_setattr_one(root.as_fd(), READ_ONLY).step("making the root read-only")
}

/// Makes `root` this mount namespace's root and lets go of the host's.
fn pivot(root: &OwnedFd) -> Result<(), Failure> {
    const STEP: &str = "changing the root";
    rustix::process::fchdir(root).step(STEP)?;
    // The old root ends up on top of the new one, and is taken off there: pivot_root(2), "NOTES".
    rustix::process::pivot_root(".", ".").step(STEP)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).step(STEP)?;
    rustix::process::chdir("/").step(STEP)
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str()
        .ok_or_else(|| Failure::new(format!("reading the path {}", path.display()), "not UTF-8"))
}

/// Opens a file of the new root for reading, if it is a regular file.
pub(crate) fn open_regular(root: &OwnedFd, path: &str) -> std::io::Result<fs::File> {
    let file = mounts::open_in(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?;
    let file = fs::File::from(file);
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("not a regular file"));
    }
    Ok(file)
}
