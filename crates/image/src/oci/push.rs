//! Sends an image to a registry.

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use reqwest::{Body, StatusCode, Url};

use super::error::RegistryError;
use super::manifest::{Descriptor, ImageManifest, OCI_CONFIG, OCI_MANIFEST};
use super::registry::Repository;
use crate::layer::decompress::Compression;
use crate::layer::digest::Sha256Digest;
use crate::layer::files::Layer;
use crate::layer::store::progress::{LayerProgress, Phase, Progress};

/// Bytes of a layer that are read and sent at once.
const PIECE: usize = 256 << 10;

/// Sends layers and config to the repository and gives the image its name there: the reference's
/// tag. What the registry has already is not sent. Gives the manifest's digest.
///
/// The name appears, or moves, with the last request; a failure before that leaves blobs that
/// nobody names, which registries clear away.
///
/// # Panics
/// Never: a manifest is always valid JSON.
pub async fn push(
    repository: &Repository,
    raw_config: &[u8],
    layers: &[Layer],
    progress: &dyn Progress,
) -> Result<Sha256Digest, RegistryError> {
    let mut descriptors = Vec::new();
    for layer in layers {
        let descriptor = describe(layer).map_err(RegistryError::Read)?;
        let report = |phase, done| {
            let total = descriptor.size;
            progress.layer(&layer.digest, LayerProgress { phase, done, total });
        };
        report(Phase::Checking, 0);
        if !repository.has(&layer.digest).await? {
            report(Phase::Fetching, 0);
            let blob = layer.blob.clone();
            repository
                .upload(&layer.digest, descriptor.size, || file_body(&blob))
                .await?;
        }
        report(Phase::There, descriptor.size);
        descriptors.push(descriptor);
    }
    let config = Descriptor {
        media_type: OCI_CONFIG.to_owned(),
        digest: Sha256Digest::of(raw_config),
        size: raw_config.len() as u64,
    };
    if !repository.has(&config.digest).await? {
        let bytes = Bytes::copy_from_slice(raw_config);
        repository
            .upload(&config.digest, config.size, || Ok(bytes.clone().into()))
            .await?;
    }
    let manifest = serde_json::to_vec(&ImageManifest::new(config, descriptors));
    let manifest = manifest.expect("a struct of strings and numbers is always valid JSON");
    repository.name(&manifest).await?;
    Ok(Sha256Digest::of(&manifest))
}

/// How a manifest names a layer.
pub(super) fn describe(layer: &Layer) -> std::io::Result<Descriptor> {
    let mut start = Vec::new();
    let file = fs_err::File::open(&layer.blob)?;
    let size = file.metadata()?.len();
    file.take(4).read_to_end(&mut start)?;
    let suffix = match Compression::of(&start) {
        Compression::None => "",
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
    };
    Ok(Descriptor {
        media_type: format!("application/vnd.oci.image.layer.v1.tar{suffix}"),
        digest: layer.digest,
        size,
    })
}

/// A body that is read from a file as it is sent.
fn file_body(path: &std::path::Path) -> Result<Body, RegistryError> {
    let file = fs_err::File::open(path).map_err(RegistryError::Read)?;
    let file = Arc::new(file);
    let pieces = stream::unfold(0_u64, move |offset| {
        let file = Arc::clone(&file);
        async move {
            let read = tokio::task::spawn_blocking(move || {
                let mut piece = vec![0; PIECE];
                let file: &std::fs::File = file.file();
                let count = std::os::unix::fs::FileExt::read_at(file, &mut piece, offset)?;
                piece.truncate(count);
                Ok::<_, std::io::Error>(piece)
            });
            let piece = read.await.unwrap_or_else(|error| Err(error.into()));
            match piece {
                Ok(piece) if piece.is_empty() => None,
                Ok(piece) => {
                    let end = offset + piece.len() as u64;
                    Some((Ok(Bytes::from(piece)), end))
                }
                Err(error) => Some((Err(error), offset)),
            }
        }
    });
    Ok(Body::wrap_stream(pieces))
}

impl Repository {
    /// Whether the registry has a blob.
    async fn has(&self, digest: &Sha256Digest) -> Result<bool, RegistryError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let response = self.send(|http| http.head(url.clone()).build()).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(self.refusal(response).await),
        }
    }

    /// Sends a blob in one piece.
    async fn upload(
        &self,
        digest: &Sha256Digest,
        size: u64,
        body: impl FnOnce() -> Result<Body, RegistryError>,
    ) -> Result<(), RegistryError> {
        let url = self.url("blobs/uploads/")?;
        // This is also what asks for leave to write, so that no body is sent in vain.
        let response = self
            .send(|http| http.post(url.clone()).header(CONTENT_LENGTH, 0).build())
            .await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.refusal(response).await);
        }
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let location = location.ok_or_else(|| self.protocol("it does not say where to upload"))?;
        let mut target: Url = self.join(response.url(), location)?;
        target
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let response = self
            .send_body(
                |http| {
                    http.put(target.clone())
                        .header(CONTENT_LENGTH, size)
                        .header(CONTENT_TYPE, "application/octet-stream")
                        .build()
                },
                body()?,
            )
            .await?;
        match response.status() {
            StatusCode::CREATED => Ok(()),
            _ => Err(self.refusal(response).await),
        }
    }

    /// Puts a manifest under the reference's name.
    async fn name(&self, manifest: &[u8]) -> Result<(), RegistryError> {
        let url = self.url(&format!("manifests/{}", self.reference().version()))?;
        let response = self
            .send(|http| {
                http.put(url.clone())
                    .header(CONTENT_TYPE, OCI_MANIFEST)
                    .body(manifest.to_vec())
                    .build()
            })
            .await?;
        match response.status() {
            StatusCode::CREATED => Ok(()),
            _ => Err(self.refusal(response).await),
        }
    }
}
