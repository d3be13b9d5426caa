//! Which parts of an image's or code's files its last starts had in memory, so that they can be read in
//! again. Kept beside the files; a list that is missing or damaged is no list.
//!
//! The file: `rouse-warm 1` and a line feed, the first 8 bytes of the SHA-256 of what follows, the number
//! of files (`u32`), and for each the length of its path (`u16`), the path below the root, the number of
//! its parts (`u16`), and for each part its first block and how many there are (two `u32`). A block has
//! 4096 bytes, whatever the page. All numbers are little-endian.

use crate::entry_path::{Dialect, EntryPath, MAX_PATH};
use sha2::{Digest as _, Sha256};
use std::ops::Range;

/// Most bytes of a list's file: 1 MiB.
pub(crate) const MAX_SIZE: usize = 1 << 20;
/// Most files of a list.
const MAX_FILES: usize = 8192;
/// Most parts of one file; one in more parts counts as one from the first to the last.
const MAX_PARTS: usize = 256;
/// Bytes of a block.
const BLOCK: u64 = 4096;
/// What lies between two parts is taken in if it is no more than so many bytes: one read instead of two.
const GAP: u64 = 32 * 1024;
const MAGIC: &[u8] = b"rouse-warm 1\n";
const CHECKSUM: usize = 8;

/// Parts of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Warm {
    /// Below the root.
    pub(crate) path: Vec<u8>,
    /// First block and number of blocks; ascending.
    parts: Vec<(u32, u32)>,
}

impl Warm {
    /// `None` without any part, or if the path is too long to be kept. `parts`: in bytes, ascending.
    pub(crate) fn new(path: Vec<u8>, parts: &[Range<u64>]) -> Option<Self> {
        let mut near: Vec<Range<u64>> = Vec::new();
        for part in parts {
            match near.last_mut() {
                Some(last) if part.start <= last.end.saturating_add(GAP) => last.end = part.end,
                _ => near.push(part.clone()),
            }
        }
        if near.len() > MAX_PARTS
            && let (Some(first), Some(last)) = (near.first(), near.last())
        {
            near = vec![Range {
                start: first.start,
                end: last.end,
            }];
        }
        let blocks = |part: &Range<u64>| {
            let first = part.start / BLOCK;
            let count = part.end.div_ceil(BLOCK).checked_sub(first)?;
            Some((u32::try_from(first).ok()?, u32::try_from(count).ok()?))
        };
        let parts: Vec<_> = near.iter().filter_map(blocks).collect();
        (!parts.is_empty() && path.len() <= MAX_PATH).then_some(Self { path, parts })
    }

    /// In bytes.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Range<u64>> {
        self.parts.iter().map(|(first, count)| {
            let start = u64::from(*first) * BLOCK;
            start..start + u64::from(*count) * BLOCK
        })
    }

    /// Bytes of all parts.
    pub(crate) fn bytes(&self) -> u64 {
        let blocks = self.parts.iter().map(|(_, count)| u64::from(*count));
        blocks.sum::<u64>() * BLOCK
    }

    /// Bytes that it takes in a list.
    fn size(&self) -> usize {
        4 + self.path.len() + 8 * self.parts.len()
    }
}

/// As a file; the first that fit, if there are too many.
pub(crate) fn encode(files: &[Warm]) -> Vec<u8> {
    let mut room = MAX_SIZE - MAGIC.len() - CHECKSUM - 4;
    let fits = |file: &&Warm| {
        let left = room.checked_sub(file.size());
        room = left.unwrap_or(0);
        left.is_some()
    };
    let files: Vec<&Warm> = files.iter().take(MAX_FILES).take_while(fits).collect();
    // All three are bounded far below what these numbers hold.
    let mut body = (files.len() as u32).to_le_bytes().to_vec();
    for file in files {
        body.extend((file.path.len() as u16).to_le_bytes());
        body.extend(&file.path);
        body.extend((file.parts.len() as u16).to_le_bytes());
        for (first, count) in &file.parts {
            body.extend(first.to_le_bytes());
            body.extend(count.to_le_bytes());
        }
    }
    [MAGIC, checksum(&body).as_slice(), &body].concat()
}

