//! `bhatti image warm`.

use bhatti_api::template::WarmImage;
use bhatti_types::name::ImageName;
use clap::Args;

use crate::commands::size_args::SizeArgs;
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti image warm`.
#[derive(Debug, Args)]
pub(crate) struct WarmArgs {
    /// The image
    #[arg(value_parser = values::name::<ImageName>)]
    image: ImageName,
    #[command(flatten)]
    size: SizeArgs,
}

/// Makes a template ahead.
pub(crate) async fn run(args: WarmArgs, context: &Context) -> Result<(), Failure> {
    let size = WarmImage {
        cpus: args.size.cpus(),
        memory_mb: args.size.memory,
        disk_size_mb: args.size.disk_size,
    };
    let client = context.client();
    let work = client.image_warm(args.image.as_str(), &size);
    let what = format!("booting a template of image {}", args.image);
    let template = with_progress(&context.ui, what, work).await?;
    context.ui.show(&template, || {
        format!(
            "template/{} ready ({}, {} vCPU, {} MB, {} MB disk)",
            template.id, template.image, template.cpus, template.memory_mb, template.disk_size_mb
        )
    })
}
