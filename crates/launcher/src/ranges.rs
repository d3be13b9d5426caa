//! How the host's user ids are divided among sandboxes.
//!
//! A launcher of the host's root gives each sandbox 65 536 ids. One that has only what a user namespace
//! maps, such as the 65 536 subordinate ids of an ordinary user, gives each few: [`FEW`]. A sandbox's
//! processes have one user id and cannot change it, so they lose nothing by that.

use crate::root::Ids;
use std::io;

/// First host id of the first range of the host's root. 0x7000_0000 to 0x7fff_ffff is used by nobody else
/// (systemd's table "UIDs and GIDs").
const FIRST: u32 = 0x7000_0000;
/// Largest id of a sandbox, and one: a range of the host's root has as many.
pub(crate) const IDS: u32 = 0x1_0000;
/// Ranges of the host's root: most sandboxes that can run at one time.
const RANGES: u32 = 0x1000;
/// Ids inside that follow one another: the first, and how many.
type Extent = (u32, u32);
const ALL: [Extent; 1] = [(0, IDS)];
/// Root and the distributions' own users, the first users of a machine and those near them (`node`,
/// `postgres`), `nonroot` and `nobody`: 128.
const FEW: [Extent; 3] = [(0, 112), (995, 12), (65_532, 4)];

/// The ids that this process can give away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ranges {
    first: u32,
    count: u32,
    extents: &'static [Extent],
}

impl Ranges {
    /// What the user namespace of this process maps.
    pub(crate) fn find() -> io::Result<Self> {
        let maps = ["/proc/self/uid_map", "/proc/self/gid_map"];
        let [users, groups] = maps.map(std::fs::read_to_string);
        Self::within(&users?, &groups?).ok_or_else(|| {
            io::Error::other(format!(
                "this user namespace maps fewer than {} user and group ids besides its own; give the \
                 user more in /etc/subuid and /etc/subgid",
                size(&FEW)
            ))
        })
    }

    /// For the maps as user_namespaces(7) writes them.
    fn within(users: &str, groups: &str) -> Option<Self> {
        let (users, groups) = (mapped(users), mapped(groups));
        let own = (FIRST, RANGES * IDS);
        let has = |extents: &[Extent]| extents.iter().any(|one| common(*one, own) == Some(own));
        if has(&users) && has(&groups) {
            return Some(Self {
                first: FIRST,
                count: RANGES,
                extents: &ALL,
            });
        }
        // Not 0: that is the launcher's own.
        let pairs = users
            .iter()
            .flat_map(|user| groups.iter().map(move |group| (*user, *group)));
        let (first, length) = pairs
            .filter_map(|(user, group)| common(common(user, group)?, (1, u32::MAX - 1)))
            .max_by_key(|(_, length)| *length)?;
        let count = (length / size(&FEW)).min(RANGES);
        (count > 0).then_some(Self {
            first,
            count,
            extents: &FEW,
        })
    }

    /// How many sandboxes can have one each.
    pub(crate) fn count(self) -> u32 {
        self.count
    }

    /// Whether these are those of the host's root.
    pub(crate) fn are_whole(self) -> bool {
        self.extents == ALL
    }

    /// The first host id of the range `number`, counted around from a start that `seed` chooses: so two
    /// servers seldom meet in one.
    pub(crate) fn base(self, seed: u64, number: u32) -> u32 {
        let offset = (seed % u64::from(self.count)) as u32;
        self.first + (offset + number) % self.count * size(self.extents)
    }

    /// The lines for `uid_map` and `gid_map` of the range that begins at `base`.
    pub(crate) fn map(self, base: u32) -> String {
        let mut host = base;
        let mut text = String::new();
        for (inside, length) in self.extents {
            text.push_str(&format!("{inside} {host} {length}\n"));
            host += length;
        }
        text
    }

    /// The host id of `inside` in the range that begins at `base`; none if the range has none for it.
    pub(crate) fn host(self, base: u32, inside: u32) -> Option<u32> {
        let mut host = base;
        for (first, length) in self.extents {
            if let Some(offset) = inside.checked_sub(*first).filter(|o| o < length) {
                return Some(host + offset);
            }
            host += length;
        }
        None
    }

    /// Leaves out supplementary groups that no range has.
    ///
    /// # Errors
    /// Names the user or group that none has.
    pub(crate) fn check(self, ids: &mut Ids) -> Result<(), String> {
        for (what, id) in [("user", ids.uid), ("group", ids.gid)] {
            if self.host(0, id).is_none() {
                return Err(format!(
                    "the {what} id {id} cannot be had without root, only {}; run the program as one of \
                     these, or start rouse as root",
                    self.shown()
                ));
            }
        }
        ids.groups.retain(|group| self.host(0, *group).is_some());
        Ok(())
    }