/// From a file; `None` if it is not one of these, of another version, or damaged.
pub(crate) fn parse(bytes: &[u8]) -> Option<Vec<Warm>> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (sum, body) = rest.split_at_checked(CHECKSUM)?;
    if bytes.len() > MAX_SIZE || sum != checksum(body) {
        return None;
    }
    let mut body = body;
    let count = number(&mut body)?;
    let mut files = Vec::new();
    for _ in 0..count {
        let length = short(&mut body)?;
        let (path, rest) = body.split_at_checked(length)?;
        body = rest;
        EntryPath::parse(path, Dialect::Layer).ok()?;
        let mut parts = Vec::new();
        for _ in 0..short(&mut body)? {
            parts.push((number(&mut body)?, number(&mut body)?));
        }
        let path = path.to_vec();
        files.push(Warm { path, parts });
    }
    body.is_empty().then_some(files)
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(body);
    let mut sum = [0; CHECKSUM];
    sum.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    sum
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*first))
}

fn short(bytes: &mut &[u8]) -> Option<usize> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(usize::from(u16::from_le_bytes(*first)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lists() -> impl Strategy<Value = Vec<Warm>> {
        let parts = prop::collection::vec((0..1_u64 << 30, 1..1_u64 << 20), 1..20);
        let file = ("[a-z]{1,9}(/[a-z.ü]{3,9}){0,3}", parts).prop_map(|(path, parts)| {
            let mut at = 0;
            let parts: Vec<_> = parts
                .into_iter()
                .map(|(gap, length)| {
                    let start = at + gap;
                    at = start + length;
                    start..at
                })
                .collect();
            Warm::new(path.into_bytes(), &parts).unwrap()
        });
        prop::collection::vec(file, 0..20)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(files in lists()) {
            prop_assert_eq!(parse(&encode(&files)), Some(files));
        }

        #[test]
        fn a_damaged_list_is_none(files in lists(), at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in any::<bool>()) {
            let mut bytes = encode(&files);
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << bit;
            }
            prop_assert_eq!(parse(&bytes), None);
        }

        #[test]
        fn anything_behind_a_right_checksum_is_read_or_none(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [MAGIC, &checksum(&body), &body].concat();
            for file in parse(&bytes).unwrap_or_default() {
                prop_assert!(file.parts().all(|part| part.start <= part.end));
            }
        }
    }

    #[test]
    fn near_parts_are_one_and_many_are_one() {
        let of = |parts: &[Range<u64>]| {
            let warm = Warm::new(b"a".to_vec(), parts)?;
            Some(warm.parts().collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[0..4096, 8192..12288]), Some(vec![0..12288]));
        let apart = 2 * GAP..2 * GAP + 1;
        let block = 2 * GAP..2 * GAP + BLOCK;
        assert_eq!(of(&[0..1, apart]), Some(vec![0..BLOCK, block]));
        let step = |n: u64| n * 10 * GAP..n * 10 * GAP + BLOCK;
        let many: Vec<_> = (1..=300).map(step).collect();
        assert_eq!(of(&many), Some(vec![10 * GAP..3000 * GAP + BLOCK]));
    }

    #[test]
    fn a_list_has_a_bound_and_names_nothing_outside() {
        let long = |n: usize| {
            let path = format!("{n:0199}/").repeat(20);
            Warm::new(path.into_bytes(), &[0..1]).unwrap()
        };
        let files: Vec<_> = (0..400).map(long).collect();
        let bytes = encode(&files);
        assert!(bytes.len() <= MAX_SIZE);
        let read = parse(&bytes).unwrap();
        assert!(read.len() > 200 && files.starts_with(&read));
        let outside = Warm::new(b"../secret".to_vec(), &[0..1]).unwrap();
        assert_eq!(parse(&encode(&[outside])), None);
    }
}
