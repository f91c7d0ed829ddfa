//! Opens a layer's blob as the archive that is in it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};

use flate2::bufread::MultiGzDecoder;

/// How a blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, of one or more members.
    Gzip,
    /// Zstandard, of one or more frames.
    Zstd,
}

/// RFC 1952, with the only method there is.
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];
/// RFC 8878, 3.1.1.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// RFC 8878, 3.1.2: sixteen of them, of which the lowest is this. Some tools begin with one.
const ZSTD_SKIPPABLE: u32 = 0x184d_2a50;
/// The largest window that a decoder of Zstandard has to support is 8 MiB; `--ultra` and `--long`
/// make larger ones. What is above this is refused, for it is memory that a stranger asks for.
const ZSTD_WINDOW_LOG: u32 = 27;
/// gzip cannot do more than 1032 times, so no honest layer gets there.
const MAX_RATIO: u64 = 1200;
/// What a small blob may grow to whatever the ratio: an archive of empty files shrinks well.
const ALWAYS_ALLOWED: u64 = 64 << 20;
/// Bytes that are read from the file at once.
const BUFFER: usize = 128 << 10;

impl Compression {
    /// What the first bytes of a blob say; whatever is not known is taken for plain.
    pub fn of(start: &[u8]) -> Self {
        let skippable = start
            .first_chunk()
            .is_some_and(|magic| u32::from_le_bytes(*magic) & !0xf == ZSTD_SKIPPABLE);
        if start.starts_with(&GZIP) {
            Self::Gzip
        } else if start.starts_with(&ZSTD) || skippable {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// Opens a blob, whatever its compression, from its beginning.
///
/// The reader fails with `InvalidData` where the blob is damaged or grows too much, and with
/// `UnexpectedEof` where it is cut off.
pub fn open(mut file: File) -> io::Result<Box<dyn Read + Send>> {
    file.rewind()?;
    let len = file.metadata()?.len();
    let mut file = BufReader::with_capacity(BUFFER, file);
    // A file gives what it has; what is shorter than a magic is plain.
    let compression = Compression::of(io::BufRead::fill_buf(&mut file)?);
    Ok(match compression {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(Bounded::new(MultiGzDecoder::new(file), len)),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(file)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(Bounded::new(decoder, len))
        }
    })
}

/// Ends with an error where more comes out than is believable.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R> Bounded<R> {
    fn new(inner: R, compressed: u64) -> Self {
        let left = compressed.saturating_mul(MAX_RATIO).max(ALWAYS_ALLOWED);
        Self { inner, left }
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            let text = format!("it is more than {MAX_RATIO} times as large unpacked");
            io::Error::new(io::ErrorKind::InvalidData, text)
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod test {
    use std::fs::File;
    use std::io::{self, Read as _, Write as _};

    use flate2::write::GzEncoder;

    use super::{ALWAYS_ALLOWED, Compression, open};

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(blob: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        open(file(blob))?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn every_kind_of_blob_gives_its_content_also_in_several_parts() {
        let (one, two) = (b"one ".repeat(1000), b"two ".repeat(1000));
        let both = [one.clone(), two.clone()].concat();
        assert_eq!(unpacked(&both).unwrap(), both);
        assert_eq!(unpacked(&gzip(&both)).unwrap(), both);
        let members = [gzip(&one), gzip(b""), gzip(&two)].concat();
        assert_eq!(unpacked(&members).unwrap(), both);
        let frame = |content: &[u8]| zstd::encode_all(content, 3).unwrap();
        let skippable = [&[0x5f, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..]].concat();
        let frames = [skippable, frame(&one), frame(&two)].concat();
        assert_eq!(unpacked(&frames).unwrap(), both);
        assert_eq!(unpacked(b"").unwrap(), b"");
        assert_eq!(unpacked(b"\x1f").unwrap(), b"\x1f");
    }

    #[test]
    fn a_blob_that_is_cut_off_or_damaged_is_an_error() {
        let content = b"some text, and more of it ".repeat(500);
        for blob in [gzip(&content), zstd::encode_all(&content[..], 3).unwrap()] {
            unpacked(&blob[..blob.len() - 9]).unwrap_err();
        }
        // A frame of Zstandard need not have a sum; the digest of the blob is what protects it.
        let mut damaged = gzip(&content);
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        unpacked(&damaged).unwrap_err();
        let garbage = [gzip(&content), b"garbage".to_vec()].concat();
        unpacked(&garbage).unwrap_err();
    }

    #[test]
    fn a_bomb_ends_with_an_error_before_it_is_unpacked() {
        let zeros = io::repeat(0).take(4 * ALWAYS_ALLOWED);
        let bomb = zstd::encode_all(zeros, 3).unwrap();
        assert!((bomb.len() as u64) < ALWAYS_ALLOWED / 1000);
        let mut reader = open(file(&bomb)).unwrap();
        let mut count = 0;
        let mut buffer = vec![0; 1 << 20];
        let error = loop {
            match reader.read(&mut buffer) {
                Ok(read) => count += read as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(
            count <= ALWAYS_ALLOWED.max(bomb.len() as u64 * 1200),
            "{count}"
        );
    }

    #[test]
    fn the_first_bytes_tell_the_compression() {
        assert_eq!(Compression::of(&gzip(b"")), Compression::Gzip);
        assert_eq!(
            Compression::of(&[0x28, 0xb5, 0x2f, 0xfd]),
            Compression::Zstd
        );
        assert_eq!(Compression::of(b"etc/"), Compression::None);
    }
}
