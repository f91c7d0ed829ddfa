//! How much a layer may hold before it is refused.

/// Bounds on one layer, and on the tree that layers make together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Entries of an archive, and files of a tree.
    pub entries: u32,
    /// Bytes of the uncompressed archive.
    pub bytes: u64,
    /// Bytes of an entry's path.
    pub path_bytes: usize,
    /// Components of an entry's path.
    pub depth: usize,
    /// Bytes of names and values of an entry's extended attributes.
    pub xattr_bytes: usize,
    /// Bytes of one extended header: long names and PAX records.
    pub header_bytes: u64,
    /// Pieces of content of an archive's sparse files together.
    pub pieces: u32,
    /// Bytes that all paths, link targets and extended attributes of an archive take together.
    pub text_bytes: u64,
}

impl Limits {
    /// What is plenty for every real image, and little enough for the host's memory: the largest
    /// images that people run have half a million files and tens of gigabytes.
    pub const DEFAULT: Self = Self {
        entries: 2_000_000,
        bytes: 256 << 30,
        // `PATH_MAX`: a longer one could not be opened.
        path_bytes: 4096,
        depth: 256,
        // `XATTR_SIZE_MAX`.
        xattr_bytes: 64 << 10,
        header_bytes: 1 << 20,
        pieces: 1_000_000,
        text_bytes: 512 << 20,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The longest name of a file, in bytes.
pub const NAME_MAX: usize = 255;
/// The longest target of a symbolic link, in bytes: what fits into a page with its end.
pub const TARGET_MAX: usize = 4095;
/// The largest file of an ext4 with blocks of 4 KiB.
pub const FILE_MAX: u64 = (u32::MAX as u64) << 12;
