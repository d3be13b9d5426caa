//! Signatures of POST policies, which let a browser upload by a form. What is signed is the policy as it is
//! sent, in base64: by Version 4
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-authentication-HTTPPOST.html>), or by Version 2, which
//! boto3 makes unless told otherwise.

use super::signature::parse_scope;
use super::{Auth, Refused, Verified};
use base64::Engine as _;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use sha2_next::Sha256;

/// A policy and who claims to have signed it.
pub(crate) struct SignedPolicy<'a> {
    /// The field `policy`: base64.
    pub(crate) policy: &'a str,
    /// What says who signed it.
    pub(crate) signature: PolicySignature<'a>,
}

/// The fields of a signature, as they were sent.
pub(crate) enum PolicySignature<'a> {
    /// Version 4, hexadecimal.
    V4 {
        /// `AKID/20261122/us-east-1/s3/aws4_request`.
        credential: &'a str,
        /// `20261122T120000Z`.
        date: &'a str,
        /// `x-amz-signature`.
        signature: &'a str,
    },
    /// Version 2, base64.
    V2 {
        /// `AWSAccessKeyId`.
        access_key_id: &'a str,
        /// `signature`.
        signature: &'a str,
    },
}

impl Auth {
    /// Verifies that somebody who is known signed this policy. What the policy says is not looked at, nor when it
    /// was signed.
    ///
    /// # Errors
    /// `Malformed`, `UnknownKey`, `BadSignature`, `Unavailable`.
    pub(crate) async fn verify_policy(
        &self,
        signed: &SignedPolicy<'_>,
    ) -> Result<Verified, Refused> {
        let malformed = |what: &str| Refused::Malformed(format!("the form's {what}"));
        let (credential, fits) = match signed.signature {
            PolicySignature::V4 {
                credential,
                date,
                signature,
            } => {
                let scope = parse_scope(credential, false)
                    .filter(|scope| scope.service == "s3")
                    .ok_or_else(|| malformed("x-amz-credential is not one for s3"))?;
                let day = credential.split('/').nth(1).unwrap_or_default();
                if date.get(..8) != Some(day) {
                    return Err(malformed("x-amz-date is not of the credential's day"));
                }
                let signature = hex::decode(signature)
                    .map_err(|_| malformed("signature is not hexadecimal"))?;
                let known = self.find(&scope.access_key_id).await?;
                let key = format!("AWS4{}", known.secret_access_key);
                let key = [day, &scope.region, &scope.service, "aws4_request"]
                    .iter()
                    .try_fold(key.into_bytes(), |key, part| sum(&key, part))?;
                let mac = hmac::<Hmac<Sha256>>(&key, signed.policy)?;
                (known, mac.verify_slice(&signature).is_ok())
            }
            PolicySignature::V2 {
                access_key_id,
                signature,
            } => {
                let signature = base64::engine::general_purpose::STANDARD
                    .decode(signature)
                    .map_err(|_| malformed("signature is not base64"))?;
                let known = self.find(access_key_id).await?;
                let mac = hmac::<Hmac<Sha1>>(known.secret_access_key.as_bytes(), signed.policy)?;
                (known, mac.verify_slice(&signature).is_ok())
            }
        };
        if fits {
            return Ok(Verified(credential.principal));
        }
        let reason = "the signature does not fit the policy".to_owned();
        Err(Refused::BadSignature(reason))
    }
}

fn sum(key: &[u8], text: &str) -> Result<Vec<u8>, Refused> {
    let mac = hmac::<Hmac<Sha256>>(key, text)?;
    Ok(mac.finalize().into_bytes().to_vec())
}

fn hmac<M: hmac::Mac + hmac::KeyInit>(key: &[u8], text: &str) -> Result<M, Refused> {
    let mac = <M as hmac::KeyInit>::new_from_slice(key);
    let mut mac =
        mac.map_err(|_| Refused::BadSignature("the secret key is unusable".to_owned()))?;
    mac.update(text.as_bytes());
    Ok(mac)
}
