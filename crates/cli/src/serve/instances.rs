//! How many instances of functions a server has at most.

/// Unless somebody says otherwise, or the user's ids are too few.
const DEFAULT: u32 = 1000;

/// What was chosen; else as many as there are sandboxes for, where half are left to services, those that wait, and
/// zygotes.
pub(super) fn most(chosen: Option<u32>, sandboxes: Option<u32>) -> u32 {
    let possible = sandboxes.map_or(DEFAULT, |most| (most / 2).max(1));
    chosen.unwrap_or(DEFAULT.min(possible))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_the_ids_are_enough_for() {
        assert_eq!(most(None, Some(512)), 256);
        assert_eq!(most(None, Some(4096)), 1000);
        assert_eq!(most(None, None), 1000);
        assert_eq!(most(None, Some(1)), 1);
        assert_eq!(most(Some(700), Some(512)), 700);
    }
}
