//! `queues`: their names, settings and counts. Messages go through the SQS door.

use super::error::Result;
use super::owner::Owner;
use crate::doors::Doors;
use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

/// Queues that are read at a time.
const PAGE: u32 = 1_000;

/// `GET queues`.
pub(super) async fn list(_: Owner, State(doors): State<Doors>) -> Result<Json<Vec<Value>>> {
    let mut shown = Vec::new();
    let mut after = String::new();
    loop {
        let page = doors.engine.list_queues(String::new(), after, PAGE).await?;
        let Some(last) = page.last() else {
            return Ok(Json(shown));
        };
        after = last.name.to_string();
        for queue in page {
            let Some(one) = doors.engine.metrics_of_queue(&queue.name).await? else {
                continue;
            };
            shown.push(json!({
                "name": queue.name,
                "created": queue.created,
                "attributes": queue.attributes,
                "visible": one.counts.visible,
                "in_flight": one.counts.in_flight,
                "delayed": one.counts.delayed,
                "oldest": one.oldest,
            }));
        }
    }
}
