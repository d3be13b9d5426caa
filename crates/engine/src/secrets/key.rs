//! The keys that secrets are sealed by, and where they are kept.

use super::cipher::Key;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// More than this is not a key file.
const MAX_FILE: u64 = 4 * 1024;
/// Most keys of a file.
const MAX_KEYS: usize = 16;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("{doing} the key of secrets, {path}: {source}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// Which file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not a key file, or others may have read it.
    #[error("the key of secrets, {path}, {reason}")]
    Refused {
        /// Which file.
        path: String,
        /// Why not, and what to do.
        reason: String,
    },
}

/// The key that seals, and earlier ones that still open. `Debug` shows none of them.
#[derive(Clone)]
pub struct SecretKeys {
    pub(super) keys: Vec<Key>,
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKeys(..)")
    }
}

impl SecretKeys {
    /// One that is kept nowhere: what it seals cannot be read after a restart. For tests.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 32];
        OsRng
            .try_fill_bytes(&mut bytes)
            .map_err(std::io::Error::other)?;
        Ok(Self {
            keys: vec![Key::new(bytes)],
        })
    }

    /// Reads the keys in `path`: each a line of 64 hexadecimal digits, the first one seals. Without a file, one
    /// with a random key is made (mode 0600). A file of somebody else, or that others on the machine may read, is refused, since
    /// somebody may have.
    ///
    /// # Errors
    /// When the file cannot be read or written, is not a key file, or is open to others.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match File::open(path) {
            Ok(file) => load(file, path),
            Err(error) if error.kind() == ErrorKind::NotFound => create(path),
            Err(error) => Err(failed("opening", path)(error)),
        }
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> KeyError {
    let path = path.display().to_string();
    move |source| KeyError::File {
        doing,
        path,
        source,
    }
}

fn load(file: File, path: &Path) -> Result<SecretKeys, KeyError> {
    let refused = |reason: String| KeyError::Refused {
        path: path.display().to_string(),
        reason,
    };
    let metadata = file.metadata().map_err(failed("reading", path))?;
    let own =
        std::fs::metadata("/proc/self").map_err(failed("reading", Path::new("/proc/self")))?;
    if metadata.uid() != 0 && metadata.uid() != own.uid() {
        return Err(refused(format!(
            "belongs to the user {}, who can read it: put a new key before it in the file (openssl rand -hex 32) \
             and give it to the user that runs the server (chown)",
            metadata.uid()
        )));
    }
    let mode = metadata.mode();
    if mode & 0o077 != 0 {
        return Err(refused(format!(
            "has the mode {:04o}, so others on this machine can read it: put a new key before it in the file \
             (openssl rand -hex 32) and run `chmod 600` on it",
            mode & 0o7777
        )));
    }
    let mut text = String::new();
    let read = file.take(MAX_FILE).read_to_string(&mut text);
    read.map_err(failed("reading", path))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.map(|line| {
        let mut bytes = [0; 32];
        hex::decode_to_slice(line, &mut bytes).ok()?;
        Some(Key::new(bytes))
    });
    let keys: Option<Vec<Key>> = keys.collect();
    match keys {
        Some(keys) if !keys.is_empty() && keys.len() <= MAX_KEYS => Ok(SecretKeys { keys }),
        _ => Err(refused(
            "is not a key file: 1 to 16 lines of 64 hexadecimal digits; restore it, since what it sealed cannot \
             be read without it"
                .to_owned(),
        )),
    }
}

/// Writes beside, then links: a crash leaves either no file or a whole one, and no file is replaced. The one beside is
/// new: what a crash, or somebody who may write to the folder, has put there is neither followed nor written to.
fn create(path: &Path) -> Result<SecretKeys, KeyError> {
    let mut bytes = [0; 32];
    let filled = OsRng.try_fill_bytes(&mut bytes);
    filled.map_err(|error| failed("making", path)(std::io::Error::other(error)))?;
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = Path::new(&name);
    let write = || -> std::io::Result<()> {
        match std::fs::remove_file(beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(beside)?;
        writeln!(file, "{}", hex::encode(bytes))?;
        file.sync_all()?;
        std::fs::hard_link(beside, path)?;
        std::fs::remove_file(beside)?;
        // Somebody who may write to the folder could have put another file beside meanwhile.
        let (written, linked) = (file.metadata()?, std::fs::symlink_metadata(path)?);
        if (written.dev(), written.ino()) != (linked.dev(), linked.ino()) {
            let reason =
                "another file is there; keep the key in a folder that others cannot write to";
            return Err(std::io::Error::other(reason));
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(failed("writing", path))?;
    Ok(SecretKeys {
        keys: vec![Key::new(bytes)],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_first_start_makes_a_key_that_only_its_owner_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.key");
        let made = SecretKeys::load_or_create(&path).unwrap();
        let read = SecretKeys::load_or_create(&path).unwrap();
        assert_eq!(made.keys[0].id(), read.keys[0].id());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!format!("{made:?}").contains(text.trim()));
        let other = SecretKeys::random().unwrap();
        assert_ne!(other.keys[0].id(), made.keys[0].id());
    }

    #[test]
    fn what_lies_beside_the_file_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("secrets.key"), folder.path().join("v"));
        let beside = folder.path().join("secrets.key.new");
        std::fs::write(&victim, "keep").unwrap();
        std::os::unix::fs::symlink(&victim, &beside).unwrap();
        SecretKeys::load_or_create(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "keep");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&beside, "left by a crash").unwrap();
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o666)).unwrap();
        SecretKeys::load_or_create(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(!beside.exists());
    }

    #[test]
    fn a_file_that_is_open_to_others_or_no_key_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.key");
        SecretKeys::load_or_create(&path).unwrap();
        let set = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
        set(0o640).unwrap();
        let open = SecretKeys::load_or_create(&path).unwrap_err();
        assert!(open.to_string().contains("chmod 600"), "{open}");
        set(0o600).unwrap();
        std::os::unix::fs::chown(&path, Some(4_321), None).unwrap();
        let foreign = SecretKeys::load_or_create(&path).unwrap_err();
        assert!(foreign.to_string().contains("the user 4321"), "{foreign}");
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        let short = "ab".repeat(31);
        for text in ["", "hunter2", short.as_str()] {
            std::fs::write(&path, text).unwrap();
            let error = SecretKeys::load_or_create(&path).unwrap_err().to_string();
            assert!(
                error.contains("64 hexadecimal") && !error.contains("hunter2"),
                "{error}"
            );
        }
    }
}
