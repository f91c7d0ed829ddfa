//! What callers are shown of templates, and what they may do with them.

use std::collections::HashSet;
use std::sync::Arc;

use bhatti_types::id::TemplateId;
use bhatti_types::name::ImageName;

use super::build::{Retry, Wanted};
use super::registry::Entry;
use crate::checkpoint;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::request::{Caller, Role, Size};
use crate::view::TemplateView;

impl Engine {
    /// Makes the template of a shape ahead of the first create of it. Takes as long as a boot and
    /// a stop, or no time if it is there.
    pub async fn image_warm(
        &self,
        caller: &Caller,
        image: &ImageName,
        size: Size,
    ) -> Result<TemplateView, Error> {
        let (engine, caller, image) = (self.clone(), caller.clone(), image.clone());
        self.owned(async move {
            let user = engine.ctx.user_row(&caller.user).await?;
            let wanted = engine.wanted(&user, &image, size, None).await?;
            engine.ctx.refuse_if_going_down()?;
            let _room = engine.ctx.admission.room(size.memory, None).await?;
            engine.ctx.warmed_template(&wanted).await
        })
        .await
    }

    /// The templates of images the caller sees, the one of the latest use first; the
    /// administrator sees all.
    pub async fn template_list(&self, caller: &Caller) -> Result<Vec<TemplateView>, Error> {
        if caller.role == Role::Admin {
            return self.ctx.all_templates(|_| true).await;
        }
        let seen = self.ctx.images_seen(&caller.user).await?;
        let images: HashSet<_> = seen.into_iter().map(|seen| seen.image.id).collect();
        self.ctx
            .all_templates(|entry| images.contains(&entry.shape.image))
            .await
    }

    /// Deletes a template; machines made from it go on.
    pub async fn template_delete(&self, id: &TemplateId) -> Result<(), Error> {
        let (ctx, id) = (self.ctx.clone(), id.clone());
        self.owned(async move { ctx.delete_known_template(&id).await })
            .await
    }
}

impl Context {
    /// The templates that are wanted, the one of the latest use first.
    async fn all_templates(
        &self,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<Vec<TemplateView>, Error> {
        let all = self.templates.all().into_iter();
        let counted = all.filter(|(_, entry)| wanted(entry)).map(|(id, entry)| {
            let pool = self.stock.count(&id);
            (id, entry, pool)
        });
        let counted: Vec<_> = counted.collect();
        Self::blocking(move || {
            let views = counted
                .into_iter()
                .map(|(id, entry, pool)| view(id, entry, pool));
            views.collect()
        })
        .await
    }

    /// Makes the template of a shape if it is not there, and shows it.
    async fn warmed_template(self: &Arc<Self>, wanted: &Wanted) -> Result<TemplateView, Error> {
        if !self.templates.are_used() {
            return Err(Error::Conflict {
                message: "this daemon keeps no templates".to_owned(),
                hint: Some("set `max_templates` in its configuration".to_owned()),
            });
        }
        let id = wanted.shape.id();
        let lease = self.made_template(wanted, Retry::Now).await?;
        drop(lease);
        let mut made = self
            .all_templates(|entry| entry.shape.id() == id)
            .await?
            .into_iter();
        let made = made.next();
        made.ok_or_else(|| Error::Conflict {
            message: "the template was deleted as soon as it was made".to_owned(),
            hint: None,
        })
    }

    /// Deletes a template that has to be there.
    async fn delete_known_template(&self, id: &TemplateId) -> Result<(), Error> {
        if self.delete_template(id).await? {
            return Ok(());
        }
        Err(Error::NotFound {
            kind: Kind::Template,
            name: id.to_string(),
        })
    }
}

/// Blocking: looks at the files.
fn view(id: TemplateId, entry: Entry, pool: usize) -> TemplateView {
    TemplateView {
        id,
        image: entry.shape.image_name,
        cpus: entry.shape.cpus,
        memory: entry.shape.memory,
        disk: entry.shape.disk,
        kit: entry.shape.kit,
        engine: entry.shape.engine,
        accelerator: entry.shape.accelerator.as_str().to_owned(),
        uses: entry.uses,
        used_at: entry.used_at,
        created_at: entry.created_at,
        usage: checkpoint::usage(&entry.dir).ok(),
        pool,
    }
}
