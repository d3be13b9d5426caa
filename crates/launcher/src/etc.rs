//! The files in `/etc` that name users and hosts.

use crate::error::{Failure, Step};
use crate::network::NAME_SERVER;
use crate::root::{Ids, open_regular};
use crate::skeleton::Skeleton;
use crate::{Shape, User};
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::fd::OwnedFd;

/// Most of `/etc/passwd` or `/etc/group` that is read: 1 MiB.
const READ_MAX: u64 = 1024 * 1024;

/// Writes them into the skeleton. What belongs to the instance replaces the image's; what only names
/// users is written where there is none.
pub(crate) fn write(skeleton: &Skeleton, shape: &Shape, hostname: &str) -> Result<(), Failure> {
    let own = [
        ("etc/hosts", hosts(shape, hostname)),
        ("etc/hostname", format!("{hostname}\n")),
        ("etc/resolv.conf", resolv_conf(shape)),
    ];
    let fallback = [
        ("etc/passwd", passwd(shape)),
        ("etc/group", group(shape)),
        (
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n".to_owned(),
        ),
    ];
    let missing = fallback.iter().filter(|(path, _)| !skeleton.in_image(path));
    for (path, text) in own.iter().chain(missing) {
        skeleton.file(path, text).step(format!("writing /{path}"))?;
    }
    Ok(())
}

fn hosts(shape: &Shape, hostname: &str) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n".to_owned();
    let _ = writeln!(text, "127.0.0.1 {hostname}");
    for (name, address) in &shape.hosts {
        let _ = writeln!(text, "{address} {name}");
    }
    text
}

fn resolv_conf(shape: &Shape) -> String {
    match shape.egress {
        true => format!("nameserver {NAME_SERVER}\n"),
        false => "# no name server can be reached\n".to_owned(),
    }
}

fn ids_of(shape: &Shape) -> (u32, u32) {
    match shape.user {
        User::Ids { uid, gid } => (uid, gid),
        User::Named(_) => (0, 0),
    }
}

fn passwd(shape: &Shape) -> String {
    let (uid, gid) = ids_of(shape);
    let mut text = "root:x:0:0:root:/root:/bin/sh\n".to_owned();
    if uid != 0 && uid != 65534 {
        let _ = writeln!(text, "app:x:{uid}:{gid}:app:/tmp:/bin/sh");
    }
    text + "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
}

fn group(shape: &Shape) -> String {
    let (_, gid) = ids_of(shape);
    let mut text = "root:x:0:\n".to_owned();
    if gid != 0 && gid != 65534 {
        let _ = writeln!(text, "app:x:{gid}:");
    }
    text + "nogroup:x:65534:\n"
}

/// Turns `user` into numbers, with the `/etc/passwd` and `/etc/group` of `root`.
pub(crate) fn ids(root: &OwnedFd, user: &User) -> Result<Ids, Failure> {
    let text = match user {
        User::Ids { uid, gid } => {
            return Ok(Ids {
                uid: *uid,
                gid: *gid,
                groups: Vec::new(),
            });
        }
        User::Named(text) => text,
    };
    let read = |path: &str| {
        let mut text = Vec::new();
        if let Ok(file) = open_regular(root, path) {
            // Unreadable is as good as missing: the name is not found then, and that is said.
            let _ = file.take(READ_MAX).read_to_end(&mut text);
        }
        String::from_utf8_lossy(&text).into_owned()
    };
    look_up(text, &read("etc/passwd"), &read("etc/group"))
        .map_err(|reason| Failure::new(format!("looking up the user \"{text}\""), reason))
}

/// `user`, `user:group`, each a name or a number, as an image's configuration has it.
fn look_up(text: &str, passwd: &str, group: &str) -> Result<Ids, String> {
    let (name, group_name) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (text, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = lines(passwd).find(|f| f.first() == Some(&name) || f.get(2) == Some(&name));
    let field = |index: usize| {
        let entry = entry.as_ref()?;
        entry.get(index)?.parse::<u32>().ok()
    };
    let uid = match name.parse() {
        Ok(number) => number,
        Err(_) => field(2).ok_or("the image's /etc/passwd has no such user")?,
    };
    let gid = match group_name {
        None => field(3).unwrap_or(0),
        Some(name) => match name.parse() {
            Ok(number) => number,
            Err(_) => lines(group)
                .find(|f| f.first() == Some(&name))
                .and_then(|f| f.get(2)?.parse().ok())
                .ok_or_else(|| format!("the image's /etc/group has no group \"{name}\""))?,
        },
    };
    let login = entry.as_ref().and_then(|f| f.first().copied());
    let groups = lines(group)
        .filter(|f| {
            let members = f.get(3).copied().unwrap_or_default();
            group_name.is_none() && login.is_some_and(|l| members.split(',').any(|m| m == l))
        })
        .filter_map(|f| f.get(2)?.parse().ok())
        .filter(|gid| *gid < crate::ranges::IDS)
        .take(64)
        .collect();
    if uid >= crate::ranges::IDS || gid >= crate::ranges::IDS {
        return Err(format!("ids up to {} can be used", crate::ranges::IDS - 1));
    }
    Ok(Ids { uid, gid, groups })
}

fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|line| line.split(':').collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PASSWD: &str = "root:x:0:0::/:/bin/sh\nweb:x:101:102::/:/bin/sh\nbroken\n::::\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nlogs:x:103:other,web\nhuge:x:70000:web\n";

    fn ids(uid: u32, gid: u32, groups: &[u32]) -> Ids {
        Ids {
            uid,
            gid,
            groups: groups.to_vec(),
        }
    }

    #[test]
    fn users_are_found_as_an_image_names_them() {
        let find = |text| look_up(text, PASSWD, GROUP);
        assert_eq!(find("web").unwrap(), ids(101, 102, &[103]));
        assert_eq!(find("101").unwrap(), ids(101, 102, &[103]));
        assert_eq!(find("web:logs").unwrap(), ids(101, 103, &[]));
        assert_eq!(find("7:9").unwrap(), ids(7, 9, &[]));
        assert_eq!(find("7").unwrap(), ids(7, 0, &[]));
        assert_eq!(find("").unwrap(), ids(0, 0, &[]));
        assert!(find("nobody").unwrap_err().contains("/etc/passwd"));
        assert!(find("web:none").unwrap_err().contains("/etc/group"));
        assert!(find("70000").unwrap_err().contains("65535"));
    }

    proptest::proptest! {
        #[test]
        fn a_hostile_image_gets_no_other_ids(user in ".{0,40}", passwd in "[a-z0-9:,\n]{0,200}", group in "[a-z0-9:,\n]{0,200}") {
            if let Ok(ids) = look_up(&user, &passwd, &group) {
                proptest::prop_assert!(ids.uid <= 65_535 && ids.gid <= 65_535);
                proptest::prop_assert!(ids.groups.iter().all(|gid| *gid <= 65_535));
                proptest::prop_assert!(ids.groups.len() <= 64);
            }
        }
    }
}
