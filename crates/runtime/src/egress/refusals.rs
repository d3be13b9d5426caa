//! Refusals: lines in the instance's own log, within a bound.

use crate::logs::Notes;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most lines in one [`SPAN`]; the rest is counted.
const MAX_LINES: u32 = 20;
const SPAN: Duration = Duration::from_secs(10);

/// Writes them.
pub(super) struct Refusals {
    notes: Notes,
    account: Mutex<Account>,
}

impl Refusals {
    pub(super) fn new(notes: Notes) -> Self {
        Self {
            notes,
            account: Mutex::new(Account::new(Instant::now())),
        }
    }

    /// Says `line`, unless too many were said lately.
    pub(super) fn say(&self, line: String) {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let said = account.admit(Instant::now());
        drop(account);
        if let Some(left_out) = said {
            if left_out > 0 {
                self.notes
                    .add(format!("egress: {left_out} more lines were left out"));
            }
            self.notes.add(line);
        }
    }
}

/// How much was said since when.
struct Account {
    since: Instant,
    said: u32,
    left_out: u64,
}

impl Account {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            said: 0,
            left_out: 0,
        }
    }

    /// Whether one more may be said, and then how many were left out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= SPAN {
            self.since = now;
            self.said = 0;
        }
        if self.said >= MAX_LINES {
            self.left_out += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_not_said() {
        let begun = Instant::now();
        let mut account = Account::new(begun);
        let said = (0..1000).filter(|_| account.admit(begun).is_some()).count();
        assert_eq!(said, 20);
        assert_eq!(account.admit(begun + SPAN), Some(980));
        assert_eq!(account.admit(begun + SPAN), Some(0));
    }
}
