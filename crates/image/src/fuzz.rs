//! Entry points of the fuzz targets, also run by ordinary tests on damaged archives.
//!
//! They promise to end, without a panic, whatever the bytes are.
#![expect(
    clippy::missing_panics_doc,
    reason = "panicking is how a fuzz target speaks"
)]

use bhatti_ext4::tree::Content;

use crate::layer::index::LayerIndex;
use crate::layer::limits::{Limits, NAME_MAX};
use crate::layer::merge::merge;
use crate::layer::scan::scan;

/// Little enough for every input to take no time.
const LIMITS: Limits = Limits {
    entries: 2000,
    bytes: 1 << 20,
    depth: 40,
    xattr_bytes: 4096,
    header_bytes: 64 << 10,
    pieces: 2000,
    text_bytes: 1 << 20,
    ..Limits::DEFAULT
};

/// Reads an archive of any bytes. An index that comes out of it can be kept.
pub fn scan_layer(archive: &[u8]) {
    let Ok(found) = scan(archive, &LIMITS) else {
        return;
    };
    let mut kept = Vec::new();
    let written = found.write_to(&mut kept);
    assert!(written.is_ok(), "an index cannot be written");
    let read = LayerIndex::read_from(&kept[..], &LIMITS);
    assert!(
        read.is_ok_and(|read| read == found),
        "an index is not read as it was written"
    );
}

/// Puts the layers over each other that the bytes are: archives, divided where two `0xff` are. A
/// tree that comes out of it has no name that a file cannot have.
pub fn merge_layers(archives: &[u8]) {
    let mut rest = archives;
    let mut layers = Vec::new();
    while !rest.is_empty() && layers.len() < 8 {
        let end = rest.windows(2).position(|pair| pair == [0xff, 0xff]);
        let (archive, behind) = rest.split_at(end.unwrap_or(rest.len()));
        layers.extend(scan(archive, &LIMITS));
        rest = behind.get(2..).unwrap_or_default();
    }
    let Ok(tree) = merge(layers, &LIMITS) else {
        return;
    };
    let mut names = vec![0_u32; tree.inodes.len()];
    for inode in &tree.inodes {
        let Content::Directory(entries) = &inode.content else {
            continue;
        };
        for (name, id) in entries {
            let usual = !name.is_empty()
                && name.len() <= NAME_MAX
                && !matches!(&**name, b"." | b"..")
                && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
            assert!(usual, "{name:?} is no name");
            names[id.index()] += 1;
        }
    }
    for (inode, count) in tree.inodes.iter().zip(names).skip(1) {
        let directory = matches!(inode.content, Content::Directory(_));
        assert!(
            count == 1 || (count > 1 && !directory),
            "a file with {count} names"
        );
    }
}

/// Reads the file of an index of any bytes.
pub fn read_index(bytes: &[u8]) {
    if let Ok(index) = LayerIndex::read_from(bytes, &LIMITS) {
        // The bytes may differ, for numbers may take more of them than they need.
        let mut again = Vec::new();
        let written = index.write_to(&mut again);
        assert!(written.is_ok(), "an index cannot be written");
        let read = LayerIndex::read_from(&again[..], &LIMITS);
        assert!(
            read.is_ok_and(|read| read == index),
            "an index is read in two ways"
        );
    }
}

#[cfg(test)]
mod test {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};
    use proptest::sample::Index;

    use super::{merge_layers, read_index, scan_layer};
    use crate::layer::limits::Limits;
    use crate::layer::scan::scan;
    use crate::layer::tar::build::{Item, archive, dir, file, link, pax, symlink};

    /// Something of everything.
    fn sample() -> Vec<u8> {
        archive(&[
            dir("a/b"),
            file("a/b/c", "text"),
            symlink("l", "../a"),
            link("h", "a/b/c"),
            file("l/.wh.b", ""),
            file("a/.wh..wh..opq", ""),
            Item::new(b'3', "n").field(329, b"0000001").bytes(),
            pax(&[
                ("path", b"p/q"),
                ("size", b"3"),
                ("SCHILY.xattr.user.a", b"b"),
            ]),
            file("x", "abc"),
            pax(&[("GNU.sparse.size", b"99"), ("GNU.sparse.map", b"1,2,5,1")]),
            file("s", "abc"),
        ])
    }

    proptest! {
        #[test]
        fn any_bytes_end_well(bytes in vec(any::<u8>(), 0..4000)) {
            scan_layer(&bytes);
            merge_layers(&bytes);
            read_index(&bytes);
        }

        #[test]
        fn damaged_archives_end_well(edits in vec((any::<Index>(), any::<u8>()), 1..12)) {
            let mut bytes = [sample(), sample()].join(&[0xff, 0xff][..]);
            for (place, value) in edits {
                let at = place.index(bytes.len());
                bytes[at] = value;
                // The sum of the header that it is in, so that it is looked at.
                let start = at / 512 * 512;
                if let Some(block) = bytes.get_mut(start..start + 512)
                    && block[257..262] == *b"ustar"
                {
                    block[148..156].fill(b' ');
                    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
            scan_layer(&bytes);
            merge_layers(&bytes);
        }

        #[test]
        fn damaged_indexes_end_well(edits in vec((any::<Index>(), any::<u8>()), 1..6)) {
            let mut bytes = Vec::new();
            scan(&sample()[..], &Limits::DEFAULT).unwrap().write_to(&mut bytes).unwrap();
            let header = 52;
            for (place, value) in edits {
                let at = header + place.index(bytes.len() - header);
                bytes[at] = value;
            }
            let sum = blake3::hash(&bytes[header..]);
            bytes[20..header].copy_from_slice(sum.as_bytes());
            read_index(&bytes);
        }
    }
}