    fn shown(self) -> String {
        let shown = self
            .extents
            .iter()
            .map(|(first, length)| format!("{first} to {}", first + length - 1));
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// Most sandboxes that the user ids of this process keep apart at one time, those that wait and zygotes included;
/// `None` if it cannot be told. Ask after [`crate::enter_without_root`].
pub fn most_sandboxes() -> Option<u32> {
    Ranges::find().ok().map(Ranges::count)
}

fn size(extents: &[Extent]) -> u32 {
    extents.iter().map(|(_, length)| length).sum()
}

/// What both have; none if that is nothing.
fn common(one: Extent, other: Extent) -> Option<Extent> {
    let first = one.0.max(other.0);
    let end = one
        .0
        .saturating_add(one.1)
        .min(other.0.saturating_add(other.1));
    (end > first).then(|| (first, end - first))
}

/// The ids that a map has inside, neighbours put together.
fn mapped(map: &str) -> Vec<Extent> {
    let mut found: Vec<Extent> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let first = fields.next()?.parse().ok()?;
            Some((first, fields.nth(1)?.parse().ok()?))
        })
        .collect();
    found.sort_unstable();
    let mut joined: Vec<Extent> = Vec::with_capacity(found.len());
    for (first, length) in found {
        match joined.last_mut() {
            Some(last) if last.0.saturating_add(last.1) == first => {
                last.1 = last.1.saturating_add(length);
            }
            _ => joined.push((first, length)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HOST: &str = "         0          0 4294967295\n";
    const USER: &str = "0 1000 1\n1 100000 65536\n";

    fn ids(uid: u32, gid: u32, groups: &[u32]) -> Ids {
        Ids {
            uid,
            gid,
            groups: groups.to_vec(),
        }
    }

    #[test]
    fn the_hosts_root_gives_whole_ranges() {
        let ranges = Ranges::within(HOST, HOST).unwrap();
        assert!(ranges.are_whole());
        assert_eq!(ranges.count(), 4096);
        assert_eq!(ranges.base(0, 1), 0x7001_0000);
        assert_eq!(ranges.base(4095, 1), 0x7000_0000);
        assert_eq!(ranges.map(0x7000_0000), "0 1879048192 65536\n");
        assert_eq!(ranges.host(10, 65_535), Some(65_545));
        assert_eq!(ranges.host(10, 65_536), None);
    }

    #[test]
    fn an_ordinary_user_gives_few_of_each() {
        let ranges = Ranges::within(USER, USER).unwrap();
        assert!(!ranges.are_whole());
        assert_eq!(ranges.count(), 512);
        let base = ranges.base(0, 1);
        assert_eq!(base, 129);
        assert_eq!(ranges.map(base), "0 129 112\n995 241 12\n65532 253 4\n");
        let hosts = [0, 111, 112, 1000, 65_535].map(|id| ranges.host(base, id));
        assert_eq!(hosts, [Some(129), Some(240), None, Some(246), Some(256)]);
        let mut told = ids(1000, 0, &[33, 500]);
        ranges.check(&mut told).unwrap();
        assert_eq!(told, ids(1000, 0, &[33]));
        let refused = ranges.check(&mut ids(0, 500, &[])).unwrap_err();
        assert!(refused.contains("group id 500") && refused.contains("995 to 1006"));
    }

    #[test]
    fn one_id_is_too_few() {
        assert_eq!(Ranges::within("0 1000 1\n", "0 1000 1\n"), None);
        assert_eq!(Ranges::within(USER, "0 1000 1\n"), None);
        let shifted = Ranges::within("0 5 300\n", "0 5 200\n150 700 50\n").unwrap();
        assert_eq!((shifted.first, shifted.count()), (1, 1));
    }

    proptest::proptest! {
        #[test]
        fn no_id_is_in_two_ranges(
            length in 128_u32..400_000, seed: u64, a: u32, b: u32, x in 0_u32..65_536, y in 0_u32..65_536,
        ) {
            let map = format!("0 1000 1\n1 100000 {length}\n");
            let ranges = Ranges::within(&map, &map).unwrap();
            let (a, b) = (a % ranges.count(), b % ranges.count());
            let host = |number, id| ranges.host(ranges.base(seed, number), id);
            if let (Some(one), Some(other)) = (host(a, x), host(b, y)) {
                proptest::prop_assert!((1..=length).contains(&one));
                proptest::prop_assert_eq!(one == other, a == b && x == y);
            }
        }
    }
}
