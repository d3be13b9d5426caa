//! Who asks: AWS Signature Version 4 for AWS doors, a bearer token for the rest.

use serde::{Deserialize, Serialize};

/// The credential of the server's owner, made at the first start, kept in `credentials.json` (0600)
/// in the data folder. `Debug` does not show the secrets.
#[derive(Clone, Serialize, Deserialize)]
pub struct RootCredential {
    /// For AWS doors.
    pub access_key_id: String,
    /// For AWS doors.
    pub secret_access_key: String,
    /// For the control API and the HTTP routes: `rouse_` and 43 characters of base64url, random.
    pub token: String,
}
