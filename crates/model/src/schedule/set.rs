//! A set of small numbers.

/// Numbers below 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Set([u64; 4]);

impl Set {
    /// Adds a number; one that does not fit is left out.
    pub(super) fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    /// Whether a number is in it.
    pub(super) fn contains(&self, number: usize) -> bool {
        self.least(number) == Some(number)
    }

    /// The least number in it that is not below `from`.
    pub(super) fn least(&self, from: usize) -> Option<usize> {
        let first = from / 64;
        let words = self.0.iter().enumerate().skip(first);
        let mut masked = words.map(|(index, word)| {
            let mask = if index == first {
                u64::MAX << (from % 64)
            } else {
                u64::MAX
            };
            (index, word & mask)
        });
        let (index, word) = masked.find(|(_, word)| *word != 0)?;
        Some(index * 64 + word.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(numbers in proptest::collection::btree_set(0_usize..256, 0..40), from in 0_usize..300) {
            let mut set = Set::default();
            numbers.iter().for_each(|number| set.insert(*number));
            let reference: BTreeSet<usize> = numbers;
            prop_assert_eq!(set.least(from), reference.range(from..).next().copied());
            prop_assert_eq!(set.contains(from), reference.contains(&from));
        }
    }
}
