//! What of this machine can be used, and what cannot, and why (`rouse doctor`).

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is there.
    Ok,
    /// It works without, with a stated loss.
    Degraded,
    /// Functions cannot run without it.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Finding {
    /// Such as `cgroups` or `user namespaces`.
    pub what: String,
    /// How it stands.
    pub standing: Standing,
    /// What was found, what it means, and what to do.
    pub detail: String,
}

/// Looks at kernel, user, namespaces, cgroups (v1, v2, hybrid, each controller), seccomp, mounts.
/// Changes nothing.
pub fn probe() -> Vec<Finding> {
    todo!()
}
