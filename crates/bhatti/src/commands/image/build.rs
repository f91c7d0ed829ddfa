//! `bhatti image build`.

use bhatti_image::recipe_install::Again;
use bhatti_types::name::ImageName;
use clap::Args;

use super::recipe;
use crate::failure::Failure;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti image build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// A recipe that comes with bhatti, or the path of an own one
    #[arg(long, value_name = "NAME|FILE", required = true)]
    recipe: Option<String>,
    /// The image's name [default: the recipe's]
    #[arg(short, long, value_parser = values::name::<ImageName>)]
    tag: Option<ImageName>,
    /// Build it again, of the packages of today
    #[arg(long)]
    refresh: bool,
}

/// Builds an image.
pub(crate) async fn run(args: BuildArgs, context: &Context) -> Result<(), Failure> {
    let again = if args.refresh {
        Again::Always
    } else {
        Again::IfChanged
    };
    let recipe = args.recipe.unwrap_or_default();
    recipe::build(&recipe, args.tag, again, context).await
}
