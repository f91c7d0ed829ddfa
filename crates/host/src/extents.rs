//! Where on its device the parts of a file lie, and what of it is the file's alone.
//!
//! Two files that share blocks (reflinks) hold the same bytes there, and a file that was cloned
//! and then written to differs from its base only where it lies elsewhere. That tells what was
//! dirtied without reading what was not, and how much disk would be free again if it were deleted.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::fiemap::{self, flag};

/// A part of a file and its place, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Physical {
    /// Where in the file it begins.
    pub logical: u64,
    /// How long it is.
    pub len: u64,
    /// Where on the device it begins; means something only if `settled`.
    pub physical: u64,
    /// Whether other files share it.
    pub shared: bool,
    /// Whether its place is known and its bytes are there: not still in memory, not packed, not
    /// allocated without ever having been written.
    pub settled: bool,
}

impl Physical {
    /// Where in the file it ends (exclusive).
    pub fn end(&self) -> u64 {
        self.logical.saturating_add(self.len)
    }
}

/// What files take on disk, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// What would be free again if they were deleted.
    pub own_bytes: u64,
    /// What other files hold too.
    pub shared_bytes: u64,
}

impl Usage {
    /// All of it.
    pub fn total(self) -> u64 {
        self.own_bytes.saturating_add(self.shared_bytes)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.own_bytes = self.own_bytes.saturating_add(other.own_bytes);
        self.shared_bytes = self.shared_bytes.saturating_add(other.shared_bytes);
    }
}

/// The extents of a file in order; what is between them are holes. Dirty pages are written back
/// first: until then a file whose shared blocks were written to still shows the shared ones. The
/// answer holds for as long as nobody writes to the file. An error of the kind `Unsupported` where
/// the file system can't tell. Blocking.
pub fn map(file: &File) -> io::Result<Vec<Physical>> {
    const UNSETTLED: u32 = flag::UNKNOWN
        | flag::DELALLOC
        | flag::ENCODED
        | flag::DATA_ENCRYPTED
        | flag::NOT_ALIGNED
        | flag::DATA_INLINE
        | flag::DATA_TAIL
        | flag::UNWRITTEN;
    let mut extents = Vec::new();
    fiemap::for_each(file, fiemap::SYNC, |raw| {
        extents.push(Physical {
            logical: raw.logical,
            len: raw.length,
            physical: raw.physical,
            shared: raw.flags & flag::SHARED != 0,
            settled: raw.flags & UNSETTLED == 0,
        });
        ControlFlow::Continue(())
    })?;
    Ok(extents)
}

/// In how many pieces a file lies. An error of the kind `Unsupported` where the file system can't
/// tell.
pub fn count(file: &File) -> io::Result<u64> {
    fiemap::count(file)
}

/// What a file takes on disk. A file with several names would not be gone with one of them, so all
/// of it is shared; where the file system can't tell, all of it is the file's own.
pub fn usage(path: &Path) -> io::Result<Usage> {
    let file = fs_err::File::open(path)?;
    usage_of(file.file(), 1)
}

/// What the files in a directory and below take on disk. Those with several names count once, and
/// as the directory's own if all of their names are in it. Blocks that files in the directory share
/// only with each other count as shared. What is deleted meanwhile is left out.
pub fn usage_of_dir(dir: &Path) -> io::Result<Usage> {
    /// One of a file's names, and how many of them were seen.
    struct Seen {
        path: PathBuf,
        names: u64,
    }
    let mut files: BTreeMap<(u64, u64), Seen> = BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in gone_is_none(fs_err::read_dir(&dir))?.into_iter().flatten() {
            let entry = entry?;
            let Some(kind) = gone_is_none(entry.file_type())? else {
                continue;
            };
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                let Some(metadata) = gone_is_none(fs_err::symlink_metadata(&path))? else {
                    continue;
                };
                let seen = files
                    .entry((metadata.dev(), metadata.ino()))
                    .or_insert(Seen { path, names: 0 });
                seen.names += 1;
            }
        }
    }
    let mut total = Usage::default();
    for seen in files.values() {
        if let Some(file) = gone_is_none(fs_err::File::open(&seen.path))? {
            total += usage_of(file.file(), seen.names)?;
        }
    }
    Ok(total)
}

fn gone_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a file takes that has `names` names where it is looked at from.
fn usage_of(file: &File, names: u64) -> io::Result<Usage> {
    let metadata = file.metadata()?;
    let total = metadata.blocks() * 512;
    let mut shared = 0u64;
    if metadata.nlink() > names {
        shared = total;
    } else if total > 0 {
        let counted = fiemap::for_each(file, 0, |raw| {
            if raw.flags & flag::SHARED != 0 {
                shared = shared.saturating_add(raw.length);
            }
            ControlFlow::Continue(())
        });
        match counted {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
            other => other?,
        }
    }
    let shared = shared.min(total);
    Ok(Usage {
        own_bytes: total - shared,
        shared_bytes: shared,
    })
}

/// What is surely known of a stretch of a file and the same stretch of another one, of the same
/// file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alike {
    /// Both have a hole there.
    Holes,
    /// They share the blocks.
    Blocks,
    /// They may differ.
    No,
}

