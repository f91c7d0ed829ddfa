//! Layers as strangers make them: what is read, and what is refused.

use std::fmt::Write as _;

use bhatti_ext4::tree::{Data, Piece};

use crate::layer::digest::Sha256Digest;
use crate::layer::index::{Entry, EntryKind, IndexError, LayerIndex};
use crate::layer::limits::Limits;
use crate::layer::scan::{ScanError, scan};
use crate::layer::tar::build::{Item, archive, dir, file, link, pax, symlink};

/// Little enough for a test to go over.
const LIMITS: Limits = Limits {
    entries: 20,
    bytes: 1 << 20,
    depth: 8,
    xattr_bytes: 100,
    header_bytes: 4096,
    pieces: 30,
    text_bytes: 8000,
    ..Limits::DEFAULT
};

fn scanned(bytes: &[u8]) -> Result<LayerIndex, ScanError> {
    let found = scan(bytes, &LIMITS)?;
    let mut written = Vec::new();
    found.write_to(&mut written).unwrap();
    let read = LayerIndex::read_from(&written[..], &LIMITS).unwrap();
    assert_eq!(read, found);
    assert_eq!(found.diff_id, Sha256Digest::of(bytes));
    assert_eq!(found.bytes, bytes.len() as u64);
    Ok(found)
}

/// The entries, each in a line.
fn listed(entries: &[Entry]) -> String {
    let mut text = String::new();
    for entry in entries {
        let path = String::from_utf8_lossy(&entry.path);
        let kind = match &entry.kind {
            EntryKind::Directory => "/".to_owned(),
            EntryKind::File(data) => {
                let pieces = data.pieces.iter();
                let pieces = pieces.map(|piece| format!(" {}+{}", piece.at, piece.len));
                format!(" {} bytes:{}", data.size, pieces.collect::<String>())
            }
            EntryKind::Symlink(target) => format!(" -> {}", String::from_utf8_lossy(target)),
            EntryKind::HardLink(target) => format!(" = {}", String::from_utf8_lossy(target)),
            EntryKind::Character(device) => format!(" c {} {}", device.major, device.minor),
            EntryKind::Block(device) => format!(" b {} {}", device.major, device.minor),
            EntryKind::Fifo => " |".to_owned(),
        };
        writeln!(text, "{path}{kind}").unwrap();
    }
    text
}

fn list(items: &[Vec<u8>]) -> String {
    listed(&scanned(&archive(items)).unwrap().entries)
}

#[test]
fn what_other_programs_write_is_read() {
    let long = "n".repeat(120);
    let long_link = "t/".repeat(80);
    let gnu = |kind, text: &str| {
        let text = format!("{text}\0");
        let item = Item::new(kind, "././@LongLink").content(text.as_bytes());
        item.field(257, b"ustar  \0").bytes()
    };
    let items = [
        dir("./"),
        file("./a", "hello"),
        dir("/b/"),
        // Before there was a kind for directories.
        Item::new(b'\0', "old/").field(257, &[0; 8]).bytes(),
        symlink("l", "../../outside"),
        link("h", "./a"),
        Item::new(b'3', "tty")
            .field(329, b"0000005")
            .field(337, b"0000001")
            .bytes(),
        Item::new(b'4', "disk")
            .field(329, b"0000007")
            .field(337, b"\x80\0\0\0\0\x01\0\0")
            .bytes(),
        Item::new(b'6', "pipe").bytes(),
        Item::new(b'7', "contiguous").content(b"x").bytes(),
        Item::new(b'0', "name").field(345, b"prefix/of").bytes(),
        gnu(b'L', &long),
        file("short", ""),
        gnu(b'K', &long_link),
        symlink("g", "short"),
        pax(&[("path", b"from/pax"), ("size", b"3"), ("uid", b"70000")]),
        Item::new(b'0', "x")
            .content(b"abc")
            .field(124, b"00000000000")
            .bytes(),
        Item::new(b'g', "global")
            .content(b"18 path=everywhere")
            .bytes(),
        file("last", ""),
    ];
    let text = list(&items);
    let expected = format!(
        "/\na 5 bytes: 0+5\nb/\nold/\nl -> ../../outside\nh = a\ntty c 5 1\ndisk b 7 65536\n\
         pipe |\ncontiguous 1 bytes: 0+1\nprefix/of/name 0 bytes:\n{long} 0 bytes:\n\
         g -> {long_link}\nfrom/pax 3 bytes: 0+3\nlast 0 bytes:\n"
    );
    assert_eq!(text, expected);
}

