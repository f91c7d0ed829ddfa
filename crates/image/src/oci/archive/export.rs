//! Writes an image as an OCI archive.

use std::io::{self, Write};

use super::docker;
use super::layout::{INDEX, MARK, MARK_TEXT, blob};
use crate::layer::digest::Sha256Digest;
use crate::layer::files::Layer;
use crate::oci::manifest::{
    Annotations, Descriptor, ImageManifest, Index, IndexEntry, OCI_CONFIG, OCI_MANIFEST,
};
use crate::oci::platform::Platform;
use crate::oci::push::describe;
use crate::oci::reference::Reference;

/// Writes an archive with an image: an OCI image layout with Docker's list beside it, so that
/// `docker load`, `podman load` and `skopeo` read it. Gives the manifest's digest. Blocks.
///
/// The same image makes the same bytes.
pub fn export(
    to: impl Write,
    raw_config: &[u8],
    platform: &Platform,
    layers: &[Layer],
    name: Option<&Reference>,
) -> io::Result<Sha256Digest> {
    let mut archive = tar::Builder::new(to);
    archive.mode(tar::HeaderMode::Deterministic);
    for dir in ["blobs/", "blobs/sha256/"] {
        let mut header = header(0, 0o755);
        header.set_entry_type(tar::EntryType::Directory);
        archive.append_data(&mut header, dir, io::empty())?;
    }
    let mut descriptors: Vec<Descriptor> = Vec::new();
    for layer in layers {
        let descriptor = describe(layer)?;
        // An image may have a layer twice; the archive has it once.
        if descriptors.iter().all(|other| other.digest != layer.digest) {
            let file = fs_err::File::open(&layer.blob)?;
            let mut header = header(descriptor.size, 0o644);
            archive.append_data(&mut header, blob(&layer.digest), file)?;
        }
        descriptors.push(descriptor);
    }
    let config = Descriptor {
        media_type: OCI_CONFIG.to_owned(),
        digest: Sha256Digest::of(raw_config),
        size: raw_config.len() as u64,
    };
    let list = [docker::Entry {
        config: blob(&config.digest),
        repo_tags: name.map(|name| vec![name.to_string()]),
        layers: layers.iter().map(|layer| blob(&layer.digest)).collect(),
    }];
    let manifest = ImageManifest::new(config, descriptors);
    let manifest = serde_json::to_vec(&manifest).map_err(io::Error::other)?;
    let descriptor = Descriptor {
        media_type: OCI_MANIFEST.to_owned(),
        digest: Sha256Digest::of(&manifest),
        size: manifest.len() as u64,
    };
    let digest = descriptor.digest;
    let annotations = name.map(|name| Annotations {
        ref_name: name.tag().map(str::to_owned),
        image_name: Some(name.to_string()),
    });
    let index = Index::new(vec![IndexEntry::new(descriptor, platform, annotations)]);
    let index = serde_json::to_vec(&index).map_err(io::Error::other)?;
    let list = serde_json::to_vec(&list).map_err(io::Error::other)?;
    for (path, bytes) in [
        (blob(&Sha256Digest::of(raw_config)).as_str(), raw_config),
        (&blob(&digest), &manifest),
        (INDEX, &index),
        (docker::MANIFEST, &list),
        (MARK, MARK_TEXT.as_bytes()),
    ] {
        archive.append_data(&mut header(bytes.len() as u64, 0o644), path, bytes)?;
    }
    archive.into_inner()?.flush()?;
    Ok(digest)
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
