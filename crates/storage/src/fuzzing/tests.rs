//! The kept corpus, each seed as it is and with changes.

use super::*;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// Names of the corpus in order, and their bytes.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut seeds: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("the corpus {folder:?}: {error}"))
        .map(|entry| entry.expect("a seed").path())
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 10, "{folder:?} has {} seeds", seeds.len());
    let read = |path: PathBuf| (path.clone(), fs::read(path).expect("a seed"));
    seeds.into_iter().map(read).collect()
}

/// One change of a seed.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u32),
    Cut(Index),
    Repeat(Index, Index),
}

impl Edit {
    fn any() -> impl Strategy<Value = Self> {
        let at = any::<Index>;
        prop_oneof![
            4 => (at(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            4 => (at(), 0u32..8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            1 => at().prop_map(Self::Cut),
            1 => (at(), at()).prop_map(|(from, to)| Self::Repeat(from, to)),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        if length == 0 {
            return;
        }
        match self {
            Self::Set(at, byte) => bytes[at.index(length)] = *byte,
            Self::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Self::Cut(at) => bytes.truncate(at.index(length)),
            // By whole blocks, as a tar's entries are.
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(length) / 512, to.index(length) / 512);
                let again = bytes[from.min(to) * 512..from.max(to) * 512].to_vec();
                bytes.extend(again);
            }
        }
    }
}

/// Runs a target on its corpus, and `cases` times on a changed seed. The changes are the same each time.
fn exercise(name: &str, cases: u32) {
    let [target] = TARGETS
        .into_iter()
        .filter(|target| target.0 == name)
        .collect::<Vec<_>>()[..]
    else {
        panic!("no target {name}");
    };
    let seeds = corpus(name);
    for (_, bytes) in &seeds {
        target.1(bytes);
    }
    let mut runner = TestRunner::deterministic();
    let strategy = (any::<Index>(), proptest::collection::vec(Edit::any(), 1..6));
    for _ in 0..cases {
        let drawn = strategy.new_tree(&mut runner).expect("a change").current();
        let mut bytes = seeds[drawn.0.index(seeds.len())].1.clone();
        drawn.1.iter().for_each(|edit| edit.apply(&mut bytes));
        target.1(&bytes);
    }
}

#[test]
fn layers() {
    exercise("layer", 500);
}

#[test]
fn archives_of_images() {
    exercise("image", 150);
}

#[test]
fn zips() {
    exercise("zip", 500);
}

#[test]
fn manifests() {
    exercise("manifest", 3_000);
}

#[test]
fn names() {
    exercise("reference", 3_000);
}
