//! `bhatti image pull`.

use bhatti_api::image::{Image, PullImage};
use bhatti_types::name::ImageName;
use clap::Args;

use super::registry_args::RegistryArgs;
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::task::{self, Wait};
use crate::values;

/// Flags of `bhatti image pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// What to pull, such as alpine:3.20 or ghcr.io/owner/app:1
    #[arg(value_name = "REF")]
    reference: String,
    /// Name of the image; the last part of REF if there is none
    #[arg(long, value_parser = values::name::<ImageName>)]
    name: Option<ImageName>,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Platform, such as linux/arm64; the host's if there is none
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Do not wait for it: print the id of its task
    #[arg(long)]
    detach: bool,
    /// Make it an image of the host's, which all users see; for the administrator
    #[arg(long)]
    host: bool,
}

/// Pulls an image.
pub(crate) async fn run(args: PullArgs, context: &Context) -> Result<(), Failure> {
    let pull = PullImage {
        auth: args.registry.credentials(&args.reference, context).await?,
        insecure: args.registry.insecure,
        reference: args.reference,
        name: args.name.map(String::from),
        platform: args.platform,
        host: args.host,
    };
    let client = context.client();
    let what = format!("asking for {}", pull.reference);
    let started = with_progress(&context.ui, what, client.image_pull(&pull)).await?;
    let tick = context.ui.tick();
    let Some(id) = &started.task_id else {
        return context.ui.show(&started.image, || {
            let image = started.image.as_ref();
            format!(
                "{tick} up to date ({}MB)",
                image.map_or(0, |image| image.size_mb)
            )
        });
    };
    if args.detach {
        return context.ui.show(&started, || id.clone());
    }
    let image = task::wait(context, id, Wait::CancelOnSignal).await?;
    context.ui.show(&image, || pulled(&tick, image.as_ref()))
}

fn pulled(tick: &str, image: Option<&Image>) -> String {
    let size = image.map_or(0, |image| image.size_mb);
    format!("{tick} pulled, converted ({size}MB)")
}
