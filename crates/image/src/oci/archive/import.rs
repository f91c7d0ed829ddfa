//! Takes an image out of an archive.

use std::io::Read;

use tokio_util::sync::CancellationToken;

use super::error::ArchiveError;
use super::spool::{Raw, Spool};
use super::{docker, layout};
use crate::image_config::ImageConfig;
use crate::layer::digest::Sha256Digest;
use crate::layer::files::Layer;
use crate::layer::limits::Limits;
use crate::layer::store::adopt::Workshop;
use crate::layer::store::{LayerSpec, Lease};
use crate::oci::config::ConfigFile;
use crate::oci::platform::Platform;

/// What an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// What `docker save` writes.
    Docker,
    /// An OCI image layout.
    Oci,
    /// A root file system, and nothing about it.
    RootFs,
}

/// How an archive is read.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which of several images is meant, by its name in the archive.
    pub wanted: Option<String>,
    /// For which platform.
    pub platform: Platform,
    /// What it is; found out if not said. A root file system may have files that look like
    /// another's lists.
    pub kind: Option<ArchiveKind>,
    /// Largest archive taken, in bytes.
    pub max_bytes: u64,
    /// Bounds on what is in it.
    pub limits: Limits,
}

/// An image out of an archive. Its layers are in the store and in the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// What the archive was.
    pub kind: ArchiveKind,
    /// The names that the image has in it.
    pub names: Vec<String>,
    /// The digest of its manifest or index, or of its config where it has none.
    pub digest: Sha256Digest,
    /// What the config says.
    pub config: ConfigFile,
    /// The config as it is.
    pub raw_config: Vec<u8>,
    /// The layers, from the lowest.
    pub layers: Vec<Layer>,
}

/// Takes an image out of an archive that comes as a stream, gzip, Zstandard or plain. Blocks.
///
/// Takes as much room as the archive, unpacked, and its layers together, until it returns; what
/// is half-made is deleted.
pub fn import(
    reader: impl Read,
    lease: &Lease,
    options: &Options,
    cancel: &CancellationToken,
) -> Result<Imported, ArchiveError> {
    let workshop = lease.workshop().map_err(ArchiveError::store)?;
    let spool = Spool::take(
        reader,
        &workshop,
        &options.limits,
        options.max_bytes,
        cancel,
    )?;
    let kind = options.kind.unwrap_or_else(|| kind_of(&spool));
    let work = Work {
        spool: &spool,
        workshop: &workshop,
        lease,
        cancel,
    };
    match kind {
        ArchiveKind::Docker => work.docker(options),
        ArchiveKind::Oci => work.oci(options),
        ArchiveKind::RootFs => work.root_fs(options),
    }
}

/// What an archive is by the files that it has. Newer versions of Docker write both lists; that
/// of OCI says more.
fn kind_of(spool: &Spool) -> ArchiveKind {
    if spool.has(layout::MARK) && spool.has(layout::INDEX) {
        ArchiveKind::Oci
    } else if docker::is_list(spool) {
        ArchiveKind::Docker
    } else {
        ArchiveKind::RootFs
    }
}

struct Work<'a> {
    spool: &'a Spool,
    workshop: &'a Workshop,
    lease: &'a Lease,
    cancel: &'a CancellationToken,
}

impl Work<'_> {
    fn docker(&self, options: &Options) -> Result<Imported, ArchiveError> {
        let found = docker::find(self.spool, options.wanted.as_deref())?;
        let config = ConfigFile::parse(&found.raw_config, &options.platform);
        let config = config.map_err(ArchiveError::Config)?;
        let count = config.check_layers(found.layers.len());
        count.map_err(ArchiveError::Config)?;
        let mut layers = Vec::new();
        for (name, diff_id) in found.layers.iter().zip(&config.diff_ids) {
            layers.push(self.layer(name, None, *diff_id)?);
        }
        Ok(Imported {
            kind: ArchiveKind::Docker,
            names: found.names,
            digest: Sha256Digest::of(&found.raw_config),
            config,
            raw_config: found.raw_config,
            layers,
        })
    }

    fn oci(&self, options: &Options) -> Result<Imported, ArchiveError> {
        let wanted = options.wanted.as_deref();
        let found = layout::find(self.spool, wanted, &options.platform)?;
        let config = ConfigFile::parse(&found.raw_config, &options.platform);
        let config = config.map_err(ArchiveError::Config)?;
        let count = config.check_layers(found.manifest.layers.len());
        count.map_err(ArchiveError::Config)?;
        let mut layers = Vec::new();
        for (layer, diff_id) in found.manifest.layers.iter().zip(&config.diff_ids) {
            let name = layout::blob(&layer.digest);
            layers.push(self.layer(&name, Some(layer.digest), *diff_id)?);
        }
        Ok(Imported {
            kind: ArchiveKind::Oci,
            names: found.names,
            digest: found.digest,
            config,
            raw_config: found.raw_config,
            layers,
        })
    }

    fn root_fs(&self, options: &Options) -> Result<Imported, ArchiveError> {
        let config = ConfigFile {
            platform: options.platform.clone(),
            created_at: None,
            config: ImageConfig::default(),
            diff_ids: vec![self.spool.diff_id],
        };
        let raw_config = config.to_bytes();
        let layer = self.adopt(&self.spool.raw, self.spool.diff_id)?;
        Ok(Imported {
            kind: ArchiveKind::RootFs,
            names: Vec::new(),
            digest: layer.digest,
            config,
            raw_config,
            layers: vec![layer],
        })
    }

    /// Takes a layer out of the archive.
    fn layer(
        &self,
        name: &str,
        digest: Option<Sha256Digest>,
        diff_id: Sha256Digest,
    ) -> Result<Layer, ArchiveError> {
        if let Some(digest) = digest
            && let Some(layer) = self.lease.get(&digest)
            && layer.diff_id == diff_id
        {
            return Ok(layer);
        }
        let to = self.workshop.path().join("layer");
        let raw = self.spool.extract(name, &to, self.cancel)?;
        if digest.is_some_and(|digest| digest != raw.digest) {
            return Err(ArchiveError::Digest {
                name: name.to_owned(),
            });
        }
        let adopted = self.adopt(&raw, diff_id);
        // It is still there if the store had the layer.
        bhatti_host::files::remove_file(&to).map_err(ArchiveError::store)?;
        adopted
    }

    fn adopt(&self, raw: &Raw, diff_id: Sha256Digest) -> Result<Layer, ArchiveError> {
        let spec = LayerSpec {
            digest: raw.digest,
            size: raw.size,
            diff_id,
        };
        let adopted = self
            .lease
            .adopt(self.workshop, &raw.path, &spec, self.cancel);
        adopted.map_err(ArchiveError::Layer)
    }
}
