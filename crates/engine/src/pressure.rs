//! Memory pressure: idle instances are stopped before the kernel kills busy ones.

use crate::node::Node;
use crate::{blocking, reclaim};
use model::Pressure;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// What the kernel says of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// `MemAvailable`, in bytes.
    available: u64,
    /// `MemTotal`, in bytes.
    total: u64,
    /// The share of the last ten seconds in which something waited for memory, in percent (`some
    /// avg10` of PSI); `None` where the kernel does not tell.
    stalled: Option<f64>,
}

/// Where a level begins: available bytes, and percent of time stalled.
#[derive(Debug, Clone, Copy)]
struct Threshold {
    available: u64,
    stalled: f64,
}

impl Sample {
    /// So many MiB available of so many, and nothing stalled.
    #[cfg(test)]
    pub(crate) fn of(available: u64, total: u64) -> Self {
        Self {
            available: available * MIB,
            total: total * MIB,
            stalled: None,
        }
    }

    /// A share of all memory, but no more than is plenty on a large machine.
    fn share(self, of: u64, most: u64) -> u64 {
        (self.total / of).min(most)
    }

    fn is_past(self, threshold: Threshold) -> bool {
        // A sandbox at its own limit stalls too, and that shows here: it says nothing of the machine
        // while much of its memory is available.
        let tight = self.available < self.share(4, 16 * GIB);
        let stalled = self
            .stalled
            .is_some_and(|stalled| stalled >= threshold.stalled);
        self.available < threshold.available || (tight && stalled)
    }

    /// The level, with thresholds that are `slack` times as easy to reach.
    fn grade(self, slack: f64) -> Pressure {
        let threshold = |available: u64, stalled: f64| Threshold {
            // Bytes of one machine are far below what a float holds.
            available: (available as f64 * slack) as u64,
            stalled: stalled / slack,
        };
        if self.is_past(threshold(self.share(25, GIB), 40.0)) {
            Pressure::Critical
        } else if self.is_past(threshold(self.share(10, 4 * GIB), 10.0)) {
            Pressure::High
        } else {
            Pressure::Calm
        }
    }
}

/// The level now. It falls only when things are a quarter better than what raised it.
fn level(before: Pressure, sample: Sample) -> Pressure {
    sample.grade(1.0).max(sample.grade(1.25).min(before))
}

/// How many of so many idle instances to stop in a second: a quarter while memory is short, and half
/// when it is nearly gone; one at least.
fn stops(level: Pressure, idle: usize) -> usize {
    match level {
        Pressure::Calm => 0,
        Pressure::High => idle.div_ceil(4),
        Pressure::Critical => idle.div_ceil(2),
    }
}

/// Reads what the kernel says.
///
/// # Errors
/// When `/proc/meminfo` cannot be read or understood.
pub(crate) fn read() -> std::io::Result<Sample> {
    #[cfg(feature = "simulation")]
    if let Some(bits) = model::simulation::bits() {
        return Ok(simulated(bits));
    }
    let meminfo = std::fs::read_to_string("/proc/meminfo")?;
    // Not there before Linux 4.20, or where it is not switched on.
    let stall = std::fs::read_to_string("/proc/pressure/memory").ok();
    parse(&meminfo, stall.as_deref()).ok_or_else(|| {
        std::io::Error::other("/proc/meminfo does not tell MemTotal and MemAvailable")
    })
}

/// A machine that is short of memory in one look out of 32, and nearly out of it in one out of 256.
#[cfg(feature = "simulation")]
fn simulated(bits: u64) -> Sample {
    let available = match bits % 256 {
        0 => 1,
        1..8 => 8,
        _ => 80,
    };
    Sample {
        available: available * GIB / 100,
        total: GIB,
        stalled: None,
    }
}

fn parse(meminfo: &str, stall: Option<&str>) -> Option<Sample> {
    let bytes = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(Sample {
        available: bytes("MemAvailable:")?,
        total: bytes("MemTotal:")?,
        stalled: stall.and_then(parse_stall),
    })
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`
/// (<https://docs.kernel.org/accounting/psi.html>).
fn parse_stall(text: &str) -> Option<f64> {
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let mut words = some.split(' ');
    let percent = words.find_map(|word| word.strip_prefix("avg10="))?;
    percent.parse().ok().filter(|percent| *percent >= 0.0)
}

/// Looks once a second, tells everybody who wants to know the level, and stops idle instances while
/// memory is short: the least recently used over all functions, and those of `min_instances` too only
/// when it is critical. Runs until the node is killed.
pub(crate) async fn watch(
    node: Arc<Node>,
    read: impl Fn() -> std::io::Result<Sample> + Send + Sync + 'static,
) {
    let read = Arc::new(read);
    let mut deaf = false;
    loop {
        tokio::select! {
            biased;
            () = node.kill.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        let reading = read.clone();
        // The kernel may take its time when memory is short.
        let sample = match blocking::apart(move || reading()).await {
            Ok(Ok(sample)) => sample,
            failed => {
                if !deaf {
                    let error = failed.err().map(|error| error.to_string());
                    tracing::warn!(?error, "the machine's memory cannot be watched");
                }
                deaf = true;
                continue;
            }
        };
        deaf = false;
        heed(&node, sample);
    }
}

/// Does what a sample asks for.
fn heed(node: &Node, sample: Sample) {
    let before = *node.pressure.borrow();
    let now = level(before, sample);
    let pools = node.pools();
    if now != before {
        tell(before, now, sample);
        node.pressure.send_replace(now);
        node.runtime.set_scarce(now > Pressure::Calm);
        pools.iter().for_each(|pool| pool.look());
    }
    if now == Pressure::Calm {
        return;
    }
    let all = now == Pressure::Critical;
    let idle = pools.iter().map(|pool| pool.spare(all).len()).sum();
    let stopped = reclaim::stop_idle(&pools, stops(now, idle), all);
    let stopped: usize = stopped.iter().map(|(_, count)| count).sum();
    if stopped > 0 {
        tracing::info!(stopped, idle, "idle instances were stopped to free memory");
    }
}

/// Once for each episode, which ends when there is enough again.
fn tell(before: Pressure, now: Pressure, sample: Sample) {
    let available = sample.available / MIB;
    let total = sample.total / MIB;
    let stalled = sample.stalled.unwrap_or(0.0);
    match (before, now) {
        (Pressure::Calm, _) => tracing::warn!(
            available,
            total,
            stalled,
            "the machine runs short of memory (MiB available of total, percent of time stalled): idle \
             instances are stopped; lower max_instances, memory or keep_alive, or add memory"
        ),
        (_, Pressure::Calm) => tracing::info!(available, total, "there is enough memory again"),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
