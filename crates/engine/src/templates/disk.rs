//! Templates on disk: read at the start, and forgotten when they are out of date.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bhatti_host::files;
use bhatti_types::id::TemplateId;
use jiff::Timestamp;

use super::registry::Entry;
use super::shape::Shape;
use crate::checkpoint::{self, Depth, ImageError, ImageKind};
use crate::context::Context;
use crate::error::Error;
use crate::layout::{HALF_MADE, Layout, file};

/// Longest description of a shape that is read, in bytes.
const MAX_SHAPE: u64 = 64 << 10;

/// What is found in the place of a template.
enum Found {
    Whole(Box<Entry>),
    /// Not what it should be: a cache that can't be used is no loss.
    Damaged,
    /// It can't be read now, or is of a newer version.
    Unclear,
}

impl Context {
    /// Reads all templates there are and deletes what is half-made, damaged or out of date. No
    /// process of an earlier daemon works in them any more.
    pub(crate) async fn open_templates(self: &Arc<Self>) -> Result<(), Error> {
        let layout = self.layout.clone();
        let found = Self::blocking(move || read_all(&layout))
            .await?
            .map_err(Error::internal)?;
        for (id, entry) in found {
            self.templates.insert(id, entry);
        }
        self.forget_outdated_templates().await;
        self.keep_to_max_templates(None).await;
        Ok(())
    }

    /// The templates of images, guest kits and engines that new machines no longer get.
    pub(crate) async fn outdated_templates(&self) -> Vec<(TemplateId, Entry)> {
        let (kits, images) = (self.kits.clone(), self.images.clone());
        let now = Self::blocking(move || (kits.current(), images.list_all())).await;
        // What can't be told now is told another time.
        let Ok((kit, images)) = now else {
            return Vec::new();
        };
        let engine = self.templates.engine_version.get();
        let mut all = self.templates.all();
        all.retain(|(_, entry)| {
            let other_kit = kit
                .as_ref()
                .is_ok_and(|kit| kit.id.as_str() != entry.shape.kit);
            let no_image = images
                .as_ref()
                .is_ok_and(|all| all.iter().all(|(_, image)| image.id != entry.shape.image));
            let other_engine = engine.is_some_and(|engine| *engine != entry.shape.engine_version);
            other_kit || no_image || other_engine
        });
        all
    }

    /// Deletes them; says how many they were.
    pub(crate) async fn forget_outdated_templates(&self) -> usize {
        let outdated = self.outdated_templates().await;
        for (id, entry) in &outdated {
            tracing::info!(template = %id, image = %entry.shape.image_name, "a template is out of date");
            self.drop_template(id).await;
        }
        outdated.len()
    }
}

fn read_all(layout: &Layout) -> io::Result<Vec<(TemplateId, Entry)>> {
    let mut templates = Vec::new();
    for found in fs_err::read_dir(layout.templates())? {
        let found = found?;
        let (name, dir) = (found.file_name(), found.path());
        let name = name.to_string_lossy();
        if name.starts_with(HALF_MADE) {
            files::remove_tree(&dir)?;
            continue;
        }
        // Other names are not ours.
        let Ok(id) = name.parse::<TemplateId>() else {
            continue;
        };
        match read(&id, &dir) {
            Found::Whole(entry) => templates.push((id, *entry)),
            Found::Unclear => {
                tracing::warn!(template = %id, "a template can't be read and is left as it is");
            }
            Found::Damaged => {
                tracing::warn!(template = %id, "a template is damaged and is deleted");
                files::remove_tree(&dir)?;
            }
        }
    }
    Ok(templates)
}

