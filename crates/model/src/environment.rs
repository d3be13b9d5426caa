//! Environments: the variables of an instance.

use crate::{Invalid, MAX_ENVIRONMENT};
use std::collections::BTreeMap;

/// Its size in bytes as its bound counts them: each variable with its `=` and its end.
pub fn environment_bytes(environment: &BTreeMap<String, String>) -> usize {
    let sizes = environment
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2);
    sizes.sum()
}

/// Checks names, values and the total size of an environment.
///
/// # Errors
/// Names the first variable that breaks a rule.
pub(crate) fn check(environment: &BTreeMap<String, String>) -> Result<(), Invalid> {
    for (name, value) in environment {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let starts = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
        if !starts || !name.bytes().all(legal) {
            let reason = "must be letters, digits and '_', not beginning with a digit";
            return Err(Invalid::new(
                format!("environment.{}", name.escape_debug()),
                reason,
            ));
        }
        if value.contains('\0') {
            return Err(Invalid::new(
                format!("environment.{name}"),
                "contains a NUL byte",
            ));
        }
    }
    let total = environment_bytes(environment);
    if total > MAX_ENVIRONMENT {
        let reason = format!("is {total} bytes, more than {MAX_ENVIRONMENT}");
        return Err(Invalid::new("environment", reason));
    }
    Ok(())
}
