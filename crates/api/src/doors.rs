//! What every door is given: the engine, who may come in, and the settings.
//!
//! A door is a folder (`control`, `lambda`, `scheduler`) with two functions that `server` calls:
//!
//! - `router(Doors) -> axum::Router`. Its requests were verified before: each carries the extensions
//!   [`Verified`](crate::auth::Verified) (also an extractor) and [`Origin`](crate::Origin), has no
//!   `Authorization` header any more, and may carry a path that the door does not know.
//! - `refuse(&Refused) -> axum::response::Response`: says in the door's dialect why a request was
//!   not let in.
//!
//! `route`, the way of every HTTP call, has `serve` in place of a router.
//!
//! `control` only ever sees the owner of the server; `/_rouse/health` is answered by `server`.

use crate::ServerOptions;
use crate::auth::Auth;
use engine::Engine;

/// What every door is given. A cheap handle.
#[derive(Clone)]
pub(crate) struct Doors {
    /// What carries out what is asked.
    pub(crate) engine: Engine,
    /// Who may come in.
    pub(crate) auth: Auth,
    /// The server's settings.
    pub(crate) options: ServerOptions,
}