fn read(id: &TemplateId, dir: &Path) -> Found {
    let manifest = match checkpoint::verify(dir, Depth::Sizes) {
        Ok(manifest) if manifest.kind == ImageKind::Template => manifest,
        Ok(_) | Err(ImageError::Manifest | ImageError::File { .. }) => return Found::Damaged,
        Err(ImageError::Io { .. } | ImageError::TooNew { .. }) => return Found::Unclear,
    };
    let shape = match files::read_bounded(&dir.join(file::SHAPE), MAX_SHAPE) {
        Ok(bytes) => serde_json::from_slice::<Shape>(&bytes).ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => return Found::Unclear,
    };
    let (Some(shape), Ok(created_at)) = (shape, manifest.created_at.parse()) else {
        return Found::Damaged;
    };
    if shape.id() != *id {
        return Found::Damaged;
    }
    let (used_at, uses) = read_uses(dir);
    Found::Whole(Box::new(Entry {
        shape,
        dir: dir.to_owned(),
        created_at,
        used_at,
        uses,
        lock: Arc::default(),
    }))
}

/// When it was last used and how often. Lost, it counts as never.
fn read_uses(dir: &Path) -> (Option<Timestamp>, u64) {
    let path = dir.join(file::USED);
    let read = || {
        let uses = files::read_bounded(&path, 64).ok()?;
        let uses = str::from_utf8(&uses).ok()?.trim().parse().ok()?;
        let used_at = fs_err::metadata(&path).ok()?.modified().ok()?;
        Some((Timestamp::try_from(used_at).ok()?, uses))
    };
    read().map_or((None, 0), |(used_at, uses)| (Some(used_at), uses))
}

/// Writes down how often a template was used. Not durable: it decides only which template goes
/// first.
pub(super) fn write_uses(dir: &Path, uses: u64) -> io::Result<()> {
    let aside = dir.join(format!(".{}.{uses}", file::USED));
    fs_err::write(&aside, format!("{uses}\n"))?;
    fs_err::rename(&aside, dir.join(file::USED))
}

#[cfg(test)]
mod test {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::{read_all, write_uses};
    use crate::bases::Bases;
    use crate::checkpoint::{ImageKind, Manifest, seal};
    use crate::layout::{Layout, file};
    use crate::templates::shape::test::shape;

    /// Puts a template in place whose id is that of `named`, though it was made of `made_of`.
    fn put(layout: &Layout, made_of: u64, named: u64, kind: ImageKind) {
        let half = layout.templates().join(".half");
        fs_err::create_dir(&half).unwrap();
        fs_err::write(half.join(file::STATE), "state").unwrap();
        let text = serde_json::to_vec(&shape(made_of)).unwrap();
        fs_err::write(half.join(file::SHAPE), text).unwrap();
        let manifest = Manifest {
            kind,
            sandbox: "sbx_0000000000000001".to_owned(),
            engine: "qemu".to_owned(),
            accelerator: "tcg".to_owned(),
            kit: "0123456789abcdef".to_owned(),
            cpus: 1,
            memory_mb: 256,
            created_at: "2026-01-01T00:00:00Z".to_owned(),
            files: BTreeMap::new(),
            volumes: Vec::new(),
        };
        let whole = layout.template(&shape(named).id());
        seal(&half, &whole, manifest, &[file::STATE], &Bases::none()).unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs_err::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_whole_templates_of_their_own_shape_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_owned());
        fs_err::create_dir(layout.templates()).unwrap();
        put(&layout, 256, 256, ImageKind::Template);
        put(&layout, 256, 512, ImageKind::Template);
        put(&layout, 1024, 1024, ImageKind::Checkpoint);
        put(&layout, 2048, 2048, ImageKind::Template);
        let cut = layout.template(&shape(2048).id()).join(file::STATE);
        fs_err::write(cut, "stat").unwrap();
        fs_err::create_dir(layout.template_half(&shape(4096).id())).unwrap();
        fs_err::create_dir(layout.templates().join("lost+found")).unwrap();

        let good = shape(256).id();
        for uses in [1, 2] {
            write_uses(&layout.template(&good), uses).unwrap();
        }
        let found = read_all(&layout).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].0, found[0].1.uses), (&good, 2));
        assert!(found[0].1.used_at.is_some());
        assert_eq!(names(&layout.templates()), ["lost+found", good.as_str()]);
        let left = names(&layout.template(&good));
        assert_eq!(left, ["manifest", "state", "template.json", "used"]);
    }
}
