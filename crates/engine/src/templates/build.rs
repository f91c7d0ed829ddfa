//! Makes a template, once for all who wait for it.

use std::sync::Arc;
use std::time::Duration;

use bhatti_host::files;
use bhatti_image::image::Image;
use bhatti_image::kit::Kit;
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::user::local_id;
use bhatti_types::egress::Egress;
use bhatti_types::env::Env;
use bhatti_types::id::{SandboxId, TemplateId};
use bhatti_types::idle::IdleSettings;
use bhatti_types::labels::Labels;
use bhatti_types::run::Init;
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus};
use jiff::Timestamp;
use tokio::time::timeout;
use tracing::Instrument as _;

use super::disk;
use super::registry::{Entry, Outcome, TemplateLease, Turn};
use super::shape::{FORMAT, Shape};
use crate::context::Context;
use crate::error::Error;
use crate::images::lookup::ImageLease;
use crate::sandbox::work::{Material, Work};

/// How long one waits for a template: a boot, a save and the syncs, on a host that does other
/// things too.
const WAIT_LIMIT: Duration = Duration::from_mins(5);
/// Most memory that a guest which has just booted has written, as far as the size of its memory
/// does not matter; in bytes. A cloud kernel with an initrd and this agent writes about 100 MiB.
const BOOT_WRITES: u64 = 256 << 20;
/// Part of its memory that a guest writes besides, to describe the rest.
const BOOT_WRITES_PART: u64 = 16;

/// A shape and the image it boots from.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) shape: Shape,
    pub(crate) image: Image,
    /// The image is there for as long as this is.
    pub(crate) _lease: ImageLease,
}

/// Whether a template that could not be made a short while ago is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// At once: somebody asks for it by hand.
    Now,
    /// Not before a minute has passed.
    Later,
}

impl Context {
    /// The VMM's own words about its version; asked for once.
    pub(crate) async fn engine_version(&self) -> Result<&str, Error> {
        let known = &self.templates.engine_version;
        let version = known.get_or_try_init(|| self.vmm.version()).await?;
        Ok(version)
    }

    /// The shape of machines made of these, of a kit and accelerator that are in use now.
    pub(crate) async fn shape(
        &self,
        image: &Image,
        kit: &Kit,
        (cpus, memory, disk): (Vcpus, MemoryMb, DiskMb),
        init: Init,
    ) -> Result<Shape, Error> {
        let accelerator = self.accelerator(kit).await?;
        let engine_version = self.engine_version().await?.to_owned();
        Ok(Shape {
            format: FORMAT,
            image: image.id.clone(),
            image_name: image.name.clone(),
            cpus,
            memory,
            disk,
            kit: kit.id.to_string(),
            engine: self.vmm.name().to_owned(),
            engine_version,
            accelerator,
            init,
        })
    }

    /// The template for a create, made if it is not there. `None` if there is none to be had: the
    /// create boots by itself. Dropping this leaves the making of the template going on.
    pub(crate) async fn template(
        self: &Arc<Self>,
        wanted: &Wanted,
    ) -> Result<Option<TemplateLease>, Error> {
        if !self.templates.are_used() {
            return Ok(None);
        }
        match self.made_template(wanted, Retry::Later).await {
            Err(error @ (Error::Timeout { .. } | Error::Stopping)) => Err(error),
            // Said in the log by who tried to make it.
            Err(_) => Ok(None),
            Ok(lease) => Ok(lease),
        }
    }

    /// The template of a shape, made if it is not there; `None` if it could not be made a short
    /// while ago, or was deleted at once.
    pub(super) async fn made_template(
        self: &Arc<Self>,
        wanted: &Wanted,
        retry: Retry,
    ) -> Result<Option<TemplateLease>, Error> {
        if let Some(lease) = self.templates.lease(&wanted.shape) {
            return Ok(Some(lease));
        }
        let id = wanted.shape.id();
        let mut outcome = match self.templates.turn(&id, retry == Retry::Now) {
            Turn::NotNow => return Ok(None),
            Turn::Theirs(outcome) => outcome,
            Turn::Mine(tell, outcome) => {
                if self.tasks.is_closed() {
                    self.templates.built(&id, None);
                    return Err(Error::Stopping);
                }
                let (ctx, wanted) = (self.clone(), wanted.clone());
                let task = async move { ctx.make_for_all(&id, wanted, &tell).await };
                self.tasks.spawn(task.in_current_span());
                outcome
            }
        };
        let told = timeout(WAIT_LIMIT, outcome.wait_for(Option::is_some)).await;
        let told: Outcome = match told {
            Ok(Ok(told)) => told.clone(),
            // Its maker broke down.
            Ok(Err(_)) => None,
            Err(_) => {
                return Err(Error::Timeout {
                    what: "the making of the template",
                    seconds: WAIT_LIMIT.as_secs(),
                });
            }
        };
        match told {
            Some(Ok(())) => Ok(self.templates.lease(&wanted.shape)),
            Some(Err(error)) => Err(shared(error)),
            None => Err(Error::internal("the making of a template broke down")),
        }
    }

