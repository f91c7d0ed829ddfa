//! `bhatti image push`.

use bhatti_api::image::PushImage;
use bhatti_types::name::ImageName;
use clap::Args;

use super::registry_args::RegistryArgs;
use crate::failure::Failure;
use crate::run::Context;
use crate::task::{self, Wait};
use crate::values;

/// Flags of `bhatti image push`.
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The image, by name or id
    #[arg(value_parser = values::name::<ImageName>)]
    image: ImageName,
    /// Where to, such as ghcr.io/owner/app:1
    #[arg(value_name = "REF")]
    reference: String,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Do not wait for it: print the id of its task
    #[arg(long)]
    detach: bool,
}

/// Pushes an image.
pub(crate) async fn run(args: PushArgs, context: &Context) -> Result<(), Failure> {
    let push = PushImage {
        auth: args.registry.credentials(&args.reference, context).await?,
        insecure: args.registry.insecure,
        reference: args.reference,
    };
    let started = context
        .client()
        .image_push(args.image.as_str(), &push)
        .await?;
    let Some(id) = &started.task_id else {
        return context.ui.show(&started, || started.status.clone());
    };
    if args.detach {
        return context.ui.show(&started, || id.clone());
    }
    let image = task::wait(context, id, Wait::CancelOnSignal).await?;
    let tick = context.ui.tick();
    context
        .ui
        .show(&image, || format!("{tick} pushed {}", push.reference))
}
