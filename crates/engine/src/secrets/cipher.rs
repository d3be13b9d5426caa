//! Sealing: XChaCha20-Poly1305, with a random nonce of 24 bytes before the ciphertext. What a value belongs to
//! is authenticated with it, so that none can be put in another's place.

use super::key::SecretKeys;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use sha2_next::{Digest as _, Sha256};

/// Bytes of a nonce: long enough to be drawn at random.
const NONCE: usize = 24;

/// One key.
#[derive(Clone)]
pub(crate) struct Key {
    id: String,
    cipher: XChaCha20Poly1305,
}

impl Key {
    pub(super) fn new(bytes: [u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"rouse secrets key id");
        hash.update(bytes);
        let id = hex::encode(&hash.finalize()[..8]);
        Self {
            id,
            cipher: XChaCha20Poly1305::new(&bytes.into()),
        }
    }

    /// Tells keys apart and tells nothing of this one: part of a hash of its 256 random bits.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// What a sealed value belongs to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Belongs<'a> {
    /// `secret`, `config` or `upstream`.
    pub(crate) what: &'a str,
    pub(crate) name: &'a str,
    /// Of which of its revisions.
    pub(crate) revision_id: &'a str,
}

impl Belongs<'_> {
    /// No two are the same bytes: names and ids have no NUL.
    fn bytes(self) -> Vec<u8> {
        let parts = ["rouse/1", self.what, self.name, self.revision_id];
        parts.join("\0").into_bytes()
    }
}

/// A value that only the holder of the key can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) key_id: String,
    pub(crate) bytes: Vec<u8>,
}

/// Why one cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The key is not here.
    #[error(
        "it is sealed by a key that is not in the server's key file: give the right file (`rouse serve \
         --secrets-key FILE`), or set it anew"
    )]
    OtherKey,
    /// The key is, and the bytes are not what it sealed for this.
    #[error("what is kept of it was changed: set it anew")]
    Tampered,
}

impl SecretKeys {
    /// Seals with the first key.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub(crate) fn seal(&self, belongs: Belongs<'_>, value: &[u8]) -> crate::Result<Sealed> {
        let failed = |error: String| crate::Error::Random(error);
        let mut nonce = [0; NONCE];
        OsRng
            .try_fill_bytes(&mut nonce)
            .map_err(|error| failed(error.to_string()))?;
        let Some(key) = self.keys.first() else {
            return Err(failed("there is no key".to_owned()));
        };
        let aad = belongs.bytes();
        let payload = Payload {
            msg: value,
            aad: &aad,
        };
        // Fails only past 256 GiB.
        let sealed = key.cipher.encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.map_err(|error| failed(error.to_string()))?;
        let mut bytes = nonce.to_vec();
        bytes.extend(sealed);
        Ok(Sealed {
            key_id: key.id().to_owned(),
            bytes,
        })
    }

    /// The value.
    ///
    /// # Errors
    /// When it was sealed by a key that is not here, for something else, or was changed.
    pub(crate) fn open(
        &self,
        belongs: Belongs<'_>,
        key_id: &str,
        bytes: &[u8],
    ) -> Result<Vec<u8>, Unreadable> {
        let key = self.keys.iter().find(|key| key.id() == key_id);
        let key = key.ok_or(Unreadable::OtherKey)?;
        let Some((nonce, sealed)) = bytes.split_at_checked(NONCE) else {
            return Err(Unreadable::Tampered);
        };
        let aad = belongs.bytes();
        let payload = Payload {
            msg: sealed,
            aad: &aad,
        };
        let opened = key.cipher.decrypt(XNonce::from_slice(nonce), payload);
        opened.map_err(|_| Unreadable::Tampered)
    }

    /// Whether this key opens and another one seals.
    pub(crate) fn is_outdated(&self, key_id: &str) -> bool {
        self.keys.iter().skip(1).any(|key| key.id() == key_id)
    }

    /// Whether this key is here.
    pub(crate) fn has(&self, key_id: &str) -> bool {
        self.keys.iter().any(|key| key.id() == key_id)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    const A: Belongs<'static> = Belongs {
        what: "secret",
        name: "a",
        revision_id: "r1",
    };

    fn keys(bytes: &[u8]) -> SecretKeys {
        let keys = bytes.iter().map(|byte| Key::new([*byte; 32])).collect();
        SecretKeys { keys }
    }

    #[test]
    fn a_value_is_read_for_what_it_was_sealed_for_only() {
        let keys = keys(&[1]);
        let sealed = keys.seal(A, b"value").unwrap();
        let open = |belongs| keys.open(belongs, &sealed.key_id, &sealed.bytes);
        assert_eq!(open(A).unwrap(), b"value");
        let others = [
            Belongs {
                what: "config",
                ..A
            },
            Belongs { name: "b", ..A },
            Belongs {
                revision_id: "r2",
                ..A
            },
            Belongs {
                name: "a\0r1",
                revision_id: "",
                ..A
            },
        ];
        for other in others {
            assert_eq!(open(other), Err(Unreadable::Tampered), "{other:?}");
        }
        let again = keys.seal(A, b"value").unwrap();
        assert_ne!(again.bytes, sealed.bytes);
    }

    #[test]
    fn another_key_does_not_open_and_an_earlier_one_does() {
        let sealed = keys(&[1]).seal(A, b"value").unwrap();
        let open = |keys: &SecretKeys| keys.open(A, &sealed.key_id, &sealed.bytes);
        let error = open(&keys(&[2])).unwrap_err();
        assert_eq!(error, Unreadable::OtherKey);
        assert!(error.to_string().contains("--secrets-key"));
        let rotated = keys(&[2, 1]);
        assert_eq!(open(&rotated).unwrap(), b"value");
        assert!(rotated.is_outdated(&sealed.key_id) && rotated.has(&sealed.key_id));
        assert!(!keys(&[1, 2]).is_outdated(&sealed.key_id));
        assert_ne!(rotated.seal(A, b"value").unwrap().key_id, sealed.key_id);
        // Whose id is forged still does not open.
        let forged = keys(&[2]);
        let id = forged.keys[0].id().to_owned();
        assert_eq!(
            forged.open(A, &id, &sealed.bytes),
            Err(Unreadable::Tampered)
        );
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_read_back_and_any_change_is_seen(
            value in prop::collection::vec(any::<u8>(), 0..2000), at in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            let keys = keys(&[7]);
            let sealed = keys.seal(A, &value).unwrap();
            prop_assert_eq!(keys.open(A, &sealed.key_id, &sealed.bytes).unwrap(), value);
            let mut changed = sealed.bytes.clone();
            let at = at.index(changed.len());
            changed[at] ^= 1_u8 << bit;
            prop_assert_eq!(keys.open(A, &sealed.key_id, &changed), Err(Unreadable::Tampered));
            prop_assert!(keys.open(A, &sealed.key_id, &sealed.bytes[..at]).is_err());
        }
    }
}
