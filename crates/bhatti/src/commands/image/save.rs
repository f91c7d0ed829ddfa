//! `bhatti image save`.

use bhatti_api::image::SaveImage;
use bhatti_types::name::{ImageName, SandboxName};
use clap::Args;

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti image save`.
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// Name of the image
    #[arg(long, value_parser = values::name::<ImageName>)]
    name: ImageName,
    /// Make it an image of the host's, which all users see; for the administrator
    #[arg(long)]
    host: bool,
}

/// Saves a sandbox's disk.
pub(crate) async fn run(args: SaveArgs, context: &Context) -> Result<(), Failure> {
    let save = SaveImage {
        name: args.name.into(),
        host: args.host,
    };
    let client = context.client();
    let work = client.image_save(args.sandbox.as_str(), &save);
    let what = format!("saving the disk of sandbox {}", args.sandbox);
    let image = with_progress(&context.ui, what, work).await?;
    context.ui.show(&image, || {
        let tick = context.ui.tick();
        format!("{tick} saved {:?} ({}MB)", image.name, image.size_mb)
    })
}
