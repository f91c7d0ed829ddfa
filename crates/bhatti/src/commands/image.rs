//! `bhatti image`.

use clap::Subcommand;

use crate::failure::Failure;
use crate::run::Context;
use crate::table::table;

/// What to do with images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(visible_alias = "ls")]
    List,
}

/// Looks at images.
pub(crate) async fn run(command: ImageCommand, context: &Context) -> Result<(), Failure> {
    match command {
        ImageCommand::List => list(context).await,
    }
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
