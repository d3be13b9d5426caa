//! A zygote as the server holds it.

use super::Sandbox;
use super::sandbox::exit_of;
use crate::Exit;

/// A program that can be forked into sandboxes ([`Stem::Fork`]). Dropped, it is killed; its forks live
/// on.
pub struct Zygote {
    pub(super) process: Sandbox,
    pub(super) greeting: Vec<u8>,
}

impl Zygote {
    /// What [`Stem::Fork`] names it by.
    pub fn number(&self) -> u64 {
        self.process.number
    }

    /// Its process id as the host sees it.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// What it said when it was ready.
    pub fn greeting(&self) -> &[u8] {
        &self.greeting
    }

    /// Resolves when it has ended; does not keep it.
    pub fn exit(&self) -> impl Future<Output = Exit> + Send + 'static {
        exit_of(self.process.exit.clone())
    }
}
