//! How a child that begins in the launcher's memory gets a table of descriptors of its own.
//!
//! To copy the launcher's table and close what is not the child's costs time for each descriptor, and the
//! launcher has several for each sandbox. So the child shares the table at first, puts what it keeps at low
//! numbers that are reserved for that, and lets the kernel copy no more than those.

use crate::kernel;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};

/// Most descriptors that a child keeps.
const MOST: usize = 12;

/// The reserved numbers, in ascending order, with nothing of interest behind them.
pub(crate) struct Reserved {
    places: Vec<OwnedFd>,
    /// What is put back there.
    nothing: OwnedFd,
}

impl Reserved {
    /// Call it before anything else is open: the lower the numbers, the less is copied.
    pub(crate) fn new(nothing: OwnedFd) -> io::Result<Self> {
        let places = (0..MOST).map(|_| rustix::io::fcntl_dupfd_cloexec(&nothing, 3));
        let places = places.collect::<Result<_, _>>()?;
        Ok(Self { places, nothing })
    }

    /// In the child, while it shares the launcher's table: from now on it has its own, with what is in `keep`,
    /// at the same numbers, and what is open at numbers up to those that are reserved.
    pub(crate) fn part(&self, keep: &[RawFd]) -> io::Result<()> {
        let places = self.places.get(..keep.len());
        let places = places.ok_or_else(|| io::Error::other("too many descriptors to keep"))?;
        let pairs = || keep.iter().zip(places);
        for (fd, place) in pairs() {
            kernel::duplicate_as(*fd, place.as_raw_fd())?;
        }
        let end = places.last().map_or(2, |place| place.as_raw_fd());
        kernel::unshare_descriptors(end)?;
        for (fd, place) in pairs() {
            kernel::duplicate_as(place.as_raw_fd(), *fd)?;
        }
        Ok(())
    }

    /// In the launcher, when the child has a table of its own or has ended: lets go of what it kept.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let nothing = self.nothing.as_raw_fd();
        let mut places = self.places.iter();
        places.try_for_each(|place| kernel::duplicate_as(nothing, place.as_raw_fd()))
    }
}
