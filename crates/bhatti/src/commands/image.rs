//! `bhatti image`.

mod recipe;

use bhatti_api::template::WarmImage;
use bhatti_image::recipe_install::Again;
use bhatti_types::name::ImageName;
use clap::{Args, Subcommand};

use super::size_args::SizeArgs;
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::table::table;
use crate::values;

/// What to do with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(visible_alias = "ls")]
    List,
    /// Build an image from distribution packages, by a recipe
    Build(BuildArgs),
    /// List the recipes that come with bhatti
    Recipes,
    /// Make the template of a size of machine ahead, so that the first create is quick too
    Warm(WarmArgs),
}

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

/// Flags of `bhatti image warm`.
#[derive(Debug, Args)]
pub(crate) struct WarmArgs {
    /// The image
    #[arg(value_parser = values::name::<ImageName>)]
    image: ImageName,
    #[command(flatten)]
    size: SizeArgs,
}

/// Looks at images.
pub(crate) async fn run(command: ImageCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ImageCommand::List => list(context).await,
        ImageCommand::Build(args) => build(args, context).await,
        ImageCommand::Recipes => recipe::list(context),
        ImageCommand::Warm(args) => warm(args, context).await,
    }
}

async fn build(args: BuildArgs, context: &Context) -> Result<(), Failure> {
    let again = if args.refresh {
        Again::Always
    } else {
        Again::IfChanged
    };
    let recipe = args.recipe.unwrap_or_default();
    recipe::build(&recipe, args.tag, again, context).await
}

async fn warm(args: WarmArgs, context: &Context) -> Result<(), Failure> {
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

async fn list(context: &Context) -> Result<(), Failure> {
    let images = context.client().image_list().await?;
    context.ui.show(&images, || {
        let rows: Vec<_> = images
            .iter()
            .map(|image| {
                let scope = if image.user_id.is_empty() {
                    "host"
                } else {
                    "own"
                };
                vec![
                    image.name.clone(),
                    image.source.clone(),
                    format!("{} MB", image.size_mb),
                    scope.to_owned(),
                    image.created_at.clone(),
                ]
            })
            .collect();
        table(&["NAME", "SOURCE", "SIZE", "SCOPE", "CREATED"], &rows)
    })
}
