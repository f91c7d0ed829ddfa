//! `bhatti image`.

mod build;
mod delete;
mod export;
mod import;
mod inspect;
mod list;
mod pull;
mod push;
mod recipe;
mod registry_args;
mod save;
mod share;
mod warm;

use clap::Subcommand;

use super::gc;
use crate::failure::Failure;
use crate::run::Context;

/// What to do with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Show one image
    #[command(visible_alias = "info")]
    Inspect(inspect::InspectArgs),
    /// Pull an image from a registry
    ///
    /// Without --auth, the credentials are those that Docker and Podman use on this machine.
    Pull(pull::PullArgs),
    /// Make an image of one that Docker or Podman has here, or of an archive
    Import(import::ImportArgs),
    /// Make an image of a sandbox's disk as it is now; the sandbox goes on
    ///
    /// A sleeping sandbox is not woken. What is on the disk is in the image, keys and passwords
    /// too.
    Save(save::SaveArgs),
    /// Build an image from distribution packages, by a recipe
    Build(build::BuildArgs),
    /// List the recipes that come with bhatti
    Recipes,
    /// Write an image to a file as an OCI archive
    Export(export::ExportArgs),
    /// Push an image to a registry
    Push(push::PushArgs),
    /// Delete an image; sandboxes made from it go on
    #[command(visible_alias = "rm")]
    Delete(delete::DeleteArgs),
    /// Let other users make sandboxes of an image
    Share(share::ShareArgs),
    /// End that other users see an image
    Unshare(share::ShareArgs),
    /// Make the template of a size of machine ahead, so that the first create is quick too
    Warm(warm::WarmArgs),
    /// Delete layers, templates and remains that nothing needs any more
    Gc(gc::GcArgs),
}

/// Does something with images.
pub(crate) async fn run(command: ImageCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ImageCommand::List(args) => list::run(args, context).await,
        ImageCommand::Inspect(args) => inspect::run(args, context).await,
        ImageCommand::Pull(args) => pull::run(args, context).await,
        ImageCommand::Import(args) => import::run(args, context).await,
        ImageCommand::Save(args) => save::run(args, context).await,
        ImageCommand::Build(args) => build::run(args, context).await,
        ImageCommand::Recipes => recipe::list(context),
        ImageCommand::Export(args) => export::run(args, context).await,
        ImageCommand::Push(args) => push::run(args, context).await,
        ImageCommand::Delete(args) => delete::run(args, context).await,
        ImageCommand::Share(args) => share::share(args, context).await,
        ImageCommand::Unshare(args) => share::unshare(args, context).await,
        ImageCommand::Warm(args) => warm::run(args, context).await,
        ImageCommand::Gc(args) => gc::run(args, context).await,
    }
}
