//! Bounds of what the launcher is asked for. It checks them again whoever asks: it trusts nobody.

use std::path::{Component, Path};

/// Most binds and volumes, each.
pub(crate) const MOUNTS_MAX: usize = 64;

/// Refuses more than `most`.
pub(crate) fn within(what: &str, value: usize, most: usize) -> Result<(), String> {
    if value > most {
        return Err(format!("{value} {what}; {most} are the most"));
    }
    Ok(())
}

/// A name of a host.
pub(crate) fn check_host(name: &str) -> Result<(), String> {
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    // 64 is the kernel's bound (HOST_NAME_MAX).
    if name.is_empty() || name.len() > 64 || !name.bytes().all(legal) {
        return Err(format!("\"{}\" is no host name", name.escape_debug()));
    }
    Ok(())
}

/// A plain absolute path.
pub(crate) fn check_path(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let text = path
        .to_str()
        .ok_or_else(|| format!("{shown} is not UTF-8"))?;
    let plain = path
        .components()
        .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain || text.contains('\0') || text.len() > 4095 {
        return Err(format!(
            "{} is not a plain absolute path",
            text.escape_debug()
        ));
    }
    Ok(())
}

/// Where programs look for their control group. `/sys` is an empty folder, so a bind there covers nothing.
const CONTROL_GROUP: &str = "/sys/fs/cgroup";

/// What the platform itself shows, beside what [`check_target`] allows everyone.
pub(crate) fn check_bind(path: &Path) -> Result<(), String> {
    if path == Path::new(CONTROL_GROUP) {
        return Ok(());
    }
    check_target(path)
}

/// Nothing may cover what contains the sandbox.
pub(crate) fn check_target(path: &Path) -> Result<(), String> {
    check_path(path)?;
    let kept = ["/proc", "/dev", "/sys"]
        .iter()
        .any(|kept| path.starts_with(kept));
    if kept || path == Path::new("/") {
        return Err(format!("{} cannot be mounted on", path.display()));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use crate::Bind;

    /// What makes a thing wrong, and the word that the refusal has.
    pub(crate) type Change<T> = (fn(&mut T), &'static str);

    pub(crate) fn refused<T>(
        mut changed: T,
        change: fn(&mut T),
        check: fn(&T) -> Result<(), String>,
        word: &str,
    ) {
        assert_eq!(check(&changed), Ok(()));
        change(&mut changed);
        let refusal = check(&changed).unwrap_err();
        assert!(refusal.contains(word), "{refusal:?} lacks {word:?}");
    }

    pub(crate) fn bind(source: &str, target: &str) -> Bind {
        Bind {
            source: source.into(),
            target: target.into(),
        }
    }
}
