//! A sandbox that waits.

use super::Sandbox;
use crate::error::{Error, Result};
use crate::wire::{self, Request};
use crate::{Assignment, Exit};
use tokio::sync::oneshot;

/// A sandbox that waits for its assignment. Dropped, it is killed.
pub struct Armed {
    pub(super) sandbox: Sandbox,
}

impl Armed {
    /// Whether it still waits.
    pub fn is_alive(&self) -> bool {
        self.sandbox.is_alive()
    }

    /// Resolves when it has ended though nothing was assigned to it.
    pub async fn exited(&self) -> Exit {
        self.sandbox.exited().await
    }

    /// Process id of the process that waits, as the host sees it.
    pub fn pid(&self) -> u32 {
        self.sandbox.pid
    }

    /// Gives it its work. Whether that could begin, [`Sandbox::begun`] tells.
    ///
    /// # Errors
    /// When the assignment is out of bounds, or too long all together.
    pub fn assign(mut self, assignment: Assignment) -> Result<Sandbox> {
        assignment.check().map_err(Error::Invalid)?;
        let number = self.sandbox.number;
        let request = Request::Assign {
            sandbox: number,
            assignment: Box::new(assignment),
        };
        let bytes = wire::encode(&request).map_err(|error| Error::Invalid(error.to_string()))?;
        let (sender, receiver) = oneshot::channel();
        let shared = &self.sandbox.launcher.shared;
        {
            let mut tables = shared.tables();
            // One that has ended already never begins: dropping the sender tells that.
            if tables.exits.contains_key(&number) {
                tables.begun.insert(number, sender);
            }
        }
        self.sandbox.begun = Some(receiver);
        self.sandbox.launcher.send(bytes, None)?;
        Ok(self.sandbox)
    }
}
