//! What can go wrong in the engine.

use model::Kind;

/// Shorthand.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A rule of the model is broken.
    #[error(transparent)]
    Invalid(#[from] model::Invalid),
    /// Of the storage below.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// Of the store below.
    #[error(transparent)]
    State(#[from] state::Error),
    /// Of the runtime below.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// Too many calls wait for this function.
    #[error(
        "{name} has {waiting} calls waiting, its bound; try again later, or raise its queue or max_instances"
    )]
    Throttled {
        /// Which function.
        name: String,
        /// How many wait.
        waiting: usize,
    },
    /// Nothing is reserved for the function.
    #[error(
        "{name} has a reserved concurrency of 0, so it takes no calls; reserve more, or nothing (DeleteFunctionConcurrency, or `reserved` in its manifest)"
    )]
    Off {
        /// Which function.
        name: String,
    },
    /// More would be reserved than the machine can spare.
    #[error(
        "reserving {asked} for {name} makes {reserved} of the machine's {most} instances, and {left} must stay for functions without a reservation; reserve less, or raise `rouse serve --max-instances`"
    )]
    Reserved {
        /// Which function.
        name: String,
        /// How many are asked for.
        asked: u32,
        /// Of all functions, this one included.
        reserved: usize,
        /// How many there are.
        most: usize,
        /// How many must not be reserved.
        left: usize,
    },
    /// No instance was free in time.
    #[error(
        "no instance of {name} was free within {seconds} s; try again later, or raise its max_instances, or the machine's (`rouse serve --max-instances`)"
    )]
    Waited {
        /// Which function.
        name: String,
        /// How long the call waited.
        seconds: u64,
    },
    /// Code or an image that was named is not on this server.
    #[error("{0}")]
    Absent(String),
    /// The last name of an image that something runs on.
    #[error("a function or service runs on {0}: remove or change it first (see `rouse ls`)")]
    InUse(String),
    /// No instance of a new version started.
    #[error(
        "the new version of {name} did not start, so version {serving} goes on serving: {reason}"
    )]
    NotStarted {
        /// Which function.
        name: String,
        /// Which version serves.
        serving: u64,
        /// Why it did not.
        reason: String,
        /// Whether it was not tried, for want of room or because this machine failed.
        untried: bool,
    },
    /// The server is shutting down.
    #[error("the server is shutting down; try again when it is back")]
    Draining,
    /// A service has no healthy replica.
    #[error("service \"{0}\" has no healthy replica; see `rouse ps` and `rouse logs {0}`")]
    NoReplica(String),
    /// Who asks is on none of its networks.
    #[error(
        "{0} shares no network with what asks; put both on one under `networks` of the manifest"
    )]
    Apart(String),
    /// The request cannot be meant.
    #[error("{0}")]
    Refused(String),
    /// One thing of a deployment cannot be made; nothing of the deployment was done.
    #[error("{what} \"{name}\": {source}")]
    Prepare {
        /// `function` or `service`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// One thing of a deployment could not be applied; what comes before it is.
    #[error(
        "{what} \"{name}\" was not applied: {source}; what comes before it is in place, so deploy again once this is put right"
    )]
    Apply {
        /// `bucket`, `function`, `service` or `schedules of`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// An event pattern, in the words of AWS.
    #[error("Event pattern is not valid. Reason: {0}")]
    Pattern(pattern::Invalid),
    /// Past a bound on how many there may be.
    #[error("{0}")]
    Limit(String),
    /// Belongs to a manifest, which is to be changed in its place.
    #[error("{0}")]
    Managed(String),
    /// A secret, a config or a password that cannot be read.
    #[error("{what} \"{name}\" cannot be read: {reason}")]
    Sealed {
        /// `secret`, `config` or `upstream`.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// Another registry did not give what was asked for.
    #[error("the upstream {upstream} did not give {what}: {reason}")]
    Upstream {
        /// Its name and address.
        upstream: String,
        /// What was asked for.
        what: String,
        /// Why not.
        reason: String,
        /// Of what kind that is.
        kind: Kind,
    },
    /// No keys could be made.
    #[error("the kernel gave no random bytes for new keys: {0}")]
    Random(String),
}

impl Error {
    /// The transport-free kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Invalid(_) | Self::Refused(_) | Self::Reserved { .. } => Kind::Invalid,
            Self::Pattern(_) => Kind::Invalid,
            Self::Limit(_) | Self::Managed(_) => Kind::Conflict,
            Self::Storage(error) => error.kind(),
            Self::State(error) => error.kind(),
            Self::Runtime(error) => error.kind(),
            Self::Throttled { .. } | Self::Off { .. } | Self::Waited { .. } => Kind::Throttled,
            Self::Absent(_) => Kind::NotFound,
            Self::Apart(_) => Kind::Forbidden,
            Self::InUse(_) | Self::NotStarted { untried: false, .. } => Kind::Conflict,
            Self::NotStarted { untried: true, .. } => Kind::Unavailable,
            Self::Prepare { source, .. } | Self::Apply { source, .. } => source.kind(),
            Self::Random(_) => Kind::Internal,
            Self::Sealed { .. } => Kind::Unavailable,
            Self::Upstream { kind, .. } => *kind,
            Self::Draining | Self::NoReplica(_) => Kind::Unavailable,
        }
    }

    /// A function that is not there, in the words of the store.
    pub(crate) fn no_function(name: &model::FunctionName) -> Self {
        Self::State(state::Error::NotFound {
            what: "function",
            name: name.to_string(),
        })
    }

    /// A version or alias that is not there, in the words of the store.
    pub(crate) fn no_version(
        name: &model::FunctionName,
        qualifier: Option<&model::Qualifier>,
    ) -> Self {
        let qualifier = qualifier.map_or_else(String::new, |qualifier| format!(":{qualifier}"));
        Self::State(state::Error::NotFound {
            what: "version or alias",
            name: format!("{name}{qualifier}"),
        })
    }

    /// A service that is not there, in the words of the store.
    pub(crate) fn no_service(name: &model::ServiceName) -> Self {
        Self::State(state::Error::NotFound {
            what: "service",
            name: name.to_string(),
        })
    }
}
