//! Finds out what a reference means at this moment.

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Response, StatusCode};

use super::config::ConfigFile;
use super::error::RegistryError;
use super::limits::{MAX_CONFIG, MAX_INDEX_DEPTH, MAX_MANIFEST};
use super::manifest::{self, Descriptor, ImageManifest, Manifest, ManifestError};
use super::platform::Platform;
use super::reference::Reference;
use super::registry::Repository;
use crate::layer::digest::Sha256Digest;
use crate::layer::store::LayerSpec;

/// The header in which a registry says a manifest's digest.
const CONTENT_DIGEST: &str = "docker-content-digest";

/// What a reference meant when the registry was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What was asked for.
    pub reference: Reference,
    /// The digest that the reference led to: of the index if there is one, else of the manifest.
    /// It is what a tag is compared by.
    pub digest: Sha256Digest,
    /// The digest of the manifest of this platform's image.
    pub manifest: Sha256Digest,
    /// What the config says.
    pub config: ConfigFile,
    /// The config as it is.
    pub raw_config: Vec<u8>,
    /// The layers, from the lowest.
    pub layers: Vec<LayerSpec>,
}

impl Repository {
    /// Asks the registry what the reference means now, for one platform.
    ///
    /// It is asked every time, so that a tag that moved is noticed. Nothing is kept; dropping the
    /// future is safe.
    pub async fn resolve(&self, platform: &Platform) -> Result<Resolved, RegistryError> {
        let unusable = |source| RegistryError::Manifest {
            reference: Box::new(self.reference().clone()),
            source: Box::new(source),
        };
        let (digest, mut found) = self
            .manifest(&self.reference().version(), self.reference().digest())
            .await?;
        let mut manifest_digest = digest;
        let mut depth = 0;
        let image = loop {
            match found {
                Manifest::Image(image) => break image,
                Manifest::Index(index) => {
                    depth += 1;
                    if depth > MAX_INDEX_DEPTH {
                        let why = ManifestError::Index("indexes lie too deep in each other");
                        return Err(unusable(why));
                    }
                    let entry = index.select(platform).map_err(unusable)?;
                    manifest_digest = entry.descriptor.digest;
                    let version = manifest_digest.to_string();
                    (_, found) = self.manifest(&version, Some(&manifest_digest)).await?;
                }
            }
        };
        let raw_config = self.config(&image.config).await?;
        let (config, layers) =
            read_config(&image, &raw_config, platform).map_err(|source| RegistryError::Config {
                reference: Box::new(self.reference().clone()),
                source: Box::new(source),
            })?;
        Ok(Resolved {
            reference: self.reference().clone(),
            digest,
            manifest: manifest_digest,
            config,
            raw_config,
            layers,
        })
    }

    /// The manifest of a tag or digest, and its digest.
    async fn manifest(
        &self,
        version: &str,
        expected: Option<&Sha256Digest>,
    ) -> Result<(Sha256Digest, Manifest), RegistryError> {
        let url = self.url(&format!("manifests/{version}"))?;
        let accept = manifest::ACCEPT.join(", ");
        let response = self
            .send(|http| http.get(url.clone()).header(ACCEPT, &accept).build())
            .await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => {
                return Err(RegistryError::NotFound {
                    reference: Box::new(self.reference().clone()),
                });
            }
            _ => return Err(self.refusal(response).await),
        }
        let text = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let content_type = text(CONTENT_TYPE.as_str());
        let said = text(CONTENT_DIGEST);
        let bytes = self.small(response, "the manifest", MAX_MANIFEST).await?;
        let digest = Sha256Digest::of(&bytes);
        // The registry's own word is held against it too: what was changed on the way is noticed
        // even if the reference has no digest. It may be of another algorithm.
        let said = said.and_then(|text| text.parse::<Sha256Digest>().ok());
        if let Some(&expected) = expected.or(said.as_ref())
            && expected != digest
        {
            return Err(RegistryError::Digest {
                registry: self.registry().to_owned(),
                what: "a manifest",
                expected: expected.to_string(),
            });
        }
        // Parameters such as a charset say nothing about which of the two it is.
        let media_type = content_type
            .as_deref()
            .map(|text| text.split(';').next().unwrap_or(text).trim());
        let parsed = manifest::parse(&bytes, media_type);
        let parsed = parsed.map_err(|source| RegistryError::Manifest {
            reference: Box::new(self.reference().clone()),
            source: Box::new(source),
        })?;
        Ok((digest, parsed))
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        if descriptor.size > MAX_CONFIG {
            return Err(RegistryError::TooLarge {
                what: "the image's config",
                limit: MAX_CONFIG,
            });
        }
        let response = self.blob(&descriptor.digest, 0).await?;
        let bytes = self
            .small(response, "the image's config", descriptor.size)
            .await?;
        if Sha256Digest::of(&bytes) != descriptor.digest {
            return Err(RegistryError::Digest {
                registry: self.registry().to_owned(),
                what: "a config",
                expected: descriptor.digest.to_string(),
            });
        }
        Ok(bytes)
    }

    /// Asks for a blob from an offset on. The reply has the status 200 or 206.
    pub(super) async fn blob(
        &self,
        digest: &Sha256Digest,
        offset: u64,
    ) -> Result<Response, RegistryError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let response = self
            .send(|http| {
                let request = http.get(url.clone());
                let request = match offset {
                    0 => request,
                    offset => request.header("range", format!("bytes={offset}-")),
                };
                request.build()
            })
            .await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::NOT_FOUND => Err(RegistryError::Lacks {
                registry: self.registry().to_owned(),
                what: digest.to_string(),
            }),
            _ => Err(self.refusal(response).await),
        }
    }
}

/// Reads a config and puts what it says of the layers together with the manifest.
pub(super) fn read_config(
    image: &ImageManifest,
    raw_config: &[u8],
    platform: &Platform,
) -> Result<(ConfigFile, Vec<LayerSpec>), super::config::ConfigError> {
    let config = ConfigFile::parse(raw_config, platform)?;
    config.check_layers(image.layers.len())?;
    let layers = image.layers.iter().zip(&config.diff_ids);
    let layers = layers
        .map(|(layer, &diff_id)| LayerSpec {
            digest: layer.digest,
            size: layer.size,
            diff_id,
        })
        .collect();
    Ok((config, layers))
}
