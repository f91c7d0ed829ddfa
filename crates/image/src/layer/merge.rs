//! Puts layers over each other: what a machine sees of them is one tree.
//!
//! It is done as the tools do it that unpack layers into a directory (containerd, umoci), in the
//! order of the entries, but on values: a name below a symbolic link goes to where the link leads
//! inside the tree, a name that takes the place of another kind of file replaces it, and the last
//! entry of a name counts. Where these tools differ the image specification decides: a whiteout
//! takes away what lower layers have, never what its own layer has.

use std::collections::{BTreeMap, VecDeque};

use bhatti_ext4::tree::{Content, Data, Inode, InodeId, Metadata, Names, Piece, Tree};

use crate::layer::index::{Entry, EntryKind, LayerIndex};
use crate::layer::limits::{Limits, NAME_MAX};

/// How names begin that say something about lower layers.
const WHITEOUT: &[u8] = b".wh.";
/// How names begin that mean nothing any more, but for [`OPAQUE`].
const WHITEOUT_META: &[u8] = b".wh..wh.";
/// Everything that lower layers have in this directory is gone.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// As many symbolic links as the kernel follows for one name.
const FOLLOWED_MAX: usize = 40;

/// Why layers cannot be put over each other.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A whiteout names nothing.
    #[error("layer {layer} has the whiteout {path:?} without a name")]
    Whiteout {
        /// Which layer, counted from 1 at the bottom.
        layer: u32,
        /// The entry.
        path: String,
    },
    /// A hard link leads to no file.
    #[error("layer {layer} has the hard link {path:?} to {target:?}, which is no file")]
    HardLink {
        /// Which layer, counted from 1 at the bottom.
        layer: u32,
        /// The entry.
        path: String,
        /// What it is to be another name of.
        target: String,
    },
    /// A name leads through links without an end.
    #[error("layer {layer} has {path:?} below symbolic links that lead in a circle")]
    Links {
        /// Which layer, counted from 1 at the bottom.
        layer: u32,
        /// The entry.
        path: String,
    },
    /// A directory is too deep, or its name too long.
    #[error("layer {layer} has {path:?} in a directory that is too deep or cannot be made")]
    Depth {
        /// Which layer, counted from 1 at the bottom.
        layer: u32,
        /// The entry.
        path: String,
    },
    /// There are too many files.
    #[error("the layers have more than {limit} files")]
    Files {
        /// How many they may have.
        limit: u32,
    },
}

/// Puts layers over each other, the bottom one first.
///
/// The pieces of files have the number of their layer as source, counted from 0.
pub fn merge(
    layers: impl IntoIterator<Item = LayerIndex>,
    limits: &Limits,
) -> Result<Tree, MergeError> {
    let mut merge = Merge::new(limits);
    for layer in layers {
        merge.add(layer)?;
    }
    Ok(merge.finish())
}

/// Layers that are being put over each other, one after the other.
#[derive(Debug)]
pub struct Merge<'a> {
    limits: &'a Limits,
    nodes: Vec<Node>,
    /// How many layers there are already; the number of the one that is being added, from 1.
    layer: u32,
}

#[derive(Debug)]
struct Node {
    meta: Metadata,
    kind: NodeKind,
}

#[derive(Debug)]
enum NodeKind {
    Directory(Directory),
    /// Anything else, as the tree has it.
    Other(Content),
}

#[derive(Debug)]
struct Directory {
    names: BTreeMap<Box<[u8]>, Name>,
    parent: usize,
    depth: usize,
    /// The last layer that has something in it or below.
    inside: u32,
}

#[derive(Debug, Clone, Copy)]
struct Name {
    node: usize,
    /// The layer whose entry it is.
    layer: u32,
}

/// What a name leads to that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// A directory is made.
    Make,
    /// Nothing.
    Leave,
}

const ROOT: usize = 0;

impl<'a> Merge<'a> {
    /// No layers yet: an empty root directory.
    pub fn new(limits: &'a Limits) -> Self {
        let root = Directory {
            names: BTreeMap::new(),
            parent: ROOT,
            depth: 0,
            inside: 0,
        };
        Self {
            limits,
            nodes: vec![Node {
                meta: made_along(),
                kind: NodeKind::Directory(root),
            }],
            layer: 0,
        }
    }

    /// Puts a layer over the ones before.
    pub fn add(&mut self, layer: LayerIndex) -> Result<(), MergeError> {
        self.layer += 1;
        for entry in layer.entries {
            self.entry(entry)?;
        }
        Ok(())
    }

