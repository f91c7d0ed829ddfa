//! `bhatti image inspect`.

use bhatti_api::image::Image;
use bhatti_types::name::ImageName;
use clap::Args;

use super::list::scope;
use crate::failure::Failure;
use crate::run::Context;
use crate::table::details;
use crate::values;

/// Flags of `bhatti image inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The image, by name or id
    #[arg(value_parser = values::name::<ImageName>)]
    image: ImageName,
}

/// Shows one image.
pub(crate) async fn run(args: InspectArgs, context: &Context) -> Result<(), Failure> {
    let image = context.client().image_get(args.image.as_str()).await?;
    context.ui.show(&image, || shown(&image))
}

fn shown(image: &Image) -> String {
    let mut lines = vec![
        ("Name", image.name.clone()),
        ("ID", image.id.clone()),
        ("Source", image.source.clone()),
        ("Digest", image.digest.clone()),
        ("Scope", scope(image)),
    ];
    if !image.owner.is_empty() {
        lines.push(("Owner", image.owner.clone()));
    }
    if !image.shared_with.is_empty() {
        lines.push(("Shared with", image.shared_with.join(", ")));
    }
    lines.extend([
        ("Created", image.created_at.clone()),
        ("Size", format!("{} MB", image.size_mb)),
        ("On disk", values::on_disk(image.disk_own_bytes)),
        ("Shared", values::on_disk(image.disk_shared_bytes)),
    ]);
    if let Some(user) = &image.run_as {
        lines.push(("User", user.clone()));
    }
    if let Some(workdir) = &image.workdir {
        lines.push(("Directory", workdir.clone()));
    }
    let env = image
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    lines.extend(env.map(|variable| ("Env", variable)));
    details(&lines)
}
