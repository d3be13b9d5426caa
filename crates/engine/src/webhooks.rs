//! The webhooks as they are now.

use crate::engine::Corridor;
use crate::webhook::signature;
use crate::{Engine, Error, Result};
use model::{Secret, Timestamp, Webhook, WebhookName};
use rand::TryRngCore;
use rand::rngs::OsRng;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Follows the store: changed only after the store was.
pub(crate) struct Webhooks {
    /// Whether they may lead to private networks and the host itself.
    pub(crate) private: bool,
    all: RwLock<BTreeMap<WebhookName, Arc<Webhook>>>,
}

impl Webhooks {
    pub(crate) fn new(private: bool) -> Self {
        Self {
            private,
            all: RwLock::default(),
        }
    }

    /// One of them.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn get(&self, name: &WebhookName) -> Result<Arc<Webhook>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        let missing = || state::Error::NotFound {
            what: "webhook",
            name: name.to_string(),
        };
        all.get(name).cloned().ok_or_else(|| missing().into())
    }

    fn put(&self, webhook: Webhook) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(webhook.name.clone(), Arc::new(webhook));
    }
}

impl Corridor {
    /// Takes all webhooks into memory.
    pub(crate) async fn load_webhooks(&self) -> Result<()> {
        for webhook in self.state.list_webhooks().await? {
            self.webhooks.put(webhook);
        }
        Ok(())
    }
}

impl Engine {
    /// Makes or changes a webhook. Without a secret a new one gets one of its own, and another keeps
    /// the one that it has.
    ///
    /// # Errors
    /// `Invalid`, `Random`, `State` (`Conflict`: there are 1 000).
    pub async fn put_webhook(
        &self,
        name: WebhookName,
        url: String,
        headers: BTreeMap<String, Secret>,
        secret: Option<Secret>,
    ) -> Result<Webhook> {
        let now = Timestamp::now();
        let given = secret.is_some();
        let webhook = Webhook {
            name: name.clone(),
            url,
            headers,
            secret: match secret {
                Some(secret) => secret,
                None => random_secret()?,
            },
            created: now,
            modified: now,
        };
        webhook.check()?;
        signature::key(&webhook.secret)?;
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        let change = move |old: Option<Webhook>| match old {
            Some(old) => Webhook {
                secret: if given { webhook.secret } else { old.secret },
                created: old.created,
                ..webhook
            },
            None => webhook,
        };
        let webhook = corridor.state.put_webhook(name, change).await?;
        corridor.webhooks.put(webhook.clone());
        Ok(webhook)
    }

    /// One webhook.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get_webhook(&self, name: &WebhookName) -> Result<Arc<Webhook>> {
        self.corridor.webhooks.get(name)
    }

    /// All webhooks, by name.
    pub fn list_webhooks(&self) -> Vec<Arc<Webhook>> {
        let all = &self.corridor.webhooks.all;
        let all = all.read().unwrap_or_else(PoisonError::into_inner);
        all.values().cloned().collect()
    }

    /// Removes a webhook. Its events that have not ended are cancelled.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_webhook(&self, name: &WebhookName) -> Result<()> {
        let corridor = &self.corridor;
        let _changing = corridor.changing.lock().await;
        corridor.state.delete_webhook(name.clone()).await?;
        let all = &corridor.webhooks.all;
        let mut all = all.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(name);
        corridor.deleted.notify_one();
        Ok(())
    }
}

fn random_secret() -> Result<Secret> {
    let mut bytes = [0_u8; signature::SECRET];
    OsRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| Error::Random(error.to_string()))?;
    Ok(signature::secret(&bytes))
}
