//! Bounds: what one instance may use, and what the platform accepts.

use crate::Invalid;
use serde::{Deserialize, Serialize};

/// Largest synchronous request or response body: 6 MiB (AWS Lambda's bound).
pub const MAX_PAYLOAD: usize = 6 * 1024 * 1024;
/// Largest payload of a durable event: 1 MiB (AWS Lambda's bound for asynchronous calls).
pub const MAX_ASYNC_PAYLOAD: usize = 1024 * 1024;
/// Largest environment of one function or service, names and values together: 32 KiB.
pub const MAX_ENVIRONMENT: usize = 32 * 1024;
/// Longest log line kept; the rest of it is cut and marked: 16 KiB.
pub const MAX_LOG_LINE: usize = 16 * 1024;
/// Most calls that may wait for one function before it answers "throttled".
pub const MAX_QUEUE: usize = 1000;

const MIB: u64 = 1024 * 1024;

/// What one instance may use. All of it is enforced by the kernel, or the start is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory in bytes, `/tmp` and `/dev/shm` included since both live in memory.
    /// 16 MiB to 64 GiB; 128 MiB by default.
    pub memory: u64,
    /// Milliseconds that one call may take: 1 to 900 000; 3 000 by default. Services ignore it.
    pub timeout: u64,
    /// Thousandths of a processor: 10 to 64 000; 1 000 by default.
    pub cpu: u32,
    /// Processes and threads: 1 to 32 768; 512 by default.
    pub pids: u32,
    /// Size of `/tmp` in bytes: 1 MiB to 10 GiB; 512 MiB by default. Counts against `memory`.
    pub tmp: u64,
    /// Open files: 16 to 65 536; 1 024 by default.
    pub files: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 128 * MIB,
            timeout: 3_000,
            cpu: 1_000,
            pids: 512,
            tmp: 512 * MIB,
            files: 1024,
        }
    }
}

impl Limits {
    /// Checks every bound above.
    ///
    /// # Errors
    /// Names the first field out of its bounds.
    pub fn check(&self) -> Result<(), Invalid> {
        let within = |field: &str, value: u64, least: u64, most: u64, unit: &str| {
            if value < least || value > most {
                let reason = format!("{value} is outside {least} to {most} {unit}");
                return Err(Invalid::new(field, reason));
            }
            Ok(())
        };
        within("memory", self.memory, 16 * MIB, 65_536 * MIB, "bytes")?;
        within("timeout", self.timeout, 1, 900_000, "milliseconds")?;
        within(
            "cpu",
            u64::from(self.cpu),
            10,
            64_000,
            "thousandths of a processor",
        )?;
        within("pids", u64::from(self.pids), 1, 32_768, "processes")?;
        within("tmp", self.tmp, MIB, 10_240 * MIB, "bytes")?;
        within("files", u64::from(self.files), 16, 65_536, "open files")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_legal_and_bounds_are_named() {
        assert!(Limits::default().check().is_ok());
        let error = Limits {
            timeout: 900_001,
            ..Limits::default()
        }
        .check()
        .unwrap_err();
        assert_eq!(error.field, "timeout");
    }
}
