//! Deletes templates: by hand, when there are too many, when the disk is short.

use std::time::Duration;

use bhatti_host::files;
use bhatti_types::id::TemplateId;
use tokio::time::timeout;

use super::registry::Entry;
use crate::checkpoint;
use crate::context::Context;
use crate::error::Error;
use crate::images::gc::Collect;

/// Time for creates in progress to have what they need of a template.
const USE_LIMIT: Duration = Duration::from_mins(2);

impl Context {
    /// Makes sure that `bytes` may be used on the disk: templates that are not being used make
    /// room, the least recently used first. If all of them are not enough, none is deleted.
    pub(crate) async fn room_on_disk(&self, bytes: u64) -> Result<(), Error> {
        let Err(refused) = self.admit_disk(bytes) else {
            return Ok(());
        };
        // Nobody misses layers of which no image is made.
        let collected = self.unused_layers(Collect::Delete).await;
        if let Err(error) = &collected {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "layers that nothing needs were not deleted"
            );
        }
        if self.admit_disk(bytes).is_ok() {
            return Ok(());
        }
        let (evictable, total) = self.evictable().await;
        if self.admit_disk(bytes.saturating_sub(total)).is_err() {
            return Err(refused);
        }
        for (id, entry) in evictable {
            tracing::info!(template = %id, image = %entry.shape.image_name, "the disk is short: a template is deleted");
            self.drop_template(&id).await;
            if self.admit_disk(bytes).is_ok() {
                return Ok(());
            }
        }
        Err(refused)
    }

    /// The templates that nobody is using, the least recently used first, and what would be
    /// free without them.
    async fn evictable(&self) -> (Vec<(TemplateId, Entry)>, u64) {
        let mut unused = self.templates.all();
        unused.retain(|(_, entry)| entry.lock.try_write().is_ok());
        unused.reverse();
        let dirs: Vec<_> = unused.iter().map(|(_, entry)| entry.dir.clone()).collect();
        let total = Self::blocking(move || {
            let usages = dirs.iter().filter_map(|dir| checkpoint::usage(dir).ok());
            usages.map(|usage| usage.own_bytes).sum()
        });
        (unused, total.await.unwrap_or_default())
    }

    /// Deletes the least recently used templates until there are no more than there may be, but
    /// not the one that was made just now: it is being waited for.
    pub(super) async fn keep_to_max_templates(&self, made: Option<&TemplateId>) {
        let all = self.templates.all();
        let over = all.len().saturating_sub(self.templates.max);
        let unused = all
            .iter()
            .rev()
            .filter(|(id, entry)| made != Some(id) && entry.lock.try_write().is_ok());
        for (id, entry) in unused.take(over) {
            tracing::info!(template = %id, image = %entry.shape.image_name, "one template too many: it is deleted");
            self.drop_template(id).await;
        }
    }

    /// Deletes a template that is a cache only; what goes wrong is said in the log and put right
    /// at the next start.
    pub(crate) async fn drop_template(&self, id: &TemplateId) {
        if let Err(error) = self.delete_template(id).await {
            tracing::error!(
                template = %id,
                error = &error as &dyn std::error::Error,
                "a template was not deleted"
            );
        }
    }

    /// Deletes a template and its clones in stock; says whether it was there. Nobody begins to
    /// use it from now on; creates that have begun to are waited for.
    pub(super) async fn delete_template(&self, id: &TemplateId) -> Result<bool, Error> {
        let Some(entry) = self.templates.remove(id) else {
            return Ok(false);
        };
        self.stock.give_up(id).await;
        let free = timeout(USE_LIMIT, entry.lock.clone().write_owned()).await;
        let Ok(_alone) = free else {
            // It stays out of use until the next start, which deletes it or takes it up again.
            return Err(Error::Timeout {
                what: "a create from the template",
                seconds: USE_LIMIT.as_secs(),
            });
        };
        self.forget_sound(&entry.dir);
        Self::blocking(move || files::remove_tree(&entry.dir))
            .await?
            .map_err(Error::internal)?;
        self.templates.gone(id);
        Ok(true)
    }
}
