//! Table `webhook`.

use crate::error::Failure;
use crate::row::{all, first, json, run, to_json};
use crate::{Result, State, cancellations};
use model::{MAX_WEBHOOKS, Webhook, WebhookName};
use rusqlite::params;

impl State {
    /// Makes or changes a webhook, in one step: `change` is given the one that is there.
    ///
    /// # Errors
    /// `Conflict` when there are too many.
    pub async fn put_webhook(
        &self,
        name: WebhookName,
        change: impl FnOnce(Option<Webhook>) -> Webhook + Send + 'static,
    ) -> Result<Webhook> {
        self.write("storing a webhook", move |tx| {
            let sql = "SELECT spec FROM webhook WHERE name = ?1";
            let old = first(tx, sql, [name.as_str()], |row| json(row, "spec"))?;
            let sql = "SELECT count(*) FROM webhook";
            let count: i64 = tx.query_row(sql, [], |row| row.get(0))?;
            if old.is_none() && count >= MAX_WEBHOOKS as i64 {
                let reason = "there are 1000 webhooks, which is the most; delete one first";
                return Err(Failure::conflict("webhook", name, reason));
            }
            let webhook = change(old);
            let sql = "REPLACE INTO webhook (name, spec) VALUES (?1, ?2)";
            run(tx, sql, params![name.as_str(), to_json(&webhook)?])?;
            Ok(webhook)
        })
        .await
    }

    /// One webhook.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get_webhook(&self, name: WebhookName) -> Result<Webhook> {
        self.read("reading a webhook", move |db| {
            let sql = "SELECT spec FROM webhook WHERE name = ?1";
            first(db, sql, [name.as_str()], |row| json(row, "spec"))?
                .ok_or_else(|| Failure::not_found("webhook", name))
        })
        .await
    }

    /// All webhooks by name.
    ///
    /// # Errors
    /// Of the store.
    pub async fn list_webhooks(&self) -> Result<Vec<Webhook>> {
        self.read("listing webhooks", |db| {
            let sql = "SELECT spec FROM webhook ORDER BY name";
            all(db, sql, [], |row| json(row, "spec"))
        })
        .await
    }

    /// Removes a webhook; its events that have not ended are cancelled as with a function,
    /// with the reason "webhook deleted".
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_webhook(&self, name: WebhookName) -> Result<()> {
        self.write("deleting a webhook", move |tx| {
            if run(tx, "DELETE FROM webhook WHERE name = ?1", [name.as_str()])? == 0 {
                return Err(Failure::not_found("webhook", name));
            }
            let key = format!("webhook:{name}");
            cancellations::begin(tx, &key, "webhook deleted")
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fixture::store;
    use model::{Kind, Secret, Timestamp};

    #[tokio::test]
    async fn a_webhook_is_kept_with_its_secrets_and_deleted() {
        let (_folder, state) = store().await;
        let name: WebhookName = "w".parse().unwrap();
        let webhook = Webhook {
            name: name.clone(),
            url: "https://example.com".into(),
            headers: [("x-key".to_owned(), Secret::new("k".into()))].into(),
            secret: Secret::new("whsec_s".into()),
            created: Timestamp(1),
            modified: Timestamp(2),
        };
        let new = webhook.clone();
        state.put_webhook(name.clone(), |_| new).await.unwrap();
        assert_eq!(state.get_webhook(name.clone()).await.unwrap(), webhook);
        assert_eq!(state.list_webhooks().await.unwrap(), [webhook]);
        state.delete_webhook(name.clone()).await.unwrap();
        let missing = state.delete_webhook(name).await.unwrap_err();
        assert_eq!(missing.kind(), Kind::NotFound);
    }
}
