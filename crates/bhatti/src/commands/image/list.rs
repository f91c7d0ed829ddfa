//! `bhatti image list`.

use bhatti_api::image::Image;
use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::run::Context;
use crate::table::table;
use crate::values;

/// Flags of `bhatti image list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How much to show
    #[arg(short, long, value_name = "FORM", value_enum)]
    output: Option<Form>,
}

/// How much to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// More columns
    Wide,
}

/// Lists images.
pub(crate) async fn run(args: ListArgs, context: &Context) -> Result<(), Failure> {
    let images = context.client().image_list().await?;
    context.ui.show(&images, || match args.output {
        None => {
            let rows: Vec<_> = images.iter().map(narrow).collect();
            table(&["NAME", "SOURCE", "SIZE", "SCOPE", "CREATED"], &rows)
        }
        Some(Form::Wide) => {
            let rows: Vec<_> = images.iter().map(wide).collect();
            let head = [
                "NAME", "ID", "SOURCE", "DIGEST", "SIZE", "OWN", "SHARED", "SCOPE", "OWNER",
                "CREATED",
            ];
            table(&head, &rows)
        }
    })
}

fn narrow(image: &Image) -> Vec<String> {
    vec![
        image.name.clone(),
        source(image),
        format!("{} MB", image.size_mb),
        scope(image),
        image.created_at.clone(),
    ]
}

fn wide(image: &Image) -> Vec<String> {
    let marked = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    vec![
        image.name.clone(),
        image.id.clone(),
        source(image),
        marked(short(&image.digest)),
        format!("{} MB", image.size_mb),
        values::on_disk(image.disk_own_bytes),
        values::on_disk(image.disk_shared_bytes),
        scope(image),
        marked(&image.owner),
        image.created_at.clone(),
    ]
}

/// Where it came from, without the digest, which is long.
fn source(image: &Image) -> String {
    let source = image.source.split_once('@');
    source.map_or(&*image.source, |(name, _)| name).to_owned()
}

/// As much of a digest as tells it from others at a glance.
fn short(digest: &str) -> &str {
    const DIGITS: usize = 12;
    let begins = digest.find(':').map_or(0, |colon| colon + 1);
    digest.get(..begins + DIGITS).unwrap_or(digest)
}

pub(super) fn scope(image: &Image) -> String {
    let scope = match image.scope.as_str() {
        // Of a daemon that does not say.
        "" if image.user_id.is_empty() => "host",
        "" => "own",
        scope => scope,
    };
    if image.hidden {
        format!("{scope} (hidden)")
    } else {
        scope.to_owned()
    }
}
