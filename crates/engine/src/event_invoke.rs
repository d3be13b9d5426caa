//! How events of a function are delivered: retries and destinations, changed by themselves, for all of
//! them or for those that say a qualifier.

use crate::{Engine, Error, Result};
use model::{Destinations, EventInvoke, FunctionName, Qualifier, RetryPolicy, Target};
use std::collections::BTreeMap;

impl Engine {
    /// Changes how events of a function are delivered. Its instances go on, and its revision id stays.
    /// With the number of a version or an alias it is about events that say so, in the place of what
    /// is said of the function; what was not said of them yet begins with the defaults. What is named as a destination
    /// must be there.
    ///
    /// # Errors
    /// `NotFound` (function or what the qualifier names), `Invalid`, `Refused` (a destination is not there).
    pub async fn change_event_invoke(
        &self,
        name: &FunctionName,
        qualifier: Option<&Qualifier>,
        change: impl FnOnce(&mut RetryPolicy, &mut Destinations),
    ) -> Result<EventInvoke> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let mut function = self.get_function(name).await?;
        let named = named(qualifier);
        if named.is_some() {
            self.get_qualified(name, named).await?;
            let own = corridor.functions.event_invoke(name, named);
            let own = own.unwrap_or_default();
            (function.spec.retry, function.spec.destinations) = (own.retry, own.destinations);
        }
        let spec = &mut function.spec;
        change(&mut spec.retry, &mut spec.destinations);
        spec.check()?;
        self.check_told(&function.spec.destinations).await?;
        let config = EventInvoke {
            retry: function.spec.retry.clone(),
            destinations: function.spec.destinations.clone(),
        };
        match named {
            None => {
                let before = function.revision_id.clone();
                corridor.amend_function(function, &before).await?;
            }
            Some(qualifier) => {
                let kept = Some(config.clone());
                self.keep_event_invoke(name, qualifier, kept).await?;
            }
        }
        Ok(config)
    }

    /// Forgets what is said of events that say a qualifier: what is said of the function holds again.
    ///
    /// # Errors
    /// `NotFound`, the function or what the qualifier names.
    pub async fn delete_event_invoke(
        &self,
        name: &FunctionName,
        qualifier: &Qualifier,
    ) -> Result<()> {
        let _changing = self.corridor.changing.lock().await;
        self.get_qualified(name, Some(qualifier)).await?;
        self.keep_event_invoke(name, qualifier, None).await
    }

    /// What is said of events that say a qualifier, each.
    ///
    /// # Errors
    /// `NotFound`, the function.
    pub async fn list_event_invokes(
        &self,
        name: &FunctionName,
    ) -> Result<BTreeMap<Qualifier, EventInvoke>> {
        self.corridor.functions.event_invokes(name)
    }

    async fn keep_event_invoke(
        &self,
        name: &FunctionName,
        qualifier: &Qualifier,
        config: Option<EventInvoke>,
    ) -> Result<()> {
        let corridor = &self.corridor;
        let (function, named) = (name.clone(), qualifier.clone());
        let kept = corridor
            .state
            .put_event_invoke(function, named, config.clone());
        kept.await?;
        let functions = &corridor.functions;
        functions.put_event_invoke(name, qualifier.clone(), config);
        Ok(())
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

/// A qualifier that names a version or an alias: `$LATEST` is the function itself.
fn named(qualifier: Option<&Qualifier>) -> Option<&Qualifier> {
    qualifier.filter(|qualifier| **qualifier != Qualifier::Latest)
}
