//! The platform's own log lines, worded as AWS Lambda words them, since tools read them.

use model::{Ending, RequestId, Timestamp};
use std::fmt;
use std::time::Duration;

const MIB: u64 = 1024 * 1024;

/// What a call used.
pub(crate) struct Usage {
    /// How long it took.
    pub(crate) duration: Duration,
    /// The instance's limit in bytes.
    pub(crate) memory: u64,
    /// The most that it has used, in bytes.
    pub(crate) memory_peak: u64,
    /// How long the initialisation took, if it was for this call.
    pub(crate) init: Option<Duration>,
}

/// Before a call of a version.
pub(crate) fn start(id: &RequestId, version: &str) -> String {
    format!("START RequestId: {id} Version: {version}")
}

/// After a call: why it failed if the function could not say so itself, its end, what it used.
pub(crate) fn end(id: &RequestId, ending: &Ending, usage: &Usage) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(cause(id, ending));
    lines.push(format!("END RequestId: {id}"));
    lines.push(report(id, ending, usage));
    lines
}

/// After an initialisation that failed.
pub(crate) fn init(ending: &Ending, took: Duration) -> String {
    let error = ending.error().unwrap_or_default();
    format!(
        "INIT_REPORT Init Duration: {} ms\tPhase: init\tStatus: {}\tError: {error}",
        Milliseconds(took),
        status(ending),
    )
}

fn cause(id: &RequestId, ending: &Ending) -> Option<String> {
    match ending {
        Ending::TimedOut { after } => {
            let now = Timestamp::now().rfc3339();
            let seconds = Duration::from_millis(*after).as_secs_f64();
            Some(format!(
                "{now} {id} Task timed out after {seconds:.2} seconds"
            ))
        }
        Ending::Succeeded { .. } | Ending::Failed { .. } => None,
        other => {
            let error_type = other.error_type().unwrap_or_default();
            let error = other.error().unwrap_or_default();
            Some(format!("RequestId: {id} Error: {error} {error_type}"))
        }
    }
}

fn report(id: &RequestId, ending: &Ending, usage: &Usage) -> String {
    let mut line = format!(
        "REPORT RequestId: {id}\tDuration: {} ms\tBilled Duration: {} ms\t\
         Memory Size: {} MB\tMax Memory Used: {} MB",
        Milliseconds(usage.duration),
        usage.duration.as_nanos().div_ceil(1_000_000),
        usage.memory / MIB,
        usage.memory_peak.div_ceil(MIB),
    );
    if let Some(init) = usage.init {
        line.push_str(&format!("\tInit Duration: {} ms", Milliseconds(init)));
    }
    if let Some(error_type) = ending.error_type() {
        line.push_str(&format!("\tStatus: {}", status(ending)));
        if !matches!(ending, Ending::TimedOut { .. }) {
            line.push_str(&format!("\tError Type: {error_type}"));
        }
    }
    line
}

fn status(ending: &Ending) -> &'static str {
    match ending {
        Ending::TimedOut { .. } => "timeout",
        _ => "error",
    }
}

/// Milliseconds with two decimals. In whole numbers: this is worked out for every call.
struct Milliseconds(Duration);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hundredths = (self.0.as_nanos() + 5_000) / 10_000;
        write!(f, "{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_as_lambdas() {
        let usage = Usage {
            duration: Duration::from_micros(1_234),
            memory: 128 * MIB,
            memory_peak: 40 * MIB + 1,
            init: Some(Duration::from_millis(20)),
        };
        let ending = Ending::Succeeded {
            payload: bytes::Bytes::new(),
            http: None,
        };
        let id = RequestId("r-1".into());
        let expected = [
            "END RequestId: r-1",
            "REPORT RequestId: r-1\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t\
             Max Memory Used: 41 MB\tInit Duration: 20.00 ms",
        ];
        assert_eq!(end(&id, &ending, &usage), expected);
        let late = end(&id, &Ending::TimedOut { after: 3000 }, &usage);
        assert!(late[0].ends_with("r-1 Task timed out after 3.00 seconds"));
        assert!(late[2].ends_with("\tStatus: timeout"));
    }
}
