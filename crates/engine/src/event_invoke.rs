//! How events of a function are delivered: retries and destinations, changed by themselves.

use crate::{Engine, Error, Result};
use model::{Destinations, Function, FunctionName, RetryPolicy, Target};

impl Engine {
    /// Changes how events of a function are delivered. Its instances go on, and its revision id stays.
    /// What is named as a destination must be there.
    ///
    /// # Errors
    /// `NotFound` (function), `Invalid`, `Refused` (a destination is not there).
    pub async fn change_event_invoke(
        &self,
        name: &FunctionName,
        change: impl FnOnce(&mut RetryPolicy, &mut Destinations),
    ) -> Result<Function> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let mut function = self.get_function(name).await?;
        let spec = &mut function.spec;
        change(&mut spec.retry, &mut spec.destinations);
        spec.check()?;
        self.check_told(&function.spec.destinations).await?;
        let before = function.revision_id.clone();
        corridor.amend_function(function.clone(), &before).await?;
        Ok(function)
    }

    /// Whether there is what is to be told of the end of events.
    ///
    /// # Errors
    /// `Refused` names the first that is not there.
    pub async fn check_told(&self, destinations: &Destinations) -> Result<()> {
        let letters = destinations.dead_letter.clone();
        let letters = letters.map(|name| Target::Queue { name });
        for target in destinations.targets().chain(&letters) {
            if let Err(error) = self.check_target(target).await {
                return Err(match error.kind() {
                    model::Kind::NotFound => Error::Refused(format!(
                        "the destination {target} does not exist; make it first"
                    )),
                    _ => error,
                });
            }
        }
        Ok(())
    }
}
