//! `targets`: how many events wait for each target.

use super::error::Result;
use super::owner::Owner;
use crate::doors::Doors;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// Targets that are told of at most: those with the most waiting events.
const MOST: usize = 1_000;

/// `GET targets`: those for which events wait or are under way.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Result<Json<Vec<Value>>> {
    let mut targets: Vec<_> = doors.engine.event_metrics().await?.into_iter().collect();
    targets.retain(|(_, one)| one.counts.waiting + one.counts.leased > 0);
    targets.sort_by_key(|(_, one)| std::cmp::Reverse(one.counts.waiting));
    targets.truncate(MOST);
    let shown = targets.into_iter().map(|(target, one)| {
        json!({
            "target": target,
            "waiting": one.counts.waiting,
            "leased": one.counts.leased,
            "oldest": one.oldest,
        })
    });
    Ok(Json(shown.collect()))
}
