//! `bhatti image export`.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use bhatti_client::client::Client;
use bhatti_types::name::ImageName;
use clap::Args;
use serde::Serialize;

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti image export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The image, by name or id
    #[arg(value_parser = values::name::<ImageName>)]
    image: ImageName,
    /// The file; - for standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// A file that was written.
#[derive(Debug, Serialize)]
struct Exported {
    image: String,
    file: String,
    bytes: u64,
}

/// Exports an image.
pub(crate) async fn run(args: ExportArgs, context: &Context) -> Result<(), Failure> {
    let name = args.image.as_str();
    let what = format!("exporting image {name}");
    let client = context.client();
    if args.output.as_os_str() == "-" {
        if io::stdout().is_terminal() {
            return Err(Failure::Usage {
                message: "an archive is not for a terminal".to_owned(),
                hint: Some("name a file with --output, or send it to another program".to_owned()),
            });
        }
        let failed = |source| Failure::Stdout { source };
        let mut out = io::stdout();
        with_progress(&context.ui, what, copy(&client, name, &mut out, failed)).await?;
        return Ok(());
    }
    let path = args.output.clone();
    let failed = |source| Failure::File {
        what: "write",
        path: path.clone(),
        source,
    };
    // Beside it first: a file of that name is a whole archive.
    let dir = args
        .output
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty());
    let aside = tempfile::NamedTempFile::new_in(dir.unwrap_or(".".as_ref())).map_err(failed)?;
    let mut file = aside.as_file();
    let copied = copy(&client, name, &mut file, failed);
    let bytes = with_progress(&context.ui, what, copied).await?;
    aside.as_file().sync_all().map_err(failed)?;
    aside
        .persist(&args.output)
        .map_err(|error| failed(error.error))?;
    let exported = Exported {
        image: name.to_owned(),
        file: args.output.display().to_string(),
        bytes,
    };
    context.ui.show(&exported, || {
        let tick = context.ui.tick();
        let megabytes = exported.bytes.div_ceil(1 << 20);
        format!("{tick} exported to {} ({megabytes}MB)", exported.file)
    })
}

/// Writes the archive out, and says how long it is.
async fn copy(
    client: &Client,
    name: &str,
    to: &mut impl io::Write,
    failed: impl Fn(io::Error) -> Failure,
) -> Result<u64, Failure> {
    let mut archive = client.image_export(name).await?;
    let mut bytes = 0;
    while let Some(piece) = archive.next().await? {
        to.write_all(&piece).map_err(&failed)?;
        bytes += piece.len() as u64;
    }
    to.flush().map_err(&failed)?;
    Ok(bytes)
}
