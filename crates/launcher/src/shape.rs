//! What a sandbox shall be like, before it is known what shall run in it.

use crate::bounds::{MOUNTS_MAX, check_bind, check_host, check_path, check_target, within};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// A folder or file of the host shown inside.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute path on the host; must exist.
    pub source: PathBuf,
    /// Absolute path inside; made if the root is ours (`Root::Host`).
    pub target: PathBuf,
}

/// What `/` is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Root {
    /// A small read-only tmpfs with these parts of the host, all read-only, and a generated `/etc`.
    Host {
        /// Such as `/usr`; `/bin`, `/lib`, `/lib64`, `/sbin` follow as links or binds, as on the host.
        binds: Vec<Bind>,
    },
    /// A flattened image, read-only.
    Image {
        /// Its folder on the host.
        folder: PathBuf,
    },
}

/// A folder of the host, or a file, which belongs to the sandbox's user then. Ids on disk are those inside, whichever range of host ids the
/// sandbox has. A file system that cannot map ids (the launcher warns of it at start) keeps host ids:
/// then what one sandbox wrote, another can read and not change.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Volume {
    /// Absolute path on the host; the launcher gives its top folder to the sandbox's user, if it can be
    /// written, and a file always.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// As whom the program runs, in the sandbox's own user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum User {
    /// These ids, 0 to 65 535.
    Ids {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// A name, `name:group` or numbers as an image says it, looked up in its `/etc/passwd`.
    Named(String),
}

/// What can be made of a sandbox before it is known what shall run in it: its namespaces, what it sees
/// as `/`, and its listeners.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Host name inside; one is made up if this is empty.
    pub hostname: String,
    /// What `/` is.
    pub root: Root,
    /// Read-only binds on top of the root.
    pub binds: Vec<Bind>,
    /// Empty folders inside where the assignment may bind code; at most 64.
    pub places: Vec<PathBuf>,
    /// Folders that can be written, and files.
    pub volumes: Vec<Volume>,
    /// As whom.
    pub user: User,
    /// Lines of `/etc/hosts` besides localhost.
    pub hosts: Vec<(String, IpAddr)>,
    /// Listeners to make inside its network namespace (loopback addresses); at most 64.
    pub listen: Vec<SocketAddr>,
    /// Whether the program listens itself. Then `listen` does not take ports away from it: not even
    /// from a program that listens on every address (needs BPF `sk_lookup`, Linux 5.9; without it the
    /// ports are taken).
    pub serves: bool,
    /// Whether what it sends elsewhere is taken (see [`crate::Egress`]); without, only loopback can be
    /// reached. Ask only if [`crate::Launcher::can_egress`]: else the start fails. TCP and UDP port 53 of
    /// 127.0.0.53 are taken then.
    pub egress: bool,
    /// Files that one process may have open. Part of the shape, since only a process itself can
    /// lower it.
    pub files: u32,
}

/// Most listeners.
pub(crate) const LISTENERS_MAX: usize = 64;

impl Shape {
    /// Checks every bound. The launcher does so again: it trusts nobody.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !self.hostname.is_empty() {
            check_host(&self.hostname)?;
        }
        within("addresses", self.hosts.len(), 256)?;
        self.hosts
            .iter()
            .try_for_each(|(name, _)| check_host(name))?;
        within("listeners", self.listen.len(), LISTENERS_MAX)?;
        if let Some(other) = self
            .listen
            .iter()
            .find(|address| !address.ip().is_loopback())
        {
            return Err(format!("{other} is not a loopback address"));
        }
        self.check_user()?;
        self.check_mounts()
    }

    /// Whether nothing of its file system can be shared with the next sandbox: something is mounted
    /// beneath `/tmp`, which is each sandbox's own.
    pub(crate) fn is_unique(&self) -> bool {
        let targets = self.binds.iter().map(|bind| &bind.target);
        let targets = targets.chain(self.volumes.iter().map(|volume| &volume.target));
        targets
            .chain(&self.places)
            .any(|target| target.starts_with("/tmp"))
    }

    /// Whether a sandbox of the other shape sees the same: all but the listeners is alike.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        let alike = Self {
            listen: other.listen.clone(),
            serves: other.serves,
            ..self.clone()
        };
        alike == *other
    }

    fn check_user(&self) -> Result<(), String> {
        match &self.user {
            User::Ids { uid, gid } if *uid.max(gid) > 65_535 => {
                Err(format!("the user {uid}:{gid} is past 65535"))
            }
            User::Named(name) if name.len() > 256 => Err("the user's name is too long".to_owned()),
            _ => Ok(()),
        }
    }

    fn check_mounts(&self) -> Result<(), String> {
        let root: &[Bind] = match &self.root {
            Root::Host { binds } => binds,
            Root::Image { folder } => {
                check_path(folder)?;
                &[]
            }
        };
        within("parts of the host", root.len(), MOUNTS_MAX)?;
        within("binds", self.binds.len(), MOUNTS_MAX)?;
        within("places", self.places.len(), MOUNTS_MAX)?;
        within("volumes", self.volumes.len(), MOUNTS_MAX)?;
        for bind in root.iter().chain(&self.binds) {
            check_path(&bind.source)?;
            check_bind(&bind.target)?;
        }
        for volume in &self.volumes {
            check_path(&volume.source)?;
            check_target(&volume.target)?;
        }
        self.places.iter().try_for_each(|place| check_target(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounds::tests::{Change, bind, refused};

    fn shape() -> Shape {
        Shape {
            hostname: "box".to_owned(),
            root: Root::Host { binds: Vec::new() },
            binds: Vec::new(),
            places: Vec::new(),
            volumes: Vec::new(),
            user: User::Ids {
                uid: 1000,
                gid: 1000,
            },
            hosts: vec![("catalog".to_owned(), IpAddr::from([127, 0, 1, 1]))],
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 9001))],
            serves: false,
            egress: false,
            files: 1024,
        }
    }

    #[test]
    fn each_bound_of_a_shape_is_named() {
        let cases: [Change<Shape>; 10] = [
            (|s| s.hostname = "a b".to_owned(), "host name"),
            (|s| s.hosts[0].0 = "a\n1.2.3.4 b".to_owned(), "host name"),
            (|s| s.listen = vec![s.listen[0]; 65], "listeners"),
            (
                |s| s.listen[0] = SocketAddr::from(([0, 0, 0, 0], 1)),
                "loopback",
            ),
            (
                |s| {
                    s.user = User::Ids {
                        uid: 0,
                        gid: 65_536,
                    }
                },
                "65535",
            ),
            (|s| s.binds = vec![bind("/a/../b", "/c")], "plain absolute"),
            (|s| s.binds = vec![bind("/a", "/proc/self")], "mounted on"),
            (|s| s.places = vec!["/dev/x".into()], "mounted on"),
            (|s| s.places = vec!["/sys/fs/cgroup".into()], "mounted on"),
            (|s| s.binds = vec![bind("/a", "/sys/fs")], "mounted on"),
        ];
        for (change, word) in cases {
            refused(shape(), change, Shape::check, word);
        }
    }

    #[test]
    fn what_is_told_of_the_control_group_may_be_bound() {
        let mut shape = shape();
        shape.binds = vec![bind("/a", "/sys/fs/cgroup")];
        assert_eq!(shape.check(), Ok(()));
    }

    #[test]
    fn what_lies_beneath_tmp_makes_a_shape_unique() {
        let mut shape = shape();
        assert!(!shape.is_unique());
        shape.places.push("/tmp/code".into());
        assert!(shape.is_unique());
    }
}
