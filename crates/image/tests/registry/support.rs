//! What the tests with a registry have in common.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bhatti_host::command::Command;
use bhatti_image::layer::files::Layer;
use bhatti_image::layer::store::shelf::Options;
use bhatti_image::layer::store::{FetchError, LayerStore};
use bhatti_image::oci::http::{Client, Transport};
use bhatti_image::oci::platform::Platform;
use bhatti_image::oci::pull::pull;
use bhatti_image::oci::registry::{Access, Repository};
use bhatti_testing::registry::between::Seen;
use bhatti_testing::registry::layout::{
    Compression, ImageMade, LayerMade, Made, noise, tar, write,
};
use bhatti_testing::registry::server::{Registry, available};
use tempfile::TempDir;

pub(crate) fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

/// A store that does not wait long between tries.
pub(crate) fn store(dir: &Path) -> LayerStore {
    LayerStore::open(dir, options()).unwrap()
}

/// A registry with images as `app:1`, and where they are besides; `None`, with the reason, where
/// there can be no registry.
pub(crate) async fn pushed(images: &[ImageMade]) -> Option<(TempDir, Made, Registry)> {
    if !available() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let made = write(&dir.path().join("image"), images);
    let registry = Registry::start().await;
    registry.push(&made.dir, "app:1").await;
    Some((dir, made, registry))
}

pub(crate) fn options() -> Options {
    Options {
        backoff: Duration::from_millis(1),
        ..Options::default()
    }
}

pub(crate) fn repository(host: &str, name: &str) -> Arc<Repository> {
    repository_by(host, name, None, Transport::Plain)
}

pub(crate) fn repository_with(
    host: &str,
    name: &str,
    credentials: Option<&str>,
) -> Arc<Repository> {
    repository_by(host, name, credentials, Transport::Plain)
}

pub(crate) fn repository_by(
    host: &str,
    name: &str,
    credentials: Option<&str>,
    transport: Transport,
) -> Arc<Repository> {
    let access = Access {
        credentials: credentials.map(|text| text.parse().unwrap()),
        transport,
    };
    let reference = format!("{host}/{name}").parse().unwrap();
    let client = Client::new(&bhatti_image::oci::http::Options::default()).unwrap();
    Arc::new(Repository::new(&client, reference, access).unwrap())
}

/// Pulls an image; its layers are no longer kept when this returns.
pub(crate) async fn pull_all(
    host: &str,
    name: &str,
    store: &LayerStore,
) -> Result<Vec<Layer>, Arc<FetchError>> {
    let repository = repository(host, name);
    let image = repository.resolve(&amd64()).await.unwrap();
    let lease = store.lease();
    pull(&repository, &image, &lease, &()).await
}

/// Ten layers with names longer than the old format has room for, whiteouts, and every
/// compression.
pub(crate) fn ten_layers(arch: &'static str) -> ImageMade {
    let compressions = [Compression::Gzip, Compression::Zstd, Compression::Plain];
    let layers = (0..10_u64).map(|number| {
        let long = format!("{}/{number}", "directory".repeat(20));
        let whiteout = format!("d{}/.wh.gone", number / 2);
        let content = noise(number, 5_000);
        let files: [(&str, &[u8]); 3] = [
            (&long, &content),
            (&whiteout, b""),
            ("same", b"in every layer"),
        ];
        layer(&files, compressions[number as usize % 3])
    });
    ImageMade {
        arch,
        config: serde_json::json!({"Cmd": ["/app"], "Env": ["A=b"]}),
        layers: layers.collect(),
    }
}

/// An image with one layer of a file of this size, which does not compress.
pub(crate) fn one(size: usize) -> ImageMade {
    ImageMade {
        arch: "amd64",
        config: serde_json::json!({}),
        layers: vec![layer(&[("noise", &noise(7, size))], Compression::Plain)],
    }
}

pub(crate) fn layer(files: &[(&str, &[u8])], compression: Compression) -> LayerMade {
    LayerMade {
        tar: tar(files),
        compression,
    }
}

/// At which byte a request wants its reply to begin.
pub(crate) fn begin(seen: &Seen) -> u64 {
    let range = seen.range.as_deref().unwrap_or_else(|| panic!("{seen:?}"));
    let range = range.strip_prefix("bytes=").unwrap();
    range.strip_suffix('-').unwrap().parse().unwrap()
}

/// The partial blob in a store, if it has this many bytes.
pub(crate) fn partial(store: &Path, len: u64) -> Result<PathBuf, u64> {
    let dirs = fs_err::read_dir(store).into_iter().flatten();
    let part = dirs
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(".part-")
        })
        .ok_or(0_u64)?;
    let found = fs_err::metadata(part.join("blob")).map_or(0, |found| found.len());
    if found >= len { Ok(part) } else { Err(found) }
}

/// A file system in memory that is soon full.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of this many MiB; none where that is not allowed, which is said.
    pub(crate) fn mount(dir: &Path, size_mb: u64) -> Option<Self> {
        fs_err::create_dir(dir).unwrap();
        let runtime = tokio::runtime::Handle::current();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size_mb}m"), "tmpfs"])
            .arg(dir);
        let mounted = tokio::task::block_in_place(|| runtime.block_on(mount.run()));
        if let Err(error) = mounted {
            println!("skipped: no file system can be mounted here ({error})");
            return None;
        }
        Some(Self(dir.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let flags = rustix::mount::UnmountFlags::DETACH;
        rustix::mount::unmount(&self.0, flags).unwrap();
    }
}