#[test]
fn sparse_files_are_understood_in_all_four_ways() {
    let map = "2\n0\n3\n1000\n4\n";
    let stored = format!("{map:\0<512}abcdefg");
    let version_1 = [
        pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"one"),
            ("GNU.sparse.realsize", b"2000"),
        ]),
        file("GNUSparseFile.0/one", &stored),
    ];
    let version_01 = [
        pax(&[
            ("GNU.sparse.size", b"2000"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.map", b"0,3,1000,4"),
        ]),
        file("two", "abcdefg"),
    ];
    let version_00 = [
        pax(&[
            ("GNU.sparse.size", b"2000"),
            ("GNU.sparse.numblocks", b"2"),
            ("GNU.sparse.offset", b"0"),
            ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.offset", b"1000"),
            ("GNU.sparse.numbytes", b"4"),
        ]),
        file("three", "abcdefg"),
    ];
    // Four pieces in the header, the others in a block of their own.
    let mut more = vec![0; 512];
    more[..23].copy_from_slice(b"00000000500\x0000000000001");
    more[24..47].copy_from_slice(b"00000002000\x0000000000000");
    let mut old = Item::new(b'S', "four")
        .field(257, b"ustar  \0")
        .field(124, b"00000000005");
    for (number, at) in ["00000000000", "00000000100", "00000000200", "00000000300"]
        .into_iter()
        .enumerate()
    {
        old = old.field(386 + 24 * number, at.as_bytes());
        old = old.field(398 + 24 * number, b"00000000001");
    }
    let old = old.field(482, b"\x01").field(483, b"00000002000");
    let mut content = vec![0; 512];
    content[..5].copy_from_slice(b"abcde");
    let items = [
        version_1.concat(),
        version_01.concat(),
        version_00.concat(),
        old.bytes(),
        more,
        content,
        file("after", ""),
    ];
    let index = scanned(&archive(&items)).unwrap();
    assert_eq!(
        listed(&index.entries),
        "one 2000 bytes: 0+3 1000+4\ntwo 2000 bytes: 0+3 1000+4\nthree 2000 bytes: 0+3 1000+4\n\
         four 1024 bytes: 0+1 64+1 128+1 192+1 320+1\nafter 0 bytes:\n"
    );
    let EntryKind::File(Data { pieces, .. }) = &index.entries[0].kind else {
        panic!("{:?}", index.entries[0]);
    };
    // Header, records, header, map.
    let piece = |at, len, from| Piece {
        at,
        len,
        source: 0,
        from,
    };
    assert_eq!(pieces[..], [piece(0, 3, 2048), piece(1000, 4, 2051)]);
}

#[test]
fn attributes_come_from_headers_and_records() {
    let items = [
        pax(&[
            ("mtime", b"1700000000.25"),
            ("gid", b"4294967294"),
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\0"),
            ("SCHILY.xattr.user.a", b""),
        ]),
        Item::new(b'0', "f")
            .field(100, b"0104755")
            .field(108, b"0001750")
            .bytes(),
    ];
    let entry = &scanned(&archive(&items)).unwrap().entries[0];
    assert_eq!(entry.meta.mode, 0o4755);
    assert_eq!((entry.meta.uid, entry.meta.gid), (1000, 4_294_967_294));
    assert_eq!(entry.meta.mtime.seconds, 1_700_000_000);
    assert_eq!(entry.meta.mtime.nanos, 250_000_000);
    let names = entry.meta.xattrs.iter().map(|xattr| &*xattr.name);
    assert!(names.eq([&b"security.capability"[..], b"user.a"]));
}

#[test]
fn an_archive_may_end_with_or_without_blocks_of_zeros() {
    for end in [0, 512, 1024, 10240] {
        let bytes = [file("a", "text"), vec![0; end]].concat();
        assert_eq!(scanned(&bytes).unwrap().entries.len(), 1, "{end}");
    }
    // What is behind the end is not looked at, but digested.
    let bytes = [archive(&[file("a", "")]), b"garbage".repeat(100)].concat();
    assert_eq!(scanned(&bytes).unwrap().entries.len(), 1);
    assert_eq!(scanned(b"").unwrap().entries, []);
}

