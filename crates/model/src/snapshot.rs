//! Functions that are initialised once for all of their instances.

use crate::{Contract, Invalid, RuntimeName};
use serde::{Deserialize, Serialize};

/// From what an instance begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// Each instance initialises the function itself.
    #[default]
    None,
    /// Each revision is initialised once, and each instance is a fork of that.
    Init,
}

impl Snapshot {
    /// Whether a function of this runtime and contract can have it.
    ///
    /// # Errors
    /// Says why not.
    pub fn check(self, runtime: RuntimeName, contract: Contract) -> Result<(), Invalid> {
        let why = match (self, contract, runtime) {
            (Self::None, ..) | (Self::Init, Contract::Lambda, RuntimeName::Python311) => {
                return Ok(());
            }
            (Self::Init, Contract::Http, _) => {
                "a server that listens already cannot be forked: use contract lambda"
            }
            (Self::Init, Contract::Lambda, RuntimeName::Nodejs20) => {
                "Node.js has threads and cannot be forked"
            }
            (Self::Init, Contract::Lambda, RuntimeName::Provided) => {
                "a program of your own is not forked by the platform"
            }
            (Self::Init, Contract::Lambda, RuntimeName::Image) => {
                "an image's program is not forked by the platform: deploy the code as a folder"
            }
        };
        let reason = format!("is init, which only python3.11 can have: {why}");
        Err(Invalid::new("snapshot", reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_forked_is_refused_with_the_reason() {
        let check = |runtime, contract| Snapshot::Init.check(runtime, contract);
        assert_eq!(check(RuntimeName::Python311, Contract::Lambda), Ok(()));
        for (runtime, contract, word) in [
            (RuntimeName::Nodejs20, Contract::Lambda, "threads"),
            (RuntimeName::Provided, Contract::Lambda, "of your own"),
            (RuntimeName::Image, Contract::Lambda, "image's program"),
            (RuntimeName::Python311, Contract::Http, "contract lambda"),
        ] {
            let refused = check(runtime, contract).err();
            let told = refused.is_some_and(|invalid| invalid.reason.contains(word));
            assert!(told, "{runtime:?} {contract:?}");
            assert_eq!(Snapshot::None.check(runtime, contract), Ok(()));
        }
    }
}
