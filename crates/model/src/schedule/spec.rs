//! What is declared of a schedule.

use super::Timetable;
use crate::{Delivery, Invalid, ScheduleGroupName, ScheduleName, Target, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Largest input of a schedule: 256 KiB (the bound of AWS's targets).
pub const MAX_SCHEDULE_INPUT: usize = 256 * 1024;
/// Longest description, in characters (AWS's bound).
const MAX_DESCRIPTION: usize = 512;
/// Longest flexible window, in minutes: a day (AWS's bound).
const MAX_WINDOW: u32 = 1_440;
/// What annotations may take together, written as JSON.
const MAX_ANNOTATIONS: usize = 16 * 1024;
/// The account that every ARN of a server shows.
const ACCOUNT: &str = "000000000000";

/// A schedule's name within its group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleKey {
    /// The group.
    pub group: ScheduleGroupName,
    /// The name.
    pub name: ScheduleName,
}

impl ScheduleKey {
    /// Its ARN, as AWS writes it.
    pub fn arn(&self, region: &str) -> String {
        let Self { group, name } = self;
        format!("arn:aws:scheduler:{region}:{ACCOUNT}:schedule/{group}/{name}")
    }
}

impl fmt::Display for ScheduleKey {
    /// `NAME` in the group `default`, else `GROUP/NAME`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_default() {
            return self.name.fmt(f);
        }
        write!(f, "{}/{}", self.group, self.name)
    }
}

impl std::str::FromStr for ScheduleKey {
    type Err = Invalid;

    /// `NAME` or `GROUP/NAME`.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (group, name) = match text.split_once('/') {
            Some((group, name)) => (group.parse()?, name),
            None => (ScheduleGroupName::default(), text),
        };
        Ok(Self {
            group,
            name: name.parse()?,
        })
    }
}

/// A group of schedules. The group `default` is always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleGroup {
    /// Its name.
    pub name: ScheduleGroupName,
    /// Tags of an AWS client; kept and given back.
    pub tags: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
    /// When its tags were last changed.
    pub modified: Timestamp,
}

impl ScheduleGroup {
    /// Its ARN, as AWS writes it.
    pub fn arn(name: &ScheduleGroupName, region: &str) -> String {
        format!("arn:aws:scheduler:{region}:{ACCOUNT}:schedule-group/{name}")
    }
}

/// What becomes of the ticks that were due while the server was down, or that it is late with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They do not happen.
    Skip,
    /// The last of them happens, for all.
    #[default]
    Once,
    /// All of them happen, oldest first; of more than [`MAX_CATCH_UP`](super::MAX_CATCH_UP) the
    /// latest.
    All,
}

impl CatchUp {
    /// The word in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

impl std::str::FromStr for CatchUp {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        [Self::Skip, Self::Once, Self::All]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| Invalid::new("catch_up", "must be skip, once or all"))
    }
}

/// What becomes of a schedule that has no tick left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterCompletion {
    /// It stays, and does nothing.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
}

/// Under what names a tick's event stands on a bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BusEntry {
    /// `source`: 1 to 256 bytes.
    pub source: String,
    /// `detail-type`: 1 to 128 bytes.
    pub kind: String,
}

/// What is declared of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// Its group and name.
    pub key: ScheduleKey,
    /// Shown to people; 512 characters at most.
    #[serde(default)]
    pub description: String,
    /// When it is due.
    pub timetable: Timetable,
    /// Minutes after a tick within which its event comes, at a moment that is drawn for each tick; 1
    /// to 1 440. Without: at the tick.
    #[serde(default)]
    pub window: Option<u32>,
    /// Whether ticks make events.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// What becomes of ticks that the server is late with.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// What becomes of it after its last tick.
    #[serde(default)]
    pub after_completion: AfterCompletion,
    /// What is woken.
    pub target: Target,
    /// What the target is given: JSON, 256 KiB at most, in which `<aws.scheduler.schedule-arn>`,
    /// `<aws.scheduler.scheduled-time>`, `<aws.scheduler.execution-id>` and
    /// `<aws.scheduler.attempt-number>` are replaced. Without: AWS's "Scheduled Event".
    #[serde(default)]
    pub input: Option<String>,
    /// How its events are retried, and where its dead letters go.
    #[serde(default)]
    pub delivery: Delivery,
    /// For a bus: the names of its events. Without, they are the schedule's own.
    #[serde(default)]
    pub entry: Option<BusEntry>,
    /// The function or service whose manifest declares it ([`Target::key`] without a path), if one
    /// does. It goes when the manifest drops it.
    #[serde(default)]
    pub owner: Option<String>,
    /// What an AWS client said that only AWS gives a meaning to, such as the role; kept and given
    /// back.
    #[serde(default)]
    pub annotations: BTreeMap<String, serde_json::Value>,
}

fn yes() -> bool {
    true
}

impl ScheduleSpec {
    /// The same validation on create, update and deploy.
    ///
    /// # Errors
    /// Names the first field that breaks a rule.
    pub fn check(&self) -> Result<(), Invalid> {
        self.timetable.check()?;
        if self.description.chars().count() > MAX_DESCRIPTION {
            let reason = format!("is longer than {MAX_DESCRIPTION} characters");
            return Err(Invalid::new("description", reason));
        }
        if self
            .window
            .is_some_and(|window| !(1..=MAX_WINDOW).contains(&window))
        {
            let reason = format!("must be 1 to {MAX_WINDOW} minutes");
            return Err(Invalid::new("window", reason));
        }
        let legal = |b: u8| b.is_ascii_graphic() && b != b'#';
        if let Target::Service { path, .. } = &self.target
            && (!path.starts_with('/') || path.len() > 1024 || !path.bytes().all(legal))
        {
            let reason =
                "a service needs a URL's path that begins with / and has 1024 bytes at most";
            return Err(Invalid::new("target", reason));
        }
        self.delivery.check(&self.target)?;
        if let Some(BusEntry { source, kind }) = &self.entry
            && !((1..=256).contains(&source.len()) && (1..=128).contains(&kind.len()))
        {
            let reason = "needs a source of 1 to 256 bytes and a type of 1 to 128";
            return Err(Invalid::new("entry", reason));
        }
        let annotations =
            serde_json::to_vec(&self.annotations).map_or(usize::MAX, |json| json.len());
        if annotations > MAX_ANNOTATIONS {
            let reason = format!("take more than {MAX_ANNOTATIONS} bytes");
            return Err(Invalid::new("annotations", reason));
        }
        self.check_input()
    }
}
