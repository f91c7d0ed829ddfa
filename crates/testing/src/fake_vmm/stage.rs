//! A guest kit and an image for guests that are none, each of a few bytes.

use std::path::Path;

use bhatti_host::files;
use bhatti_image::catalog::Catalog;
use bhatti_image::image::{self, ImageConfig, ImageManifest};
use bhatti_image::kit::{self, KitId, KitManifest, KitStore};
use bhatti_types::id::ImageId;
use bhatti_types::size::DiskMb;

/// Puts a guest kit and the image `base` into a data directory.
///
/// # Panics
/// If they can't be written.
pub fn install(data_dir: &Path) {
    let scratch = tempfile::tempdir_in(data_dir).expect("the data directory can be written");
    let from = scratch.path().join("kit");
    write_kit(&from).expect("a kit can be written");
    let kits = KitStore::open(data_dir.join("kits")).expect("the kit store opens");
    kits.install(&from).expect("the guest kit is installed");
    let from = scratch.path().join("image");
    write_image(&from).expect("an image can be written");
    let catalog = Catalog::open(data_dir.join("images")).expect("the catalog opens");
    catalog.install(&from).expect("the base image is installed");
}

fn write_kit(dir: &Path) -> std::io::Result<()> {
    let (kernel, initrd) = (b"no kernel", b"no initrd");
    let manifest = KitManifest {
        format: kit::FORMAT,
        id: KitId::of(kernel, initrd),
        kernel_version: "0".to_owned(),
        lohar_version: "0".to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        devices: 2,
        inputs: String::new(),
    };
    fs_err::create_dir(dir)?;
    fs_err::write(dir.join(kit::KERNEL), kernel)?;
    fs_err::write(dir.join(kit::INITRD), initrd)?;
    fs_err::write(dir.join(kit::MANIFEST), serde_json::to_vec(&manifest)?)
}

fn write_image(dir: &Path) -> std::io::Result<()> {
    let manifest = ImageManifest {
        format: image::FORMAT,
        id: ImageId::random(),
        name: "base".parse().map_err(std::io::Error::other)?,
        source: "recipe:base".parse().map_err(std::io::Error::other)?,
        digest: String::new(),
        size_mb: DiskMb::MIN,
        created_at: "2026-01-01T00:00:00Z"
            .parse()
            .map_err(std::io::Error::other)?,
        config: ImageConfig::default(),
        layers: Vec::new(),
    };
    fs_err::create_dir(dir)?;
    fs_err::write(dir.join(image::MANIFEST), serde_json::to_vec(&manifest)?)?;
    files::create_sparse(&dir.join(image::DISK), DiskMb::MIN.bytes())
}
