//! Keys of functions and services: made once each, random, never derived.

use crate::{Error, Result};
use model::{Credential, FunctionName, Principal};
use rand::TryRngCore;
use rand::rngs::OsRng;
use state::State;

/// Begins every access key id, so that one is told from AWS's own.
const PREFIX: &str = "ROUSE";
const UPPER: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The principal's keys, made if it has none yet.
pub(crate) async fn ensure(state: &State, principal: Principal) -> Result<Credential> {
    Ok(state.ensure_credential(generate(principal)?).await?)
}

/// The keys of a function that is there, made if it has none yet.
///
/// # Errors
/// `NotFound` when it was deleted.
pub(crate) async fn ensure_of_kept(state: &State, name: &FunctionName) -> Result<Credential> {
    let candidate = generate(Principal::Function { name: name.clone() })?;
    let ensured = state.ensure_function_credential(name.clone(), candidate);
    Ok(ensured.await?)
}

/// A key id of 75 random bits and a secret of 240, from the kernel.
fn generate(principal: Principal) -> Result<Credential> {
    let mut bytes = [0_u8; 55];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Error::Random(error.to_string()))?;
    let (id, secret) = bytes.split_at(15);
    // The alphabets have 32 and 64 letters, so taking low bits is not biased.
    let id: String = id
        .iter()
        .map(|byte| char::from(UPPER[usize::from(byte & 31)]))
        .collect();
    Ok(Credential {
        principal,
        access_key_id: format!("{PREFIX}{id}"),
        secret_access_key: secret
            .iter()
            .map(|byte| char::from(URL_SAFE[usize::from(byte & 63)]))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_have_the_lengths_of_aws_and_differ() {
        let one = generate(Principal::Root).unwrap();
        let two = generate(Principal::Root).unwrap();
        assert_eq!(one.access_key_id.len(), 20);
        assert_eq!(one.secret_access_key.len(), 40);
        assert!(one.access_key_id.starts_with(PREFIX));
        assert_ne!(one.access_key_id, two.access_key_id);
        assert_ne!(one.secret_access_key, two.secret_access_key);
    }
}
