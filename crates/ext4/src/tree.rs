//! Files as values: what is written to a file system, and what is read from one.

use std::collections::BTreeMap;

/// A moment, since 1970, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds on top of them, below 10^9.
    pub nanos: u32,
}

/// The number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Device {
    /// Its driver: 12 bits.
    pub major: u32,
    /// Which of the driver's: 20 bits.
    pub minor: u32,
}

/// The largest major number that Linux has.
pub const MAJOR_MAX: u32 = (1 << 12) - 1;
/// The largest minor number that Linux has.
pub const MINOR_MAX: u32 = (1 << 20) - 1;

/// An extended attribute, as system calls know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Its name with the namespace, such as `security.capability`.
    pub name: Box<[u8]>,
    /// Its value.
    pub value: Box<[u8]>,
}

/// What every kind of file has.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Metadata {
    /// Permissions with set-user-id, set-group-id and sticky: 12 bits.
    pub mode: u16,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// When its content was changed last.
    pub mtime: Time,
    /// Extended attributes, each name once, in the order of their names.
    pub xattrs: Vec<Xattr>,
}

/// A part of a file that is not a hole, and where its bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Piece {
    /// Where it begins in the file.
    pub at: u64,
    /// How many bytes it has; not 0.
    pub len: u64,
    /// Which of the sources it comes from; their meaning is the caller's.
    pub source: u32,
    /// Where it begins in the source.
    pub from: u64,
}

/// The content of a regular file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Data {
    /// How many bytes it has, holes included.
    pub size: u64,
    /// What is not a hole: in order, apart from each other, within the size.
    pub pieces: Vec<Piece>,
}

/// The names in a directory.
pub type Names = BTreeMap<Box<[u8]>, InodeId>;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory(Names),
    /// A regular file.
    File(Data),
    /// A symbolic link and its target.
    Symlink(Box<[u8]>),
    /// A character device.
    Character(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
    /// The name of a socket.
    Socket,
}

/// A file, which may have several names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Its attributes.
    pub meta: Metadata,
    /// What it is.
    pub content: Content,
}

/// Which of a tree's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeId(pub u32);

impl InodeId {
    /// The root directory.
    pub const ROOT: Self = Self(0);

    /// Its place in [`Tree::inodes`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Files with their names. The first is the root directory; every other has at least one name,
/// and a directory has exactly one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The files.
    pub inodes: Vec<Inode>,
}

impl Tree {
    /// An empty root directory.
    pub fn new(root: Metadata) -> Self {
        Self {
            inodes: vec![Inode {
                meta: root,
                content: Content::Directory(Names::new()),
            }],
        }
    }

    /// The file of a number, if there is one.
    pub fn get(&self, id: InodeId) -> Option<&Inode> {
        self.inodes.get(id.index())
    }

    /// The names in a directory; none if it is not one.
    pub fn names(&self, id: InodeId) -> Option<&Names> {
        match &self.get(id)?.content {
            Content::Directory(names) => Some(names),
            _ => None,
        }
    }

    /// The file at a path of names separated by `/`, no link followed.
    pub fn find(&self, path: &[u8]) -> Option<InodeId> {
        path.split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty())
            .try_fold(InodeId::ROOT, |at, name| self.names(at)?.get(name).copied())
    }

    /// A path of a file. Looks through the whole tree: it is for messages.
    pub fn path_of(&self, id: InodeId) -> Option<Vec<u8>> {
        let mut path = Vec::new();
        let mut at = id;
        // No path is longer than there are files.
        for _ in 0..self.inodes.len() {
            if at == InodeId::ROOT {
                return Some(path);
            }
            let parents = self.inodes.iter().enumerate();
            let (parent, name) = parents.into_iter().find_map(|(number, inode)| {
                let Content::Directory(names) = &inode.content else {
                    return None;
                };
                let name = names.iter().find(|(_, id)| **id == at)?.0;
                Some((InodeId(number as u32), name))
            })?;
            path = if path.is_empty() {
                name.to_vec()
            } else {
                [name, &b"/"[..], &path].concat()
            };
            at = parent;
        }
        None
    }
}
