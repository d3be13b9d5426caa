//! Receipt handles: what a receive gives to delete a message with.

use super::MessageId;
use crate::Invalid;
use std::fmt;
use std::str::FromStr;

/// Which receive of which message. Its text says nothing that a client should rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReceiptHandle {
    /// Where the message is kept.
    pub sequence: i64,
    /// Which message that is.
    pub id: MessageId,
    /// Grows with each receive; only the last one's handle counts.
    pub epoch: u32,
}

impl fmt::Display for ReceiptHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:016x}{}{:08x}",
            self.sequence,
            self.id.0.simple(),
            self.epoch
        )
    }
}

impl FromStr for ReceiptHandle {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let bad = || Invalid::new("ReceiptHandle", "is not one that a receive has given");
        let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 56 || !text.bytes().all(hex) {
            return Err(bad());
        }
        Ok(Self {
            sequence: i64::from_str_radix(&text[..16], 16).map_err(|_| bad())?,
            id: MessageId(uuid::Uuid::try_parse(&text[16..48]).map_err(|_| bad())?),
            epoch: u32::from_str_radix(&text[48..], 16).map_err(|_| bad())?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_handle_survives_its_text(sequence in 0i64.., epoch: u32, id: u128) {
            let id = MessageId(uuid::Uuid::from_u128(id));
            let handle = ReceiptHandle { sequence, id, epoch };
            prop_assert_eq!(handle.to_string().parse::<ReceiptHandle>().unwrap(), handle);
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".{0,60}|[0-9a-f]{56}") {
            let _ = text.parse::<ReceiptHandle>();
        }
    }
}
