//! `bhatti image build`.

use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};

use bhatti_api::exec::MAX_TIMEOUT_SEC;
use bhatti_api::image::Image;
use bhatti_client::images::ImportImage;
use bhatti_image::recipe_install::Again;
use bhatti_types::name::{ImageName, SandboxName};
use clap::Args;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;
use tokio_util::io::ReaderStream;

use super::recipe;
use crate::build::builder::{BUILDER, Build, Builder};
use crate::build::context::BuildContext;
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::signals::Signals;
use crate::values;

/// Time limit of a build unless another is asked for, in seconds.
const TIMEOUT_SEC: u64 = 3600;

/// Flags of `bhatti image build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// A directory with a Containerfile or a Dockerfile, built inside a sandbox
    #[arg(value_name = "DIR", required_unless_present = "recipe")]
    dir: Option<PathBuf>,
    /// A recipe that comes with bhatti, or the path of an own one, built on the daemon's host
    #[arg(
        long,
        value_name = "NAME|FILE",
        conflicts_with_all = ["dir", "file", "build_arg", "target", "output", "builder", "timeout", "replace"]
    )]
    recipe: Option<String>,
    /// The image's name [default: that of the recipe or of the directory]
    #[arg(short, long, value_name = "NAME", value_parser = values::name::<ImageName>)]
    tag: Option<ImageName>,
    /// The Containerfile, if it is not DIR/Containerfile or DIR/Dockerfile
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A value for an ARG of the Containerfile; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,
    /// Build up to this stage
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Build every step again
    #[arg(long, conflicts_with = "recipe")]
    no_cache: bool,
    /// Put it in the place of an own image of its name
    #[arg(long, conflicts_with = "output")]
    replace: bool,
    /// Write it to a file as an OCI archive in place of keeping it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The sandbox that builds; it is made if there is none [default: builder]
    #[arg(long, value_name = "SANDBOX", value_parser = values::name::<SandboxName>)]
    builder: Option<SandboxName>,
    /// Time limit [default: 3600]
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = RangedU64ValueParser::<u64>::new().range(1..=MAX_TIMEOUT_SEC),
    )]
    timeout: Option<u64>,
    /// Build a recipe's image again, of the packages of today
    #[arg(long, requires = "recipe")]
    refresh: bool,
}

/// A file that was written, as a machine is told of it.
#[derive(Serialize)]
struct Written {
    file: String,
    bytes: u64,
}

/// Builds an image.
pub(crate) async fn run(args: BuildArgs, context: &Context) -> Result<(), Failure> {
    let Some(dir) = &args.dir else {
        let again = if args.refresh {
            Again::Always
        } else {
            Again::IfChanged
        };
        let recipe = args.recipe.unwrap_or_default();
        return recipe::build(&recipe, args.tag, again, context).await;
    };
    let name = match &args.tag {
        Some(name) => name.clone(),
        None => named_after(dir)?,
    };
    let source = BuildContext::open(dir, args.file.as_deref())
        .map_err(|source| Failure::Context { source })?;
    let client = context.client();
    // Before minutes of work for nothing.
    if args.output.is_none() {
        refuse_taken(&name, args.replace, context).await?;
    }
    let sandbox = match &args.builder {
        Some(sandbox) => sandbox.clone(),
        None => BUILDER.parse().expect("a word is a name"),
    };
    let beside = args.output.as_deref().and_then(Path::parent);
    let beside = beside.filter(|dir| !dir.as_os_str().is_empty());
    let aside = match (&args.output, beside) {
        (None, _) => tempfile::NamedTempFile::new(),
        (Some(_), beside) => tempfile::NamedTempFile::new_in(beside.unwrap_or(Path::new("."))),
    };
    let mut aside = aside.map_err(|source| Failure::Io {
        what: "make a temporary file",
        source,
    })?;

    let what = format!("getting sandbox {sandbox} ready");
    let ready = async {
        let builder = Builder::find(client.clone(), &sandbox).await?;
        builder.load(&source).await?;
        Ok::<_, Failure>(builder)
    };
    let builder = with_progress(&context.ui, what, ready).await?;
    let build = Build {
        name: name.clone(),
        options: options(&args)?,
        timeout_sec: args.timeout.unwrap_or(TIMEOUT_SEC),
    };
    builder.build(&build, source, aside.as_file_mut()).await?;
    match args.output {
        Some(path) => write(aside, &path, context),
        None => import(aside, name, args.replace, context).await,
    }
}

