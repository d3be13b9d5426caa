//! What survives a crash, in SQL, behind one group-committing writer.
//!
//! One file a table. Writes are closures handed to one writer thread, which runs all that wait in
//! one transaction and answers them only after the commit is on disk (`synchronous=FULL`). Reads run
//! on a small pool of read-only connections. An error of fsync aborts the process: after it nothing
//! that SQLite says can be believed.

mod acceptance;
mod alias_moves;
mod aliases;
mod buckets;
mod buses;
mod cancellations;
mod checkpoint;
mod counters;
pub mod crash;
mod credentials;
mod deletion;
mod due;
mod error;
mod event_invokes;
mod events;
mod folder;
mod functions;
mod history;
mod images;
mod job;
mod leases;
mod lineage;
mod listing;
mod object_versions;
mod objects;
mod once;
mod overdue;
mod partitions;
pub mod planted;
mod pushes;
mod queues;
mod readers;
mod registry;
mod replays;
mod row;
mod rules;
mod runs;
mod schedule_groups;
mod schedule_requests;
mod schedules;
mod schema;
mod secrets;
mod services;
#[cfg(feature = "simulation")]
mod simulation;
mod store;
mod uploads;
mod upstreams;
mod version_listing;
mod versions;
mod walk;
mod webhooks;
mod writer;

pub use aliases::PutAlias;
pub use buckets::{Bucket, Versioning};
pub use counters::{EventCounts, EventTotals, QueueTotals};
pub use deletion::{Deletion, Removal, Removed};
pub use error::{Error, Result};
pub use leases::{Leased, Settlement, Verdict};
pub use lineage::Lineage;
pub use listing::{ListPage, ListQuery};
pub use object_versions::{DeleteMarker, NULL_VERSION, ObjectVersion};
pub use objects::{ObjectRow, Precondition};
pub use once::SenderName;
pub use overdue::MaxAges;
pub use partitions::{Retention, Tended};
pub use queues::{Accepted, Changed, Deleted, MoveStep, Receive, Received};
pub use registry::{
    BlobUploadRow, LinkCursor, MAX_BLOB_UPLOADS, ManifestPut, ManifestRow, ManifestSummary,
    NewManifest, ReferenceRow, RepositorySummary, UntaggedManifest,
};
pub use replays::ReplayStep;
pub use schedule_requests::Once;
pub use schedules::{ScheduleFilter, Ticked};
pub use secrets::SealedSecret;
pub use store::State;
pub use uploads::{PartRow, UploadRow};
pub use upstreams::{SealedPassword, SealedUpstream};
pub use version_listing::{ListedVersion, VersionPage, VersionQuery};
pub use versions::Published;
pub use walk::{Chosen, ChosenPage};

#[cfg(test)]
mod fixture;
