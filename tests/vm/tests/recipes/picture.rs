//! Pictures: read from PNG, written as PNG, looked at.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// How every PNG file begins.
const SIGNATURE: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

/// A picture of red, green and blue.
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Row by row.
    pub(crate) pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// The colour at a place.
    pub(crate) fn at(&self, x: usize, y: usize) -> [u8; 3] {
        self.pixels[y * self.width + x]
    }

    /// How many colours there are.
    pub(crate) fn colours(&self) -> usize {
        self.pixels.iter().collect::<BTreeSet<_>>().len()
    }

    /// Reads a PNG file with 8 bits for each of three or four channels, not interlaced.
    pub(crate) fn from_png(file: &[u8]) -> Self {
        let mut rest = file.strip_prefix(SIGNATURE).expect("a PNG file");
        let (mut header, mut packed) = (None, Vec::new());
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let (kind, body) = after.split_at(4);
            let (body, after) = body.split_at(length);
            match kind {
                b"IHDR" => header = Some(body),
                b"IDAT" => packed.extend_from_slice(body),
                _ => {}
            }
            rest = &after[4..];
        }
        let header = header.expect("a header");
        let number = |at: usize| {
            let bytes = header[at..at + 4].try_into().expect("four bytes");
            u32::from_be_bytes(bytes) as usize
        };
        let (width, height) = (number(0), number(4));
        let channels = match &header[8..] {
            [8, 2, 0, 0, 0] => 3,
            [8, 6, 0, 0, 0] => 4,
            other => panic!("another kind of PNG: {other:?}"),
        };
        let mut bytes = Vec::new();
        let unpacked = ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes);
        unpacked.expect("packed pixels");
        Self {
            width,
            height,
            pixels: unfilter(&bytes, width * channels, channels)
                .chunks_exact(channels)
                .map(|pixel| [pixel[0], pixel[1], pixel[2]])
                .collect(),
        }
    }

    /// Writes it as PNG.
    pub(crate) fn to_png(&self) -> Vec<u8> {
        let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
        for row in self.pixels.chunks(self.width) {
            // No filter.
            packer.write_all(&[0]).expect("memory takes it");
            packer
                .write_all(row.as_flattened())
                .expect("memory takes it");
        }
        let packed = packer.finish().expect("memory takes it");
        let mut header = Vec::new();
        header.extend((self.width as u32).to_be_bytes());
        header.extend((self.height as u32).to_be_bytes());
        header.extend([8, 2, 0, 0, 0]);
        let mut file = SIGNATURE.to_vec();
        for (kind, body) in [(b"IHDR", header), (b"IDAT", packed), (b"IEND", Vec::new())] {
            file.extend((body.len() as u32).to_be_bytes());
            let mut sum = flate2::Crc::new();
            for part in [&kind[..], &body] {
                sum.update(part);
                file.extend(part);
            }
            file.extend(sum.sum().to_be_bytes());
        }
        file
    }
}

/// Undoes the filters of PNG's rows, each of which is led by the number of its own.
fn unfilter(bytes: &[u8], row: usize, channels: usize) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len());
    for line in bytes.chunks_exact(row + 1) {
        let start = out.len();
        for (at, byte) in line[1..].iter().enumerate() {
            let left = if at < channels {
                0
            } else {
                out[start + at - channels]
            };
            let above = if start == 0 { 0 } else { out[start + at - row] };
            let corner = if start == 0 || at < channels {
                0
            } else {
                out[start + at - row - channels]
            };
            let guess = match line[0] {
                0 => 0,
                1 => left,
                2 => above,
                3 => u16::midpoint(u16::from(left), u16::from(above)) as u8,
                4 => nearest(left, above, corner),
                other => panic!("filter {other}"),
            };
            out.push(byte.wrapping_add(guess));
        }
    }
    out
}

/// Of three neighbours the one nearest to where the other two point.
fn nearest(left: u8, above: u8, corner: u8) -> u8 {
    let point = i16::from(left) + i16::from(above) - i16::from(corner);
    let distance = |value: &u8| (point - i16::from(*value)).abs();
    // Of equals the first, in this order.
    [left, above, corner]
        .into_iter()
        .min_by_key(distance)
        .expect("there are three")
}

#[test]
fn what_is_written_is_read_again() {
    let pixels: Vec<_> = (0..12u8).map(|n| [n, n * 20, 255 - n]).collect();
    let picture = Picture {
        width: 4,
        height: 3,
        pixels: pixels.clone(),
    };
    let read = Picture::from_png(&picture.to_png());
    assert_eq!((read.width, read.height, read.colours()), (4, 3, 12));
    assert_eq!(read.pixels, pixels);
    assert_eq!(read.at(1, 2), pixels[9]);
}
