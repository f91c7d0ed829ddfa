//! `bhatti image import`.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use bhatti_api::image::Image;
use bhatti_client::images::ImportImage;
use bhatti_types::name::ImageName;
use bytes::Bytes;
use clap::Args;
use futures::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::container::{Container, Saving};
use crate::failure::Failure;
use crate::progress::Sending;
use crate::run::Context;
use crate::signals::Signals;
use crate::values;

/// Most bytes that are sent at once.
const PIECE: usize = 256 << 10;

/// Flags of `bhatti image import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// An image that Docker or Podman has here; - for an archive on standard input
    #[arg(
        value_name = "NAME[:TAG]",
        required_unless_present = "tar",
        conflicts_with = "tar"
    )]
    source: Option<String>,
    /// An archive: of `docker save`, an OCI archive, or a tar of a root file system
    #[arg(long, value_name = "FILE")]
    tar: Option<PathBuf>,
    /// Name of the image; that in Docker or Podman if there is none
    #[arg(long, value_parser = values::name::<ImageName>)]
    name: Option<ImageName>,
    /// Make it an image of the host's, which all users see; for the administrator
    #[arg(long)]
    host: bool,
}

/// An archive that is to be sent.
struct Source {
    reader: Pin<Box<dyn AsyncRead + Send>>,
    /// The program that writes it, if one does.
    saving: Option<Saving>,
    length: Option<u64>,
    docker: Option<String>,
    name: ImageName,
}

/// Imports an image.
pub(crate) async fn run(args: ImportArgs, context: &Context) -> Result<(), Failure> {
    let host = args.host;
    let mut signals = Signals::new()?;
    let source = open(args, context).await?;
    let import = ImportImage {
        name: source.name.to_string(),
        docker: source.docker.clone(),
        host,
        length: source.length,
    };
    let sending = Sending::begin(
        &context.ui,
        format!("importing {}", source.name),
        source.length,
    );
    let client = context.client();
    let work = client.image_import(&import, pieces(source, sending.clone()));
    let image: Image = tokio::select! {
        image = work => image?,
        // What was sent is dropped with the connection.
        signal = signals.next() => return Err(Failure::Interrupted { signal }),
    };
    drop(sending);
    context.ui.show(&image, || {
        let tick = context.ui.tick();
        format!("{tick} imported {:?} ({}MB)", image.name, image.size_mb)
    })
}

async fn open(args: ImportArgs, context: &Context) -> Result<Source, Failure> {
    let named = || {
        args.name.clone().ok_or_else(|| Failure::Usage {
            message: "an archive needs a name".to_owned(),
            hint: Some("give it one with --name".to_owned()),
        })
    };
    if let Some(path) = &args.tar {
        return from_file(path, named()?).await;
    }
    let source = args.source.as_deref().unwrap_or_default();
    if source == "-" {
        return Ok(Source {
            reader: Box::pin(tokio::io::stdin()),
            saving: None,
            length: None,
            docker: None,
            name: named()?,
        });
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => last_part(source)?,
    };
    // Before gigabytes go up for nothing.
    refuse_taken(context, &name).await?;
    let mut saving = Container::find(source).await?.save(source)?;
    Ok(Source {
        reader: Box::pin(saving.output()?),
        saving: Some(saving),
        length: None,
        docker: Some(source.to_owned()),
        name,
    })
}

async fn from_file(path: &Path, name: ImageName) -> Result<Source, Failure> {
    let failed = |source| Failure::File {
        what: "read",
        path: path.to_owned(),
        source,
    };
    let file = tokio::fs::File::open(path).await.map_err(failed)?;
    let metadata = file.metadata().await.map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    Ok(Source {
        reader: Box::pin(file),
        saving: None,
        // A pipe or a device has none.
        length: metadata.is_file().then_some(metadata.len()),
        docker: None,
        name,
    })
}

/// The name of an image after its reference: `ghcr.io/owner/app:1` is `app:1`.
fn last_part(reference: &str) -> Result<ImageName, Failure> {
    let without_digest = reference.split('@').next().unwrap_or(reference);
    let last = without_digest.rsplit('/').next().unwrap_or(reference);
    last.parse().map_err(|_| Failure::Usage {
        message: format!("{reference:?} does not end with a name for the image"),
        hint: Some("give it one with --name".to_owned()),
    })
}

async fn refuse_taken(context: &Context, name: &ImageName) -> Result<(), Failure> {
    match context.client().image_get(name.as_str()).await {
        Ok(image) if image.scope == "own" => Err(Failure::Said {
            message: format!("image {:?} already exists", image.name),
            hint: Some(format!(
                "delete it with `bhatti image delete {name}`, or choose another --name"
            )),
        }),
        Ok(_) => Ok(()),
        Err(error) if error.status() == Some(http::StatusCode::NOT_FOUND) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The archive piece by piece. One whose program fails breaks off instead of ending.
fn pieces(source: Source, sending: Sending) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(Some((source, sending)), |state| async move {
        let (mut source, sending) = state?;
        let mut piece = vec![0; PIECE];
        match source.reader.read(&mut piece).await {
            Ok(0) => {
                let ended = match source.saving.take() {
                    Some(saving) => saving.end().await,
                    None => Ok(()),
                };
                sending.sent();
                ended.err().map(|error| (Err(error), None))
            }
            Ok(count) => {
                piece.truncate(count);
                sending.add(count as u64);
                Some((Ok(piece.into()), Some((source, sending))))
            }
            Err(error) => Some((Err(error), None)),
        }
    })
}

#[cfg(test)]
mod test {
    use super::last_part;

    #[test]
    fn an_image_is_called_after_the_last_part_of_its_reference() {
        let named = |text| last_part(text).map(String::from).ok();
        assert_eq!(named("app").as_deref(), Some("app"));
        assert_eq!(named("me/app:1").as_deref(), Some("app:1"));
        assert_eq!(named("reg:5000/me/app:latest").as_deref(), Some("app"));
        assert_eq!(named("me/app@sha256:00").as_deref(), Some("app"));
        assert_eq!(named("me/"), None);
    }
}