#[test]
fn hostile_archives_are_refused_each_for_its_reason() {
    let sparse = |map: &[u8], real: &[u8], content: &str| {
        let records = [("GNU.sparse.size", real), ("GNU.sparse.map", map)];
        [pax(&records), file("s", content)].concat()
    };
    let many: Vec<_> = (0..21)
        .map(|number| file(&number.to_string(), ""))
        .collect();
    let long = "x/".repeat(10);
    let text = vec![b'y'; 2000];
    let huge_pax = Item::new(b'x', "pax").field(124, b"77777777777").bytes();
    let pieces: Vec<_> = (0..31).map(|at| format!("{at},0")).collect();
    let truncated = file("a", &"text".repeat(200))[..700].to_vec();
    let mut wrong_sum = file("a", "");
    wrong_sum[0] = b'b';
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("no archive", vec![b'x'; 2000], "checksum"),
        ("half a header", file("a", "")[..200].to_vec(), "cut off"),
        ("cut off in a file", truncated, "cut off"),
        ("wrong sum", wrong_sum, "checksum"),
        (
            "one zero block",
            [vec![0; 512], file("a", "")].concat(),
            "checksum",
        ),
        (
            "negative size",
            Item::new(b'0', "a").field(124, &[0xff; 12]).bytes(),
            "`size`",
        ),
        (
            "negative owner",
            Item::new(b'0', "a").field(108, &[0xff; 8]).bytes(),
            "`uid`",
        ),
        (
            "no number",
            Item::new(b'0', "a").field(100, b"rwxr-x").bytes(),
            "`mode`",
        ),
        ("unknown kind", Item::new(b'Z', "a").bytes(), "'Z'"),
        (
            "device number",
            Item::new(b'3', "a").field(329, b"0010000").bytes(),
            "`devmajor`",
        ),
        ("empty name", file("", ""), "empty"),
        ("file as root", file("./", "").into_iter().collect(), ""),
        ("link as root", symlink("/", "/tmp"), "not a directory"),
        ("deep", dir(&long), "8 components"),
        (
            "long component",
            [pax(&[("path", &[b'z'; 256])]), file("a", "")].concat(),
            "255",
        ),
        (
            "NUL in a name",
            [pax(&[("path", b"a\0b")]), file("a", "")].concat(),
            "`path`",
        ),
        ("link without target", symlink("a", ""), "target"),
        ("hard link without target", link("a", ""), "target"),
        ("hard link to the root", link("a", "/"), "target"),
        ("too many entries", many.concat(), "20 entries"),
        ("gigantic records", huge_pax, "4096 bytes"),
        (
            "records for nothing",
            archive(&[pax(&[("path", b"a")])]),
            "describes nothing",
        ),
        (
            "too many attributes",
            [pax(&[("SCHILY.xattr.user.a", &[b'v'; 100])]), file("a", "")].concat(),
            "100 bytes",
        ),
        (
            "too much text",
            (0..5)
                .flat_map(|_| {
                    let target = [("linkpath", &text[..])];
                    [pax(&target), symlink("a", "b")].concat()
                })
                .collect(),
            "8000 bytes",
        ),
        (
            "too large",
            file("a", &"z".repeat(1 << 20)),
            "1048576 bytes",
        ),
        ("map out of order", sparse(b"10,1,5,1", b"20", "ab"), "map"),
        ("map over the end", sparse(b"0,2", b"1", "ab"), "map"),
        ("map too short", sparse(b"0,1", b"9", "ab"), "map"),
        ("map too long", sparse(b"0,3", b"9", "ab"), "map"),
        (
            "map overflows",
            sparse(b"18446744073709551615,2", b"9", "ab"),
            "map",
        ),
        ("map of odd length", sparse(b"0,1,2", b"9", "a"), "map"),
        (
            "map of many pieces",
            sparse(pieces.join(",").as_bytes(), b"99", ""),
            "30 pieces",
        ),
        (
            "sparse bomb",
            sparse(b"0,1", b"99999999999999999", "a"),
            "a file has more than",
        ),
    ];
    for (name, bytes, reason) in cases {
        let error = match scanned(&bytes) {
            Ok(index) if reason.is_empty() => {
                assert_eq!(listed(&index.entries), "/\n", "{name}");
                continue;
            }
            Ok(index) => panic!("{name}: {}", listed(&index.entries)),
            Err(error) => error,
        };
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            write!(text, ": {error}").unwrap();
            source = error.source();
        }
        assert!(
            !reason.is_empty() && text.contains(reason),
            "{name}: {text}"
        );
    }
}

#[test]
fn an_index_that_was_changed_is_refused() {
    let mut written = Vec::new();
    let index = scanned(&archive(&[file("a", "b"), symlink("c", "d")])).unwrap();
    index.write_to(&mut written).unwrap();
    for at in 0..written.len() {
        let mut changed = written.clone();
        changed[at] ^= 1;
        LayerIndex::read_from(&changed[..], &LIMITS).unwrap_err();
        LayerIndex::read_from(&written[..at], &LIMITS).unwrap_err();
    }
    written.push(0);
    let longer = LayerIndex::read_from(&written[..], &LIMITS);
    assert!(matches!(longer, Err(IndexError::Damaged)));
}
