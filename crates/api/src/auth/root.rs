//! The credential of the server's owner.

use crate::{Error, Result};
use base64::Engine as _;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The file below the data folder.
const FILE: &str = "credentials.json";

/// More than this is not a credential file of ours.
const MAX_FILE: u64 = 16 * 1024;

/// The credential of the server's owner, made at the first start, kept in `credentials.json` (0600)
/// in the data folder. `Debug` does not show the secrets.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootCredential {
    /// For AWS doors: 20 upper case letters and digits.
    pub access_key_id: String,
    /// For AWS doors: 40 characters of base64url, random.
    pub secret_access_key: String,
    /// For the control API and the HTTP routes: `rouse_` and 43 characters of base64url, random.
    pub token: String,
}

impl fmt::Debug for RootCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootCredential")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl RootCredential {
    /// Reads the credential below `folder`, or makes one at the first start. Three independent random
    /// values; nothing is derived and nothing has a default. A file that others on the machine may
    /// read is refused, since somebody may have.
    ///
    /// # Errors
    /// When the file cannot be read or written, is not one of ours, or is open to others.
    pub fn load_or_create(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        match File::open(&path) {
            Ok(file) => load(file, &path),
            Err(error) if error.kind() == ErrorKind::NotFound => create(folder, &path),
            Err(error) => Err(failed("opening", &path)(error)),
        }
    }

    fn generate() -> std::io::Result<Self> {
        let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        Ok(Self {
            access_key_id: access_key_id(random::<20>()?),
            secret_access_key: encode(&random::<30>()?),
            token: format!("rouse_{}", encode(&random::<32>()?)),
        })
    }

    /// Whether every field has the form that [`generate`](Self::generate) gives it, or at least one
    /// that cannot be guessed.
    fn is_plausible(&self) -> bool {
        let id = &self.access_key_id;
        (16..=128).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric())
            && self.secret_access_key.len() == 40
            && self.token.len() >= 32
    }
}

/// Random bytes from the kernel.
fn random<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(std::io::Error::other)?;
    Ok(bytes)
}

/// 20 characters of 32, five bits of each byte: 100 bits in all. It is a name, not a secret.
fn access_key_id(bytes: [u8; 20]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte & 31)]);
    bytes.into_iter().map(letter).collect()
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.display().to_string();
    move |source| Error::CredentialFile {
        doing,
        path,
        source,
    }
}

fn refused(path: &Path, reason: impl Into<String>) -> Error {
    Error::CredentialRefused {
        path: path.display().to_string(),
        reason: reason.into(),
    }
}

fn load(file: File, path: &Path) -> Result<RootCredential> {
    let metadata = file.metadata().map_err(failed("reading", path))?;
    if metadata.mode() & 0o077 != 0 {
        let reason = format!(
            "its mode is {:04o}, so others on this machine can read the server's keys; \
             remove it to get new ones, or if nobody else did read it run `chmod 600` on it",
            metadata.mode() & 0o7777
        );
        return Err(refused(path, reason));
    }
    let mut text = String::new();
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(failed("reading", path))?;
    let ours = "is not a credential file of rouse; remove it to get new credentials";
    let credential: RootCredential =
        serde_json::from_str(&text).map_err(|_| refused(path, ours))?;
    if !credential.is_plausible() {
        return Err(refused(path, ours));
    }
    Ok(credential)
}

/// Writes beside, then renames: a crash leaves either no file or a whole one.
fn create(folder: &Path, path: &Path) -> Result<RootCredential> {
    let credential = RootCredential::generate().map_err(failed("making keys for", path))?;
    let temporary = folder.join(format!("{FILE}.new"));
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        // A file left by a crash keeps its old mode through `open`.
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(&serde_json::to_vec_pretty(&credential)?)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(failed("writing", path))?;
    Ok(credential)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_makes_what_later_starts_read() {
        let folder = tempfile::tempdir().unwrap();
        let made = RootCredential::load_or_create(folder.path()).unwrap();
        let read = RootCredential::load_or_create(folder.path()).unwrap();
        assert_eq!(made, read);
        let mode = std::fs::metadata(folder.path().join(FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(made.access_key_id.len(), 20);
        assert_eq!(made.secret_access_key.len(), 40);
        assert_eq!(made.token.len(), "rouse_".len() + 43);
    }

    #[test]
    fn two_servers_have_nothing_in_common() {
        let one = RootCredential::generate().unwrap();
        let two = RootCredential::generate().unwrap();
        assert_ne!(one.access_key_id, two.access_key_id);
        assert_ne!(one.secret_access_key, two.secret_access_key);
        assert_ne!(one.token, two.token);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        RootCredential::load_or_create(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = RootCredential::load_or_create(folder.path()).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn nonsense_and_weak_keys_are_refused_without_showing_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let weak = r#"{"access_key_id":"test","secret_access_key":"hunter2","token":"t"}"#;
        for text in ["", "{", weak] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let error = RootCredential::load_or_create(folder.path()).unwrap_err();
            assert!(!error.to_string().contains("hunter2"));
            assert!(matches!(error, Error::CredentialRefused { .. }));
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let credential = RootCredential::generate().unwrap();
        let shown = format!("{credential:?}");
        assert!(!shown.contains(&credential.secret_access_key));
        assert!(!shown.contains(&credential.token));
    }
}
