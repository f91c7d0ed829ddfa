//! Manifests and indexes, of OCI and of Docker.

use serde::{Deserialize, Serialize};

use super::limits;
use super::platform::Platform;
use crate::layer::digest::Sha256Digest;

/// Media type of an OCI manifest.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI config.
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// What layers are, without the suffix of how they are compressed.
const LAYERS: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// What is asked for where a manifest is wanted.
pub(crate) const ACCEPT: [&str; 4] = [OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST];

/// Names a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Its digest.
    pub digest: Sha256Digest,
    /// Its size, in bytes.
    pub size: u64,
}

/// The manifest of an image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageManifest {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// A list of manifests for several platforms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media_type: Option<String>,
    pub(crate) manifests: Vec<IndexEntry>,
}

/// An entry of such a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IndexEntry {
    #[serde(flatten)]
    pub(crate) descriptor: Descriptor,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    platform: Option<IndexPlatform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<Annotations>,
}

/// The annotations that are of use here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Annotations {
    /// The tag, or a whole reference, under which an archive has an image.
    #[serde(
        rename = "org.opencontainers.image.ref.name",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) ref_name: Option<String>,
    /// The whole reference, as containerd and Docker write it.
    #[serde(
        rename = "io.containerd.image.name",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub(crate) image_name: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct IndexPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
}

impl IndexEntry {
    /// An entry for one platform.
    pub(crate) fn new(
        descriptor: Descriptor,
        platform: &Platform,
        annotations: Option<Annotations>,
    ) -> Self {
        Self {
            descriptor,
            platform: Some(IndexPlatform {
                os: platform.os().to_owned(),
                architecture: platform.arch().to_owned(),
                variant: platform.variant().map(str::to_owned),
            }),
            annotations,
        }
    }

    /// For which platform it says it is.
    pub(crate) fn platform(&self) -> Option<Platform> {
        let platform = self.platform.as_ref()?;
        Some(Platform::new(
            &platform.os,
            &platform.architecture,
            platform.variant.as_deref(),
        ))
    }
}

/// Either of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manifest {
    Image(ImageManifest),
    Index(Index),
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It is not JSON of the right shape.
    #[error("the manifest is not valid")]
    Json(#[source] serde_json::Error),
    /// It is of a format that was given up years ago, or of one that is not known.
    #[error("the manifest has schema version {0}, and only 2 is known")]
    Version(u32),
    /// It could be read as two things.
    #[error("the manifest is ambiguous: it has both layers and manifests")]
    Ambiguous,
    /// It is a manifest of something else.
    #[error("it is no image of a machine, but {0:?}")]
    NotAnImage(String),
    /// A layer is of a kind that is not known.
    #[error("layer {digest} is of the unknown type {media_type:?}")]
    Layer {
        /// The layer.
        digest: Sha256Digest,
        /// Its media type.
        media_type: String,
    },
    /// There are too many layers.
    #[error("it has {0} layers, and at most {max} are taken", max = limits::MAX_LAYERS)]
    Layers(usize),
    /// There are none.
    #[error("it has no layers")]
    Empty,
    /// An index has too many entries, or indexes lie too deep in each other.
    #[error("the index is too large: {0}")]
    Index(&'static str),
    /// There is no image for the platform.
    #[error("there is no image for {wanted}; there is one for {}", list(offered))]
    NoPlatform {
        /// What was wanted.
        wanted: Platform,
        /// What there is.
        offered: Vec<Platform>,
    },
}

/// What there is, in words.
fn list(offered: &[Platform]) -> String {
    if offered.is_empty() {
        return "no platform at all".to_owned();
    }
    let names: Vec<_> = offered.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What is looked at first.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    #[serde(default)]
    schema_version: u32,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
}

/// Reads a manifest. `content_type` is what the registry says it is, if it says so; the manifest's
/// own word counts for more.
pub(crate) fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Manifest, ManifestError> {
    let outline: Outline = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    if outline.schema_version != 2 {
        return Err(ManifestError::Version(outline.schema_version));
    }
    // One manifest that is two things to two readers hides from one what the other runs
    // (CVE-2021-41190).
    if outline.layers.is_some() && outline.manifests.is_some() {
        return Err(ManifestError::Ambiguous);
    }
    let named = outline.media_type.as_deref().or(content_type);
    let is_index = match named {
        Some(OCI_INDEX | DOCKER_LIST) => true,
        Some(OCI_MANIFEST | DOCKER_MANIFEST) => false,
        _ => outline.manifests.is_some(),
    };
    if is_index {
        let index: Index = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        if index.manifests.len() > limits::MAX_INDEX_ENTRIES {
            return Err(ManifestError::Index("it has more than 1,000 entries"));
        }
        return Ok(Manifest::Index(index));
    }
    let image: ImageManifest = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
    image.check()?;
    Ok(Manifest::Image(image))
}

impl ImageManifest {
    /// A manifest of these.
    pub(crate) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            config,
            layers,
        }
    }

    fn check(&self) -> Result<(), ManifestError> {
        let config = self.config.media_type.as_str();
        if !matches!(config, OCI_CONFIG | DOCKER_CONFIG) {
            return Err(ManifestError::NotAnImage(config.chars().take(80).collect()));
        }
        match self.layers.len() {
            0 => return Err(ManifestError::Empty),
            count if count > limits::MAX_LAYERS => return Err(ManifestError::Layers(count)),
            _ => {}
        }
        for layer in &self.layers {
            let name = layer.media_type.as_str();
            let plain = [".gzip", "+gzip", "+zstd", ".zstd"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            if !LAYERS.contains(&plain) {
                return Err(ManifestError::Layer {
                    digest: layer.digest,
                    media_type: name.chars().take(80).collect(),
                });
            }
        }
        Ok(())
    }
}

