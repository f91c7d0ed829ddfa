//! Makes images as directories in the form of the OCI image layout.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bhatti_image::layer::digest::Sha256Digest;
use serde_json::{Value, json};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

/// A layer to be.
#[derive(Debug, Clone)]
pub struct LayerMade {
    /// Its archive.
    pub tar: Vec<u8>,
    /// How it is compressed.
    pub compression: Compression,
}

/// An image to be.
#[derive(Debug, Clone)]
pub struct ImageMade {
    /// Its architecture.
    pub arch: &'static str,
    /// What its config says under `config`.
    pub config: Value,
    /// Its layers.
    pub layers: Vec<LayerMade>,
}

/// What became of it.
#[derive(Debug, Clone)]
pub struct Made {
    /// The directory.
    pub dir: PathBuf,
    /// The digest of what the directory's index names: a manifest, or an index of several.
    pub digest: String,
    /// The digests of the layers' blobs, image by image.
    pub layers: Vec<Vec<String>>,
}

/// An archive with these files.
///
/// # Panics
/// If it cannot be made.
pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        archive
            .append_data(&mut header, path, *content)
            .expect("a file can be put into an archive in memory");
    }
    archive.into_inner().expect("an archive in memory ends")
}

/// Bytes that do not compress, and are the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn compress(layer: &LayerMade) -> (Vec<u8>, &'static str) {
    match layer.compression {
        Compression::Plain => (layer.tar.clone(), ""),
        Compression::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(&layer.tar).expect("memory takes it");
            (encoder.finish().expect("memory takes it"), "+gzip")
        }
        Compression::Zstd => {
            let bytes = zstd::encode_all(layer.tar.as_slice(), 1).expect("memory takes it");
            (bytes, "+zstd")
        }
    }
}

fn blob(dir: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = Sha256Digest::of(bytes);
    let path = dir.join("blobs/sha256").join(digest.hex());
    fs_err::write(path, bytes).expect("a blob is written");
    json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
}

fn json_blob(dir: &Path, media_type: &str, value: &Value) -> Value {
    blob(dir, media_type, value.to_string().as_bytes())
}

/// Writes images into a directory, which is made: one as it is, several under an index.
///
/// # Panics
/// If it cannot be written.
pub fn write(dir: &Path, images: &[ImageMade]) -> Made {
    const KIND: &str = "application/vnd.oci.image.";
    fs_err::create_dir_all(dir.join("blobs/sha256")).expect("the directory is made");
    let mut layers = Vec::new();
    let mut manifests = Vec::new();
    for image in images {
        let mut descriptors = Vec::new();
        let mut diff_ids = Vec::new();
        for layer in &image.layers {
            let (bytes, suffix) = compress(layer);
            diff_ids.push(Sha256Digest::of(&layer.tar).to_string());
            descriptors.push(blob(dir, &format!("{KIND}layer.v1.tar{suffix}"), &bytes));
        }
        layers.push(
            descriptors
                .iter()
                .map(|layer| text(layer, "digest"))
                .collect(),
        );
        let config = json!({
            "architecture": image.arch, "os": "linux", "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = json_blob(dir, &format!("{KIND}config.v1+json"), &config);
        let kind = format!("{KIND}manifest.v1+json");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "config": config, "layers": descriptors,
        });
        let mut descriptor = json_blob(dir, &kind, &manifest);
        if let Some(fields) = descriptor.as_object_mut() {
            let platform = json!({"os": "linux", "architecture": image.arch});
            fields.insert("platform".to_owned(), platform);
        }
        manifests.push(descriptor);
    }
    let kind = format!("{KIND}index.v1+json");
    let top = match manifests.as_slice() {
        [only] => only.clone(),
        several => json_blob(
            dir,
            &kind,
            &json!({"schemaVersion": 2, "mediaType": kind, "manifests": several}),
        ),
    };
    let digest = text(&top, "digest");
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": [top]});
    fs_err::write(dir.join("index.json"), index.to_string()).expect("the index is written");
    fs_err::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .expect("the layout is written");
    Made {
        dir: dir.to_owned(),
        digest,
        layers,
    }
}

fn text(value: &Value, key: &str) -> String {
    let text = value.get(key).and_then(Value::as_str);
    text.expect("a descriptor has it").to_owned()
}
