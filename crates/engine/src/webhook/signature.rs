//! Signatures of webhooks, by Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use model::{Invalid, Secret};
use sha2_next::Sha256;

/// Begins every secret.
const PREFIX: &str = "whsec_";
/// Bytes of a secret that is made here.
pub(crate) const SECRET: usize = 32;

/// A secret of these bytes.
pub(crate) fn secret(bytes: &[u8]) -> Secret {
    Secret::new(format!("{PREFIX}{}", STANDARD.encode(bytes)))
}

/// The key in a secret: 24 to 64 bytes.
///
/// # Errors
/// Says what a secret is; never what was given.
pub(crate) fn key(secret: &Secret) -> Result<Vec<u8>, Invalid> {
    let encoded = secret.expose().strip_prefix(PREFIX);
    let key = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
    let fits = key.filter(|key| (24..=64).contains(&key.len()));
    fits.ok_or_else(|| Invalid::new("secret", "must be whsec_ and 24 to 64 bytes in base64"))
}

/// The value of `webhook-signature` for a message.
pub(crate) fn sign(key: &[u8], id: &str, seconds: i64, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return String::new();
    };
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The example that the libraries of Standard Webhooks test themselves with.
    #[test]
    fn a_known_message_has_its_known_signature() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let body = br#"{"test": 2432232314}"#;
        let signed = sign(
            &key(&secret).unwrap(),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            body,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn only_secrets_of_the_right_form_are_taken() {
        assert_eq!(key(&secret(&[7; SECRET])).unwrap(), [7; SECRET]);
        for bad in [
            "",
            "whsec_",
            "whsec_!!!!",
            "whsec_AAAA",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            let error = key(&Secret::new(bad.into())).unwrap_err();
            assert!(bad.is_empty() || bad == "whsec_" || !error.to_string().contains(bad));
        }
    }
}
