//! Event source mappings: a queue whose messages are given to a function in batches
//! (<https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>).

use crate::{FunctionName, Invalid, Qualifier, QueueName, Timestamp};
use serde::{Deserialize, Serialize};

/// Largest batch from a FIFO queue, and the largest without a window: 10.
const MAX_PLAIN_BATCH: u32 = 10;

/// What a user declares of a mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingSpec {
    /// The queue that is read.
    pub queue: QueueName,
    /// The function that is called.
    pub function: FunctionName,
    /// Which version of it; an alias is followed with each batch. `None` for where its calls without a
    /// qualifier go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualifier: Option<Qualifier>,
    /// Whether it reads.
    pub enabled: bool,
    /// Most messages of one call: 1 to 10 000, for a FIFO queue to 10; 10 by default.
    pub batch: u32,
    /// Seconds that it waits for a batch to be full: 0 to 300; 0 for a FIFO queue.
    pub window: u32,
    /// Whether the function says which messages failed (`batchItemFailures`).
    pub report_failures: bool,
    /// Most calls at a time: 2 to 1 000; `None` for no bound but the function's own.
    pub max_concurrency: Option<u32>,
    /// Event patterns of which a message must fit one to reach the function; others are deleted. Without
    /// any, all reach it. At most 10, which the engine compiles.
    #[serde(default)]
    pub filters: Vec<String>,
    /// Whether a deployment made it, which then may remove it.
    #[serde(default)]
    pub declared: bool,
}

impl MappingSpec {
    /// A mapping with AWS's defaults.
    pub fn new(queue: QueueName, function: FunctionName) -> Self {
        Self {
            queue,
            function,
            qualifier: None,
            enabled: true,
            batch: 10,
            window: 0,
            report_failures: false,
            max_concurrency: None,
            filters: Vec::new(),
            declared: false,
        }
    }

    /// Checks every bound above.
    ///
    /// # Errors
    /// Names the parameter, as the Lambda API calls it.
    pub fn check(&self) -> Result<(), Invalid> {
        let fifo = self.queue.is_fifo();
        let most = if fifo { MAX_PLAIN_BATCH } else { 10_000 };
        if self.batch < 1 || self.batch > most {
            let reason = format!("{} is outside 1 to {most}", self.batch);
            return Err(Invalid::new("BatchSize", reason));
        }
        if self.window > 300 {
            let reason = format!("{} is outside 0 to 300", self.window);
            return Err(Invalid::new("MaximumBatchingWindowInSeconds", reason));
        }
        if fifo && self.window > 0 {
            let reason = "a FIFO queue has no batching window";
            return Err(Invalid::new("MaximumBatchingWindowInSeconds", reason));
        }
        if self.batch > MAX_PLAIN_BATCH && self.window == 0 {
            let reason = "must be at least 1 when BatchSize is more than 10";
            return Err(Invalid::new("MaximumBatchingWindowInSeconds", reason));
        }
        match self.max_concurrency {
            Some(most) if !(2..=1_000).contains(&most) => {
                let reason = format!("{most} is outside 2 to 1000");
                Err(Invalid::new("ScalingConfig.MaximumConcurrency", reason))
            }
            _ => Ok(()),
        }
    }
}

impl MappingSpec {
    /// Whether the other reads the same queue for the same version of the same function: of those there
    /// is one at most.
    pub fn is_same_pair(&self, other: &Self) -> bool {
        self.queue == other.queue
            && self.function == other.function
            && self.qualifier == other.qualifier
    }
}

/// A mapping as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// Names it.
    pub id: uuid::Uuid,
    /// What was declared.
    pub spec: MappingSpec,
    /// When it was last changed.
    pub modified: Timestamp,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bounds_are_named_as_lambda_names_them() {
        let spec = |queue: &str| MappingSpec::new(queue.parse().unwrap(), "f".parse().unwrap());
        assert!(spec("q").check().is_ok());
        let fault = |spec: MappingSpec| spec.check().unwrap_err().field;
        assert_eq!(
            fault(MappingSpec {
                batch: 11,
                window: 1,
                ..spec("q.fifo")
            }),
            "BatchSize"
        );
        let no_window = MappingSpec {
            batch: 11,
            ..spec("q")
        };
        assert_eq!(fault(no_window.clone()), "MaximumBatchingWindowInSeconds");
        assert!(
            MappingSpec {
                window: 1,
                ..no_window
            }
            .check()
            .is_ok()
        );
        let one = MappingSpec {
            max_concurrency: Some(1),
            ..spec("q")
        };
        assert_eq!(fault(one), "ScalingConfig.MaximumConcurrency");
    }
}