impl Index {
    /// An index of these.
    pub(crate) fn new(manifests: Vec<IndexEntry>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(OCI_INDEX.to_owned()),
            manifests,
        }
    }

    /// The entry that suits a platform best; of equals, the first.
    ///
    /// Entries that do not say what they are for are taken only if there is nothing else: tools
    /// that make images for one platform leave it out.
    pub(crate) fn select(&self, wanted: &Platform) -> Result<&IndexEntry, ManifestError> {
        let mut best: Option<(u32, &IndexEntry)> = None;
        for entry in &self.manifests {
            let fit = entry.platform().and_then(|offered| wanted.fit(&offered));
            if let Some(fit) = fit
                && best.is_none_or(|(other, _)| fit > other)
            {
                best = Some((fit, entry));
            }
        }
        if let Some((_, entry)) = best {
            return Ok(entry);
        }
        if let [only] = self.manifests.as_slice()
            && only.platform.is_none()
        {
            return Ok(only);
        }
        // Attestations are kept beside images under this name.
        let mut offered: Vec<_> = self
            .manifests
            .iter()
            .filter_map(IndexEntry::platform)
            .filter(|platform| platform.os() != "unknown")
            .collect();
        offered.truncate(50);
        Err(ManifestError::NoPlatform {
            wanted: wanted.clone(),
            offered,
        })
    }
}

#[cfg(test)]
mod test {
    use super::{Manifest, ManifestError, parse};

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{DIGEST}","size":1}}"#)
    }

    fn image(config: &str, layers: &str) -> String {
        let config = descriptor(config);
        format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layers}]}}"#)
    }

    fn index(platforms: &[&str]) -> String {
        let entries: Vec<_> = platforms
            .iter()
            .enumerate()
            .map(|(number, platform)| {
                let mut parts = platform.split('/');
                let (os, arch) = (parts.next().unwrap(), parts.next().unwrap());
                let variant = parts
                    .next()
                    .map_or(String::new(), |text| format!(r#","variant":"{text}""#));
                format!(
                    r#"{{"mediaType":"m","digest":"{DIGEST}","size":{number},
                        "platform":{{"os":"{os}","architecture":"{arch}"{variant}}}}}"#
                )
            })
            .collect();
        format!(
            r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
            entries.join(",")
        )
    }

    fn selected(platforms: &[&str], wanted: &str) -> Result<u64, ManifestError> {
        match parse(index(platforms).as_bytes(), None).unwrap() {
            Manifest::Index(index) => index
                .select(&wanted.parse().unwrap())
                .map(|entry| entry.descriptor.size),
            Manifest::Image(_) => panic!("an index"),
        }
    }

    #[test]
    fn the_image_of_the_platform_is_chosen() {
        let offered = [
            "linux/arm/v7",
            "linux/arm64/v8",
            "linux/amd64/v2",
            "linux/amd64",
            "unknown/unknown",
        ];
        assert_eq!(selected(&offered, "linux/amd64").unwrap(), 3);
        assert_eq!(selected(&offered, "linux/amd64/v2").unwrap(), 2);
        assert_eq!(selected(&offered, "linux/arm64").unwrap(), 1);
        assert_eq!(selected(&offered, "linux/arm/v7").unwrap(), 0);
        let error = selected(&offered, "linux/riscv64").unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no image for linux/riscv64; there is one for linux/arm/v7, linux/arm64/v8, \
             linux/amd64/v2, linux/amd64"
        );
        let error = selected(&[], "linux/amd64").unwrap_err();
        assert!(error.to_string().ends_with("no platform at all"));
    }

    #[test]
    fn a_manifest_says_what_it_is_or_the_registry_does() {
        let plain = image(CONFIG, &descriptor(LAYER));
        for content_type in [None, Some(super::DOCKER_MANIFEST), Some("text/plain")] {
            let parsed = parse(plain.as_bytes(), content_type).unwrap();
            assert!(matches!(parsed, Manifest::Image(_)));
        }
        // What says nothing of itself is not taken for the other.
        parse(plain.as_bytes(), Some(super::OCI_INDEX)).unwrap_err();
        parse(index(&[]).as_bytes(), Some(super::OCI_MANIFEST)).unwrap_err();
    }

    #[test]
    fn what_is_no_image_is_refused_with_a_reason() {
        let helm = image(
            "application/vnd.cncf.helm.config.v1+json",
            &descriptor(LAYER),
        );
        let wasm = image(CONFIG, &descriptor("application/wasm"));
        let many = image(CONFIG, &vec![descriptor(LAYER); 501].join(","));
        let both = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}}"#,
            descriptor(CONFIG)
        );
        for (text, said) in [
            (helm.as_str(), "helm.config"),
            (&wasm, "\"application/wasm\""),
            (&many, "501 layers"),
            (&both, "ambiguous"),
            (&image(CONFIG, ""), "no layers"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema version 1"),
            ("[]", "schema version 0"),
            ("", "not valid"),
            (&"[".repeat(1000), "not valid"),
        ] {
            let error = parse(text.as_bytes(), None).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }
}