    /// What survives.
    pub fn finish(mut self) -> Tree {
        let mut inodes: Vec<Inode> = Vec::new();
        let mut ids: Vec<Option<InodeId>> = vec![None; self.nodes.len()];
        let mut waiting = vec![ROOT];
        ids[ROOT] = Some(InodeId::ROOT);
        let mut next = 1;
        while let Some(number) = waiting.pop() {
            let node = &mut self.nodes[number];
            let meta = std::mem::take(&mut node.meta);
            let kind = std::mem::replace(&mut node.kind, NodeKind::Other(Content::Fifo));
            let content = match kind {
                NodeKind::Other(content) => content,
                NodeKind::Directory(directory) => {
                    let mut names = Names::new();
                    for (name, to) in directory.names {
                        let id = *ids[to.node].get_or_insert_with(|| {
                            waiting.push(to.node);
                            next += 1;
                            InodeId(next - 1)
                        });
                        names.insert(name, id);
                    }
                    Content::Directory(names)
                }
            };
            let id = ids[number].unwrap_or(InodeId::ROOT).index();
            if inodes.len() <= id {
                inodes.resize_with(next as usize, || Inode {
                    meta: Metadata::default(),
                    content: Content::Fifo,
                });
            }
            inodes[id] = Inode { meta, content };
        }
        Tree { inodes }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), MergeError> {
        let Entry { path, meta, kind } = entry;
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], &path[..]),
        };
        if name.is_empty() {
            self.nodes[ROOT].meta = meta;
            return Ok(());
        }
        // Files that an old storage driver kept for itself.
        let mut names = path.split(|byte| *byte == b'/');
        if name != OPAQUE && names.any(|name| name.starts_with(WHITEOUT_META)) {
            return Ok(());
        }
        let mut parents = parent.split(|byte| *byte == b'/');
        if parents.any(|name| name.starts_with(WHITEOUT)) {
            return Err(MergeError::Whiteout {
                layer: self.layer,
                path: shown(&path),
            });
        }
        if name.starts_with(WHITEOUT) {
            return self.whiteout(&path, parent, name);
        }
        let Some(directory) = self.walk(&path, parent, Missing::Make)? else {
            return Ok(());
        };
        self.put(&path, directory, name, meta, kind)?;
        self.mark(directory);
        Ok(())
    }

    fn put(
        &mut self,
        path: &[u8],
        directory: usize,
        name: &[u8],
        mut meta: Metadata,
        kind: EntryKind,
    ) -> Result<(), MergeError> {
        let layer = self.layer;
        let there = self.lookup(directory, name);
        let content = match kind {
            EntryKind::Directory => {
                let there = there.filter(|name| self.directory(name.node).is_some());
                let node = match there {
                    Some(there) => there.node,
                    None => self.make_directory(path, directory)?,
                };
                self.nodes[node].meta = meta;
                self.set(directory, name, Name { node, layer });
                return Ok(());
            }
            EntryKind::HardLink(target) => {
                // A name of the file that it replaces is gone before.
                self.names(directory).map(|names| names.remove(name));
                let node = self.hard_link(path, &target)?;
                self.set(directory, name, Name { node, layer });
                return Ok(());
            }
            EntryKind::File(data) => Content::File(Data {
                size: data.size,
                pieces: data
                    .pieces
                    .into_iter()
                    .map(|piece| Piece {
                        source: layer - 1,
                        ..piece
                    })
                    .collect(),
            }),
            EntryKind::Symlink(target) => {
                // As it is for every link that the kernel makes.
                meta.mode = 0o777;
                Content::Symlink(target)
            }
            EntryKind::Character(device) => Content::Character(device),
            EntryKind::Block(device) => Content::Block(device),
            EntryKind::Fifo => Content::Fifo,
        };
        let node = self.add_node(meta, NodeKind::Other(content))?;
        self.set(directory, name, Name { node, layer });
        Ok(())
    }

    /// The file that a hard link is another name of.
    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<usize, MergeError> {
        let (parent, name) = match target.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&target[..slash], &target[slash + 1..]),
            None => (&b""[..], target),
        };
        let directory = self.walk(path, parent, Missing::Leave)?;
        let found = directory.and_then(|directory| self.lookup(directory, name));
        // Nobody may have two names for a directory.
        let found = found.filter(|name| self.directory(name.node).is_none());
        found
            .map(|name| name.node)
            .ok_or_else(|| MergeError::HardLink {
                layer: self.layer,
                path: shown(path),
                target: shown(target),
            })
    }

    fn whiteout(&mut self, path: &[u8], parent: &[u8], name: &[u8]) -> Result<(), MergeError> {
        let Some(directory) = self.walk(path, parent, Missing::Leave)? else {
            return Ok(());
        };
        if name == OPAQUE {
            self.prune(directory);
            return Ok(());
        }
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(MergeError::Whiteout {
                layer: self.layer,
                path: shown(path),
            });
        }
        let Some(there) = self.lookup(directory, hidden) else {
            return Ok(());
        };
        if self.is_of_this_layer(there) {
            self.prune(there.node);
        } else {
            self.names(directory).map(|names| names.remove(hidden));
        }
        Ok(())
    }

    /// Takes away what lower layers have in a directory and below.
    fn prune(&mut self, directory: usize) {
        let mut waiting = vec![directory];
        while let Some(number) = waiting.pop() {
            let Some(found) = self.directory(number) else {
                continue;
            };
            let mut lower = Vec::new();
            for (name, there) in &found.names {
                if self.is_of_this_layer(*there) {
                    waiting.push(there.node);
                } else {
                    lower.push(name.clone());
                }
            }
            if let Some(names) = self.names(number) {
                for name in lower {
                    names.remove(&name);
                }
            }
        }
    }

    /// Whether this layer has an entry for a name or for something below it.
    fn is_of_this_layer(&self, name: Name) -> bool {
        let inside = self.directory(name.node).map(|found| found.inside);
        name.layer == self.layer || inside == Some(self.layer)
    }

    /// Finds a directory as if the tree were the whole world: links are followed inside it, and
    /// `..` does not lead out. `entry` is what messages name.
    fn walk(
        &mut self,
        entry: &[u8],
        path: &[u8],
        missing: Missing,
    ) -> Result<Option<usize>, MergeError> {
        let split = |path: &[u8]| -> Vec<Box<[u8]>> {
            let names = path.split(|byte| *byte == b'/');
            names.map(Into::into).collect()
        };
        let mut rest: VecDeque<Box<[u8]>> = split(path).into();
        let (mut at, mut followed) = (ROOT, 0);
        while let Some(name) = rest.pop_front() {
            match &*name {
                b"" | b"." => continue,
                b".." => {
                    at = self.directory(at).map_or(ROOT, |found| found.parent);
                    continue;
                }
                _ => {}
            }
            let there = self.lookup(at, &name);
            match there.map(|there| (there.node, &self.nodes[there.node].kind)) {
                Some((node, NodeKind::Directory(_))) => at = node,
                Some((_, NodeKind::Other(Content::Symlink(target)))) => {
                    followed += 1;
                    if followed > FOLLOWED_MAX {
                        return Err(MergeError::Links {
                            layer: self.layer,
                            path: shown(entry),
                        });
                    }
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    for name in split(target).into_iter().rev() {
                        rest.push_front(name);
                    }
                }
                _ if missing == Missing::Leave => return Ok(None),
                _ => {
                    if name.len() > NAME_MAX {
                        return Err(self.too_deep(entry));
                    }
                    let node = self.make_directory(entry, at)?;
                    let layer = self.layer;
                    self.set(at, &name, Name { node, layer });
                    self.mark(at);
                    at = node;
                }
            }
        }
        Ok(Some(at))
    }

    fn too_deep(&self, entry: &[u8]) -> MergeError {
        MergeError::Depth {
            layer: self.layer,
            path: shown(entry),
        }
    }

    fn make_directory(&mut self, entry: &[u8], parent: usize) -> Result<usize, MergeError> {
        let depth = self.directory(parent).map_or(0, |found| found.depth) + 1;
        // Links make names deeper than those of entries can be.
        if depth > self.limits.depth {
            return Err(self.too_deep(entry));
        }
        let directory = Directory {
            names: BTreeMap::new(),
            parent,
            depth,
            inside: self.layer,
        };
        self.add_node(made_along(), NodeKind::Directory(directory))
    }

    fn add_node(&mut self, meta: Metadata, kind: NodeKind) -> Result<usize, MergeError> {
        if self.nodes.len() > self.limits.entries as usize {
            return Err(MergeError::Files {
                limit: self.limits.entries,
            });
        }
        self.nodes.push(Node { meta, kind });
        Ok(self.nodes.len() - 1)
    }

    /// Notes that this layer has something in a directory.
    fn mark(&mut self, directory: usize) {
        let layer = self.layer;
        let mut at = directory;
        while let NodeKind::Directory(found) = &mut self.nodes[at].kind {
            // Those above have been told already. A new directory says so from the beginning.
            let told = std::mem::replace(&mut found.inside, layer) == layer;
            if at == ROOT || (told && at != directory) {
                break;
            }
            at = found.parent;
        }
    }

    fn directory(&self, node: usize) -> Option<&Directory> {
        match &self.nodes[node].kind {
            NodeKind::Directory(directory) => Some(directory),
            NodeKind::Other(_) => None,
        }
    }

    fn names(&mut self, node: usize) -> Option<&mut BTreeMap<Box<[u8]>, Name>> {
        match &mut self.nodes[node].kind {
            NodeKind::Directory(directory) => Some(&mut directory.names),
            NodeKind::Other(_) => None,
        }
    }

    fn lookup(&self, directory: usize, name: &[u8]) -> Option<Name> {
        self.directory(directory)?.names.get(name).copied()
    }

    fn set(&mut self, directory: usize, name: &[u8], to: Name) {
        if let Some(names) = self.names(directory) {
            names.insert(name.into(), to);
        }
    }
}

/// What directories have that no layer has an entry for.
fn made_along() -> Metadata {
    Metadata {
        mode: 0o755,
        ..Metadata::default()
    }
}

/// The beginning of a path, for a message.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(100)]).into_owned()
}
