//! Giving up privilege.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, set_capabilities, set_no_new_privs,
};

/// Empties the bounding set of this thread: no `execve` can gain anything from now on. It needs
/// `CAP_SETPCAP`, so it comes before the ids change.
pub(crate) fn drop_bounding() -> rustix::io::Result<()> {
    drop_bounding_but(CapabilitySet::empty())
}

/// Keeps what a zygote's forks need to enter sandboxes, for this process and what it executes.
pub(crate) fn keep_for_zygote() -> rustix::io::Result<()> {
    drop_bounding_but(
        CapabilitySet::SYS_ADMIN
            | CapabilitySet::SYS_CHROOT
            | CapabilitySet::SYS_PTRACE
            | CapabilitySet::SETUID
            | CapabilitySet::SETGID
            | CapabilitySet::SETPCAP,
    )
}

/// Keeps what locking memory needs, for this process and what it executes.
pub(crate) fn keep_for_pin() -> rustix::io::Result<()> {
    drop_bounding_but(CapabilitySet::IPC_LOCK)?;
    set_no_new_privs(true)
}

/// What a function's own zygote needs to enter the sandboxes of its forks, which belong to its own user
/// namespace.
const FOR_SNAPSHOT: CapabilitySet = CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYS_CHROOT);

/// Makes those for a function's own zygote inheritable. The kernel allows that only before the bounding set
/// is emptied.
pub(crate) fn bequeath_for_snapshot() -> rustix::io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    let inheritable = FOR_SNAPSHOT;
    set_capabilities(
        None,
        CapabilitySets {
            inheritable,
            ..held
        },
    )
}

/// Keeps those for a function's own zygote, for this thread and what it executes, and not one more. Sets
/// `no_new_privs`.
pub(crate) fn keep_for_snapshot() -> rustix::io::Result<()> {
    let sets = CapabilitySets {
        effective: FOR_SNAPSHOT,
        permitted: FOR_SNAPSHOT,
        inheritable: FOR_SNAPSHOT,
    };
    set_capabilities(None, sets)?;
    for capability in FOR_SNAPSHOT {
        configure_capability_in_ambient_set(capability, true)?;
    }
    set_no_new_privs(true)
}

fn drop_bounding_but(kept: CapabilitySet) -> rustix::io::Result<()> {
    for number in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Past the last one that this kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Empties every other set of this thread and sets `no_new_privs`.
pub(crate) fn drop_held() -> rustix::io::Result<()> {
    clear_ambient_capability_set()?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        },
    )?;
    set_no_new_privs(true)
}

/// What the launcher needs, and what for.
const NEEDED: [(CapabilitySet, &str, &str); 12] = [
    (
        CapabilitySet::SYS_ADMIN,
        "CAP_SYS_ADMIN",
        "namespaces and mounts",
    ),
    (
        CapabilitySet::NET_ADMIN,
        "CAP_NET_ADMIN",
        "loopback in a new network namespace",
    ),
    (
        CapabilitySet::SYS_CHROOT,
        "CAP_SYS_CHROOT",
        "entering a sandbox's mounts",
    ),
    (CapabilitySet::SETUID, "CAP_SETUID", "user ids"),
    (CapabilitySet::SETGID, "CAP_SETGID", "group ids"),
    (
        CapabilitySet::SETPCAP,
        "CAP_SETPCAP",
        "the capability bounding set",
    ),
    (
        CapabilitySet::CHOWN,
        "CAP_CHOWN",
        "owners of generated files",
    ),
    (
        CapabilitySet::DAC_OVERRIDE,
        "CAP_DAC_OVERRIDE",
        "cgroup files and volumes",
    ),
    (CapabilitySet::FOWNER, "CAP_FOWNER", "generated files"),
    (CapabilitySet::MKNOD, "CAP_MKNOD", "/dev/null and its kin"),
    (
        CapabilitySet::SYS_PTRACE,
        "CAP_SYS_PTRACE",
        "sockets in a sandbox's network namespace",
    ),
    (CapabilitySet::KILL, "CAP_KILL", "killing sandboxes"),
];

/// The capabilities that this process lacks, each with what it is needed for.
pub(crate) fn missing() -> Vec<String> {
    let held =
        rustix::thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    NEEDED
        .iter()
        .filter(|(capability, _, _)| !held.contains(*capability))
        .map(|(_, name, purpose)| format!("{name} (for {purpose})"))
        .collect()
}
