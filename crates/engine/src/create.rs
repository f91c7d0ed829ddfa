//! New sandboxes from images: by a clone in stock, else by a template, else by a boot.

use bhatti_host::files;
use bhatti_image::image::Image;
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::user::UserRow;
use bhatti_types::id::{SandboxId, TemplateId};
use bhatti_types::name::ImageName;
use bhatti_types::run::Init;
use bhatti_types::size::DiskMb;

use crate::engine::{Engine, NotMade, limits};
use crate::error::Error;
use crate::program;
use crate::request::{Caller, Copies, NewCopies, NewSandbox, Size};
use crate::sandbox::leases::Leases;
use crate::sandbox::work::{Material, Work};
use crate::templates::build::{Wanted, row};
use crate::view::SandboxView;
use crate::volumes::copies::NewVolumes;

/// The image of a sandbox that names none.
const DEFAULT_IMAGE: &str = "base";

impl Engine {
    pub(crate) async fn create(
        &self,
        caller: &Caller,
        new: NewSandbox,
    ) -> Result<SandboxView, Error> {
        if let Some(from) = new.from {
            let one = NewCopies {
                name: new.name,
                count: Copies::ONE,
                wait: new.wait,
            };
            let mut copies = self.fork(caller, &from, one).await?;
            return copies
                .pop()
                .ok_or_else(|| Error::internal("a fork without a copy"));
        }
        self.ctx.network.check(&new.egress)?;
        let _creating = self.ctx.stock.creating();
        let user = self.ctx.user_row(&caller.user).await?;
        let image = match &new.image {
            Some(name) => name.clone(),
            None => DEFAULT_IMAGE.parse()?,
        };
        let size = Size {
            cpus: new.cpus,
            memory: new.memory,
            disk: new.disk,
        };
        let wanted = self.wanted(&user, &image, size, new.init).await?;
        self.ctx.refuse_if_going_down()?;
        // A template that is booted first has gone before the machine itself starts.
        let _room = self.ctx.admission.room(new.memory, new.wait).await?;
        let used = files::disk_usage(&wanted.image.disk).map_err(Error::internal)?;
        self.ctx.room_on_disk(used).await?;
        let asked = new.volumes.clone();
        let row = self.new_row(caller, new, &wanted)?;
        let id = wanted.shape.id();
        self.ctx.stock.demand(&id);
        let volumes = self.ctx.volumes_for(&user, &asked).await?;
        let made = self
            .make_by_template(&user, row, &wanted, &volumes.new)
            .await;
        volumes.new.release();
        if made.is_ok() {
            self.ctx.count_use(&id);
        } else {
            self.ctx.take_back_volumes(volumes.made).await;
        }
        made
    }

    /// What a machine of this size is made of.
    pub(crate) async fn wanted(
        &self,
        user: &UserRow,
        image: &ImageName,
        size: Size,
        init: Option<Init>,
    ) -> Result<Wanted, Error> {
        limits(user).check(size.cpus, size.memory)?;
        let (seen, lease) = self.ctx.image_to_use(&user.id, image).await?;
        let image = seen.image;
        let disk = disk_size(&image, size.disk)?;
        let kit = self.ctx.kits.current()?;
        let size = (size.cpus, size.memory, disk);
        let init = init.unwrap_or_else(|| program::init_of(&image.config));
        let shape = self.ctx.shape(&image, &kit, size, init).await?;
        Ok(Wanted {
            shape,
            image,
            _lease: lease,
        })
    }

    fn new_row(
        &self,
        caller: &Caller,
        new: NewSandbox,
        wanted: &Wanted,
    ) -> Result<SandboxRow, Error> {
        let (shape, config) = (&wanted.shape, &wanted.image.config);
        let (init, run) = program::of(&wanted.image, Some(shape.init), new.run.as_ref())?;
        let (status, thermal) = State::Creating.shown();
        Ok(SandboxRow {
            user: caller.user.clone(),
            name: match new.name {
                Some(name) => name,
                None => self.free_name(caller)?,
            },
            status,
            thermal,
            env: config.env.overlaid(&new.env),
            labels: new.labels,
            run_as: new.run_as.or_else(|| config.user.clone()),
            workdir: config.workdir.clone(),
            idle: new.idle,
            egress: new.egress,
            init,
            run,
            ..row(shape)
        })
    }

    /// Makes a sandbox by the quickest way there is; one that does not work is followed by the
    /// next.
    async fn make_by_template(
        &self,
        user: &UserRow,
        row: SandboxRow,
        wanted: &Wanted,
        volumes: &NewVolumes,
    ) -> Result<SandboxView, Error> {
        let id = wanted.shape.id();
        if let Some(clone) = self.ctx.stock.take(&id)
            && let Some(made) = self
                .take_from_stock(user, row.clone(), clone, &id, volumes)
                .await?
        {
            return Ok(made);
        }
        let fresh = |row: &SandboxRow| SandboxRow {
            id: SandboxId::random(),
            ..row.clone()
        };
        let material = Material::Wanted(Box::new(wanted.clone()));
        let made = self
            .make(user, fresh(&row), PlanKind::Clone, material, volumes)
            .await;
        match made {
            // Only what was marked: the create may have failed for reasons of its own.
            Err(error) if self.ctx.templates.is_broken(&id) => {
                tracing::warn!(
                    template = %id,
                    error = &error as &dyn std::error::Error,
                    "a template did not work: it is deleted, and the machine boots"
                );
                self.ctx.drop_template(&id).await;
                let material = Material::Image(Box::new(wanted.image.clone()));
                self.make(user, fresh(&row), PlanKind::Create, material, volumes)
                    .await
            }
            made => made,
        }
    }

    /// Makes a clone in stock the sandbox of `row`; `None` if the clone did not work.
    async fn take_from_stock(
        &self,
        user: &UserRow,
        row: SandboxRow,
        mut clone: Work,
        template: &TemplateId,
        volumes: &NewVolumes,
    ) -> Result<Option<SandboxView>, Error> {
        let id = clone.row.id.clone();
        clone.row = SandboxRow { id, ..row };
        // It was of no use to anyone until now, which is no idleness of the sandbox's.
        clone.leases = Leases::new();
        let made = self
            .make_of(user, clone, PlanKind::Take, Material::None, volumes)
            .await;
        match made {
            Ok(made) => Ok(Some(made)),
            // The name is taken or a limit reached: the clone is as good as before.
            Err(NotMade {
                error,
                unused: Some(work),
            }) => {
                self.ctx.put_back(template, *work).await;
                Err(error)
            }
            Err(NotMade {
                error,
                unused: None,
            }) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a clone from stock did not work; another is made"
                );
                Ok(None)
            }
        }
    }
}

/// The size of a new disk: never smaller than the image, whose file system fills it.
fn disk_size(image: &Image, asked: Option<DiskMb>) -> Result<DiskMb, Error> {
    match asked {
        Some(asked) if asked < image.size_mb => Err(bhatti_types::invalid::Invalid::new(
            "disk size",
            &asked.to_string(),
            format!("image {} needs at least {} MB", image.name, image.size_mb),
        )
        .into()),
        Some(asked) => Ok(asked),
        None => Ok(image.size_mb),
    }
}
