//! `bhatti image share` and `bhatti image unshare`.

use bhatti_api::image::ShareImage;
use bhatti_types::name::{ImageName, UserName};
use clap::Args;

use crate::failure::Failure;
use crate::run::Context;
use crate::values;

/// Flags of both.
#[derive(Debug, Args)]
pub(crate) struct ShareArgs {
    /// The image, one of your own
    #[arg(value_parser = values::name::<ImageName>)]
    image: ImageName,
    /// The user; may be repeated
    #[arg(long, value_name = "NAME", required = true, value_parser = values::name::<UserName>)]
    user: Vec<UserName>,
}

impl ShareArgs {
    fn body(&self) -> ShareImage {
        ShareImage {
            users: self.user.iter().map(ToString::to_string).collect(),
        }
    }
}

/// Lets users see an image.
pub(crate) async fn share(args: ShareArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let image = client
        .image_share(args.image.as_str(), &args.body())
        .await?;
    context.ui.show(&image, || {
        format!(
            "image/{} shared with {}",
            image.name,
            image.shared_with.join(", ")
        )
    })
}

/// Ends that users see an image.
pub(crate) async fn unshare(args: ShareArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let image = client
        .image_unshare(args.image.as_str(), &args.body())
        .await?;
    context
        .ui
        .show(&image, || match image.shared_with.as_slice() {
            [] => format!("image/{} is yours alone", image.name),
            users => format!(
                "image/{} still shared with {}",
                image.name,
                users.join(", ")
            ),
        })
}
