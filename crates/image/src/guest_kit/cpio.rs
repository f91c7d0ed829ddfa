//! Writes the cpio archives ("newc") that Linux unpacks as its first root file system.
//!
//! Format: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`. The archive
//! depends on nothing but its entries: they are sorted, owned by root, and dated 1970.

use std::collections::BTreeMap;

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFCHR: u32 = 0o020_000;

/// An archive being put together. A later entry of the same path replaces an earlier one.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    content: Vec<u8>,
}

impl Archive {
    /// Begins an empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory with mode 0755. Parents have to be added too.
    pub fn dir(&mut self, path: &str) {
        self.add(path, S_IFDIR | 0o755, (0, 0), Vec::new());
    }

    /// Adds a file with the given permission bits.
    pub fn file(&mut self, path: &str, permissions: u32, content: Vec<u8>) {
        self.add(path, S_IFREG | permissions, (0, 0), content);
    }

    /// Adds a character device with mode 0600.
    pub fn char_device(&mut self, path: &str, major: u32, minor: u32) {
        self.add(path, S_IFCHR | 0o600, (major, minor), Vec::new());
    }

    fn add(&mut self, path: &str, mode: u32, device: (u32, u32), content: Vec<u8>) {
        let path = path.trim_start_matches('/').to_owned();
        self.entries.insert(
            path,
            Entry {
                mode,
                device,
                content,
            },
        );
    }

    /// The archive's bytes. Sorting puts every directory before what is in it.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, (path, entry)) in (1u32..).zip(self.entries) {
            put(&mut out, number, &path, &entry);
        }
        let trailer = Entry {
            mode: 0,
            device: (0, 0),
            content: Vec::new(),
        };
        put(&mut out, 0, "TRAILER!!!", &trailer);
        out
    }
}

fn put(out: &mut Vec<u8>, inode: u32, path: &str, entry: &Entry) {
    let (major, minor) = entry.device;
    let fields: [u32; 13] = [
        inode,
        entry.mode,
        0, // uid
        0, // gid
        1, // links
        0, // mtime
        entry.content.len() as u32,
        0, // device of the file system, major
        0, // and minor
        major,
        minor,
        path.len() as u32 + 1,
        0, // checksum, not used by this kind
    ];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(&entry.content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod test {
    use super::Archive;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut archive = Archive::new();
        archive.file("/init", 0o755, b"hello".to_vec());
        archive.dir("/dev");
        archive.char_device("/dev/console", 5, 1);
        let text = String::from_utf8(archive.into_bytes())
            .unwrap()
            .replace('\0', "~");
        let expected = concat!(
            "070701",
            "00000001",
            "000041ed",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000004",
            "00000000",
            "dev~~~",
            "070701",
            "00000002",
            "00002180",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000005",
            "00000001",
            "0000000c",
            "00000000",
            "dev/console~~~",
            "070701",
            "00000003",
            "000081ed",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000005",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000005",
            "00000000",
            "init~~hello~~~",
            "070701",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "0000000b",
            "00000000",
            "TRAILER!!!~~~~",
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn the_order_of_adding_does_not_show() {
        let build = |paths: [&str; 3]| {
            let mut archive = Archive::new();
            for path in paths {
                archive.dir(path);
            }
            archive.into_bytes()
        };
        assert_eq!(build(["a", "b", "a/b"]), build(["a/b", "a", "b"]));
    }
}
