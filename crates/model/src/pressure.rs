//! How short of memory the machine is.

/// How short of memory the machine is, from enough to nearly none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Pressure {
    /// There is enough.
    #[default]
    Calm,
    /// It runs short: nothing is made ahead any more, and some idle instances are stopped.
    High,
    /// The kernel is about to kill: whatever is idle is stopped.
    Critical,
}