/// Calls `each` with the parts of a stretch of two files, in order, until it breaks off.
pub(crate) fn compare(
    ours: &[Physical],
    theirs: &[Physical],
    stretch: Range<u64>,
    mut each: impl FnMut(Range<u64>, Alike) -> ControlFlow<()>,
) {
    let mut at = stretch.start;
    let first = |extents: &[Physical]| extents.partition_point(|extent| extent.end() <= at);
    let (mut i, mut j) = (first(ours), first(theirs));
    while at < stretch.end {
        let (a, b) = (Piece::at(ours.get(i), at), Piece::at(theirs.get(j), at));
        let alike = match (a.place, b.place) {
            (Place::Hole, Place::Hole) => Alike::Holes,
            (Place::At(a), Place::At(b)) if a == b => Alike::Blocks,
            (Place::Hole | Place::At(_) | Place::Unknown, _) => Alike::No,
        };
        let until = a.until.min(b.until);
        if each(at..until.min(stretch.end), alike).is_break() {
            return;
        }
        at = until;
        i += usize::from(ours.get(i).is_some_and(|extent| extent.end() <= at));
        j += usize::from(theirs.get(j).is_some_and(|extent| extent.end() <= at));
    }
}

/// Whether two files surely hold the same bytes in a stretch.
pub fn same(ours: &[Physical], theirs: &[Physical], stretch: Range<u64>) -> bool {
    let mut same = true;
    compare(ours, theirs, stretch, |_, alike| {
        same = alike != Alike::No;
        if same {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    same
}

/// What is at an offset of a file, and how far it goes.
struct Piece {
    place: Place,
    until: u64,
}

enum Place {
    Hole,
    /// Blocks that other files share, by where they are.
    At(u64),
    /// Nothing that could be compared.
    Unknown,
}

impl Piece {
    /// `extent` is the first that ends behind `at`.
    fn at(extent: Option<&Physical>, at: u64) -> Self {
        match extent {
            Some(extent) if extent.logical <= at => Self {
                // Blocks of two files that are the same are shared, or this is not understood.
                place: if extent.settled && extent.shared {
                    Place::At(extent.physical.saturating_add(at - extent.logical))
                } else {
                    Place::Unknown
                },
                until: extent.end(),
            },
            Some(extent) => Self {
                place: Place::Hole,
                until: extent.logical,
            },
            None => Self {
                place: Place::Hole,
                until: u64::MAX,
            },
        }
    }
}

#[cfg(test)]
mod test {
    use std::ops::ControlFlow;

    use super::{Alike, Physical, compare, same, usage_of_dir};

    fn extent(logical: u64, len: u64, physical: u64) -> Physical {
        Physical {
            logical,
            len,
            physical,
            shared: true,
            settled: true,
        }
    }

    #[test]
    fn parts_are_the_same_where_they_share_blocks_or_both_have_holes() {
        let ours = [extent(0, 10, 100), extent(20, 10, 200)];
        let theirs = [extent(0, 5, 100), extent(5, 5, 105), extent(20, 8, 200)];
        assert!(same(&ours, &theirs, 0..28));
        assert!(same(&ours, &theirs, 3..25));
        assert!(same(&ours, &theirs, 10..20));
        assert!(!same(&ours, &theirs, 20..30));
        assert!(same(&ours, &theirs, 30..1 << 40));
        assert!(!same(&ours, &[], 0..5));
        assert!(same(&[], &[], 0..5));
    }

    #[test]
    fn a_stretch_is_told_in_parts() {
        let ours = [extent(0, 10, 100), extent(20, 10, 200)];
        let theirs = [extent(0, 10, 100), extent(25, 5, 205)];
        let mut parts = Vec::new();
        compare(&ours, &theirs, 5..40, |part, alike| {
            parts.push((part, alike));
            ControlFlow::Continue(())
        });
        let expected = [
            (5..10, Alike::Blocks),
            (10..20, Alike::Holes),
            (20..25, Alike::No),
            (25..30, Alike::Blocks),
            (30..40, Alike::Holes),
        ];
        assert_eq!(parts, expected);
    }

    #[test]
    fn what_is_elsewhere_or_not_settled_or_not_shared_is_never_the_same() {
        let good = extent(0, 10, 100);
        assert!(same(&[good], &[good], 0..10));
        assert!(!same(&[good], &[extent(0, 10, 101)], 0..10));
        let unsettled = Physical {
            settled: false,
            ..good
        };
        assert!(!same(&[unsettled], &[unsettled], 0..10));
        let alone = Physical {
            shared: false,
            ..good
        };
        assert!(!same(&[alone], &[alone], 0..10));
        assert!(!same(&[good], &[extent(4, 6, 104)], 0..10));
        assert!(same(&[good], &[extent(4, 6, 104)], 4..10));
    }

    #[test]
    fn a_file_of_several_names_counts_once_and_is_shared_if_one_is_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("inside");
        fs_err::create_dir_all(inside.join("below")).unwrap();
        fs_err::write(inside.join("a"), vec![1; 100_000]).unwrap();
        crate::files::sync_file(&inside.join("a")).unwrap();
        fs_err::hard_link(inside.join("a"), inside.join("below/b")).unwrap();
        let usage = usage_of_dir(&inside).unwrap();
        assert!((100_000..150_000).contains(&usage.own_bytes), "{usage:?}");
        assert_eq!(usage.shared_bytes, 0);
        fs_err::hard_link(inside.join("a"), dir.path().join("c")).unwrap();
        let linked = usage_of_dir(&inside).unwrap();
        assert_eq!(
            (linked.own_bytes, linked.shared_bytes),
            (0, usage.own_bytes)
        );
    }
}