/// Options of `buildah build`, each of one word, so that no value is taken for another option.
fn options(args: &BuildArgs) -> Result<Vec<String>, Failure> {
    let mut options = Vec::new();
    for value in &args.build_arg {
        if !value.contains('=') {
            return Err(Failure::Usage {
                message: format!("invalid --build-arg {value:?}: must be NAME=VALUE"),
                hint: None,
            });
        }
        options.push(format!("--build-arg={value}"));
    }
    options.extend(args.target.iter().map(|stage| format!("--target={stage}")));
    if args.no_cache {
        options.push("--no-cache".to_owned());
    }
    Ok(options)
}

fn named_after(dir: &Path) -> Result<ImageName, Failure> {
    let real = fs_err::canonicalize(dir).map_err(|source| Failure::File {
        what: "read",
        path: dir.to_owned(),
        source,
    })?;
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    name.parse().map_err(|_| Failure::Usage {
        message: format!("{name:?}, the directory's name, is no name for an image"),
        hint: Some("give it one with --tag".to_owned()),
    })
}

async fn refuse_taken(name: &ImageName, replace: bool, context: &Context) -> Result<(), Failure> {
    match context.client().image_get(name.as_str()).await {
        Ok(image) if image.scope == "own" && !replace => Err(Failure::Said {
            message: format!("image {:?} already exists", image.name),
            hint: Some("put it in its place with --replace, or choose another --tag".to_owned()),
        }),
        Ok(_) => Ok(()),
        Err(error) if error.status() == Some(http::StatusCode::NOT_FOUND) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn write(aside: tempfile::NamedTempFile, path: &Path, context: &Context) -> Result<(), Failure> {
    let failed = |source| Failure::File {
        what: "write",
        path: path.to_owned(),
        source,
    };
    aside.as_file().sync_all().map_err(failed)?;
    let bytes = aside.as_file().metadata().map_err(failed)?.len();
    aside.persist(path).map_err(|error| failed(error.error))?;
    let written = Written {
        file: path.display().to_string(),
        bytes,
    };
    context.ui.show(&written, || {
        let tick = context.ui.tick();
        let megabytes = bytes.div_ceil(1 << 20);
        format!("{tick} built to {} ({megabytes}MB)", written.file)
    })
}

async fn import(
    aside: tempfile::NamedTempFile,
    name: ImageName,
    replace: bool,
    context: &Context,
) -> Result<(), Failure> {
    let failed = |source: io::Error| Failure::Io {
        what: "read the image from a temporary file",
        source,
    };
    let client = context.client();
    let mut signals = Signals::new()?;
    let mut file = aside.into_file();
    file.rewind().map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    if replace {
        match client.image_get(name.as_str()).await {
            Ok(image) if image.scope == "own" => {
                client.image_delete(name.as_str()).await?;
            }
            Ok(_) => {}
            Err(error) if error.status() == Some(http::StatusCode::NOT_FOUND) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let import = ImportImage {
        name: name.to_string(),
        docker: None,
        host: false,
        length: Some(length),
    };
    let archive = ReaderStream::new(tokio::fs::File::from_std(file));
    let work = client.image_import(&import, archive);
    let image: Image = tokio::select! {
        image = with_progress(&context.ui, format!("importing {name}"), work) => image?,
        signal = signals.next() => return Err(Failure::Interrupted { signal }),
    };
    context.ui.show(&image, || {
        let tick = context.ui.tick();
        format!("{tick} built \"{}\" ({}MB)", image.name, image.size_mb)
    })
}