    async fn make_for_all(
        self: &Arc<Self>,
        id: &TemplateId,
        wanted: Wanted,
        tell: &tokio::sync::watch::Sender<Outcome>,
    ) {
        let shape = wanted.shape.clone();
        // In a task of its own, so that whatever it does the others are told.
        let making = tokio::spawn(make(self.clone(), wanted).in_current_span());
        let result = making.await.map_err(Error::internal).and_then(|made| made);
        match result {
            Ok(()) => {
                let entry = Entry {
                    dir: self.layout.template(id),
                    shape,
                    created_at: Timestamp::now(),
                    used_at: None,
                    uses: 0,
                    lock: Arc::default(),
                };
                self.templates.built(id, Some(entry));
                tell.send_replace(Some(Ok(())));
                self.keep_to_max_templates(Some(id)).await;
            }
            Err(error) => {
                tracing::warn!(
                    template = %id,
                    image = %shape.image_name,
                    error = &error as &dyn std::error::Error,
                    "a template could not be made; creates of its shape boot for a minute"
                );
                self.templates.built(id, None);
                tell.send_replace(Some(Err(Arc::new(error))));
            }
        }
    }

    /// Notes, in the background, that a machine was made from a template.
    pub(crate) fn count_use(self: &Arc<Self>, id: &TemplateId) {
        let Some((dir, uses)) = self.templates.count_use(id, Timestamp::now()) else {
            return;
        };
        self.tasks.spawn(async move {
            let written = Self::blocking(move || disk::write_uses(&dir, uses)).await;
            // It may have been deleted meanwhile.
            if let Ok(Err(error)) = written {
                tracing::debug!(%error, "a template's use was not written down");
            }
        });
    }
}

/// Boots a machine of the shape in a directory of its own and saves it.
async fn make(ctx: Arc<Context>, wanted: Wanted) -> Result<(), Error> {
    // Others that can't be used any more go first, and one that did not work.
    ctx.forget_outdated_templates().await;
    let shape = &wanted.shape;
    ctx.delete_template(&shape.id()).await?;
    let memory = shape.memory.bytes();
    let written = memory.min(BOOT_WRITES + memory / BOOT_WRITES_PART);
    let image = files::disk_usage(&wanted.image.disk).map_err(Error::internal)?;
    ctx.room_on_disk(image + written).await?;
    let place = ctx.layout.template_half(&shape.id());
    let mut work = Work::new(ctx, row(shape), None);
    work.place = Some(place);
    work.material = Material::Build(Box::new(wanted));
    work.run(PlanKind::BuildTemplate).await
}

/// What stands for a record with a machine that is nobody's sandbox, and what a new sandbox of the
/// shape has in common with it.
pub(crate) fn row(shape: &Shape) -> SandboxRow {
    let (status, thermal) = State::Hot.shown();
    SandboxRow {
        id: SandboxId::random(),
        user: local_id(),
        name: "template".parse().expect("the word is a name"),
        status,
        thermal,
        reason: None,
        image: shape.image_name.clone(),
        cpus: shape.cpus,
        memory: shape.memory,
        disk: shape.disk,
        env: Env::default(),
        labels: Labels::default(),
        run_as: None,
        workdir: None,
        kit: shape.kit.clone(),
        engine: shape.engine.clone(),
        accelerator: Some(shape.accelerator.as_str().to_owned()),
        resumed_from: None,
        machine: None,
        created_at: Timestamp::now(),
        stopped_at: None,
        idle: IdleSettings::default(),
        used_at: None,
        wake_at: None,
        parent: None,
        address: None,
        egress: Egress::default(),
        init: shape.init,
        run: None,
    }
}

/// An error that several callers get.
fn shared(error: Arc<Error>) -> Error {
    match &*error {
        Error::Unavailable { message, hint } => Error::Unavailable {
            message: message.clone(),
            hint: hint.clone(),
        },
        Error::Stopping => Error::Stopping,
        _ => Error::failed("the template could not be made", error),
    }
}
