//! `bhatti image delete`.

use bhatti_types::name::ImageName;
use clap::Args;

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::prompt::confirm;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti image delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The image, by name or id
    #[arg(value_parser = values::name::<ImageName>)]
    image: ImageName,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Deletes an image.
pub(crate) async fn run(args: DeleteArgs, context: &Context) -> Result<(), Failure> {
    let name = args.image.as_str();
    confirm(&context.ui, args.yes, &format!("delete image {name:?}"))?;
    let client = context.client();
    let work = client.image_delete(name);
    let deleted = with_progress(&context.ui, format!("deleting image {name}"), work).await?;
    context
        .ui
        .show(&deleted, || format!("image/{} deleted", deleted.name))?;
    if !deleted.sandboxes.is_empty() {
        context.ui.note(format!(
            "made from it and going on: {}",
            deleted.sandboxes.join(", ")
        ));
    }
    Ok(())
}
