//! Makes archives for tests, well-formed or not.

use crate::layer::tar::stream::BLOCK;

/// A header with its checksum, and the content filled up to whole blocks.
#[derive(Clone)]
pub(crate) struct Item {
    block: [u8; BLOCK],
    content: Vec<u8>,
}

impl Item {
    /// A ustar header of a kind.
    pub(crate) fn new(kind: u8, path: &str) -> Self {
        let mut block = [0; BLOCK];
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar\x0000");
        let item = Self {
            block,
            content: Vec::new(),
        };
        let mode = if kind == b'5' { "0000755" } else { "0000644" };
        item.field(0, &path.as_bytes()[..path.len().min(100)])
            .field(100, mode.as_bytes())
            .field(108, b"0000000")
            .field(116, b"0000000")
            .field(124, b"00000000000")
            .field(136, b"00000000001")
    }

    /// Overwrites a field.
    pub(crate) fn field(mut self, at: usize, value: &[u8]) -> Self {
        self.block[at..at + value.len()].copy_from_slice(value);
        self
    }

    /// Sets the target of a link.
    pub(crate) fn link(self, target: &str) -> Self {
        self.field(157, target.as_bytes())
    }

    /// Sets the content and its size.
    pub(crate) fn content(self, content: &[u8]) -> Self {
        let size = format!("{:011o}", content.len());
        let mut item = self.field(124, size.as_bytes());
        item.content = content.to_vec();
        item
    }

    /// The item's bytes.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.block[148..156].fill(b' ');
        let sum: u32 = self.block.iter().map(|byte| u32::from(*byte)).sum();
        self.block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut bytes = self.block.to_vec();
        bytes.extend(self.content);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes
    }
}

/// A file.
pub(crate) fn file(path: &str, content: &str) -> Vec<u8> {
    Item::new(b'0', path).content(content.as_bytes()).bytes()
}

/// A directory.
pub(crate) fn dir(path: &str) -> Vec<u8> {
    Item::new(b'5', path).bytes()
}

/// A symbolic link.
pub(crate) fn symlink(path: &str, target: &str) -> Vec<u8> {
    Item::new(b'2', path).link(target).bytes()
}

/// A hard link.
pub(crate) fn link(path: &str, target: &str) -> Vec<u8> {
    Item::new(b'1', path).link(target).bytes()
}

/// A PAX record.
pub(crate) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = [b" ", key, b"=", value, b"\n"].concat();
    let mut len = body.len();
    while len.to_string().len() + body.len() != len {
        len = len.to_string().len() + body.len();
    }
    [len.to_string().as_bytes(), &body].concat()
}

/// A PAX header.
pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let content: Vec<u8> = records
        .iter()
        .flat_map(|(key, value)| record(key.as_bytes(), value))
        .collect();
    Item::new(b'x', "pax").content(&content).bytes()
}

/// An archive of items, with its end.
pub(crate) fn archive(items: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = items.concat();
    bytes.extend([0; 2 * BLOCK]);
    bytes
}
