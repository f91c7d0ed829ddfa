//! Takes the uncompressed kernel out of a distribution's `vmlinuz`.
//!
//! The boot protocol (Linux, `Documentation/arch/x86/boot.rst`) gives a bzImage a setup header
//! that says where its compressed payload lies. Debian compresses with LZ4, in the old frame
//! format that `lz4 -l` writes. What is inside is the ELF file that QEMU's microvm (by its PVH
//! note) and Firecracker boot directly.

/// Offset of the number of 512-byte setup sectors; 0 stands for 4.
const SETUP_SECTS: usize = 0x1f1;
/// Offset of the text `HdrS`.
const MAGIC: usize = 0x202;
/// Offset of the boot protocol's version, 16 bits.
const VERSION: usize = 0x206;
/// Offset of the payload's place after the setup sectors, 32 bits.
const PAYLOAD_OFFSET: usize = 0x248;
/// Offset of the payload's length, 32 bits.
const PAYLOAD_LENGTH: usize = 0x24c;
/// The first version of the protocol that tells where the payload is.
const FIRST_WITH_PAYLOAD: u16 = 0x0208;

/// Begins an LZ4 stream of the old format.
const LZ4_LEGACY_MAGIC: u32 = 0x184c_2102;
/// Most bytes one block of the old format holds when unpacked.
const LZ4_LEGACY_BLOCK: usize = 8 << 20;

/// Largest kernel taken, in bytes; a stock one is about 50 MiB.
const MAX_KERNEL: usize = 512 << 20;

/// A kernel image from which no ELF file could be taken.
#[derive(Debug, thiserror::Error)]
pub enum VmlinuxError {
    /// It has no setup header of a known kind.
    #[error("the kernel image is not a bzImage of boot protocol 2.08 or later")]
    NotBzImage,
    /// It ends before what its header announces.
    #[error("the kernel image is cut short")]
    Truncated,
    /// It is packed with something other than LZ4.
    #[error("the kernel is packed in an unknown way (magic {magic:#010x}); only LZ4 is known")]
    Packing {
        /// The first four bytes of the payload, little-endian.
        magic: u32,
    },
    /// The payload does not unpack.
    #[error("the kernel's LZ4 payload is damaged")]
    Damaged(#[source] lz4_flex::block::DecompressError),
    /// It unpacks to another size than announced.
    #[error("the kernel unpacks to {actual} bytes, but {announced} were announced")]
    Size {
        /// The size it has.
        actual: usize,
        /// The size in its trailer.
        announced: usize,
    },
    /// What was unpacked is no ELF file.
    #[error("what the kernel image holds is not an ELF file")]
    NotElf,
}

/// Takes the ELF kernel out of a bzImage.
pub fn extract(bzimage: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    if bzimage.get(MAGIC..MAGIC + 4) != Some(b"HdrS".as_slice())
        || u16_at(bzimage, VERSION)? < FIRST_WITH_PAYLOAD
    {
        return Err(VmlinuxError::NotBzImage);
    }
    let sectors = match bzimage.get(SETUP_SECTS) {
        Some(0) | None => 4,
        Some(sectors) => usize::from(*sectors),
    };
    let start = (sectors + 1) * 512 + u32_at(bzimage, PAYLOAD_OFFSET)? as usize;
    let length = u32_at(bzimage, PAYLOAD_LENGTH)? as usize;
    let payload = bzimage
        .get(start..start + length)
        .ok_or(VmlinuxError::Truncated)?;
    let kernel = unpack(payload)?;
    if kernel.starts_with(b"\x7fELF") {
        Ok(kernel)
    } else {
        Err(VmlinuxError::NotElf)
    }
}

/// Unpacks the payload: LZ4 blocks and, as the kernel's build appends it, the unpacked size.
fn unpack(payload: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    let magic = u32_at(payload, 0)?;
    if magic != LZ4_LEGACY_MAGIC {
        return Err(VmlinuxError::Packing { magic });
    }
    let end = payload.len() - 4;
    let announced = u32_at(payload, end)? as usize;
    if announced > MAX_KERNEL {
        return Err(VmlinuxError::Truncated);
    }
    let mut kernel = vec![0; announced];
    let (mut read, mut written) = (4, 0);
    while read < end {
        let size = u32_at(payload, read)? as usize;
        let block = payload[..end]
            .get(read + 4..read + 4 + size)
            .ok_or(VmlinuxError::Truncated)?;
        let room = announced.min(written + LZ4_LEGACY_BLOCK);
        written += lz4_flex::block::decompress_into(block, &mut kernel[written..room])
            .map_err(VmlinuxError::Damaged)?;
        read += 4 + size;
    }
    if written == announced {
        Ok(kernel)
    } else {
        Err(VmlinuxError::Size {
            actual: written,
            announced,
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, VmlinuxError> {
    let field = bytes
        .get(at..at + 2)
        .and_then(|field| field.try_into().ok());
    field.map(u16::from_le_bytes).ok_or(VmlinuxError::Truncated)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, VmlinuxError> {
    let field = bytes
        .get(at..at + 4)
        .and_then(|field| field.try_into().ok());
    field.map(u32::from_le_bytes).ok_or(VmlinuxError::Truncated)
}

#[cfg(test)]
pub(super) mod test {
    use super::{LZ4_LEGACY_BLOCK, LZ4_LEGACY_MAGIC, VmlinuxError, extract};

    /// A bzImage that holds this kernel.
    pub(in super::super) fn packed(kernel: &[u8]) -> Vec<u8> {
        bzimage(&payload(kernel))
    }

    /// A bzImage around a payload: the header fields that matter, four setup sectors.
    fn bzimage(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0u8; 5 * 512 + 100];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&0x020fu16.to_le_bytes());
        image[0x248..0x24c].copy_from_slice(&100u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend_from_slice(payload);
        image.extend_from_slice(b"what follows the payload");
        image
    }

    fn payload(kernel: &[u8]) -> Vec<u8> {
        let mut payload = LZ4_LEGACY_MAGIC.to_le_bytes().to_vec();
        for block in kernel.chunks(LZ4_LEGACY_BLOCK) {
            let packed = lz4_flex::block::compress(block);
            payload.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_le_bytes());
            payload.extend_from_slice(&packed);
        }
        payload.extend_from_slice(&u32::try_from(kernel.len()).unwrap().to_le_bytes());
        payload
    }

    #[test]
    fn a_kernel_of_several_blocks_comes_out_whole() {
        let mut kernel = b"\x7fELF".to_vec();
        kernel.extend((0..LZ4_LEGACY_BLOCK * 2).map(|n| (n / 700) as u8));
        assert!(extract(&bzimage(&payload(&kernel))).unwrap() == kernel);
    }

    #[test]
    fn each_kind_of_wrong_image_has_its_error() {
        let good = payload(b"\x7fELF and more");
        assert!(matches!(extract(b"short"), Err(VmlinuxError::NotBzImage)));
        assert!(matches!(
            extract(&bzimage(&payload(b"#!"))),
            Err(VmlinuxError::NotElf)
        ));
        let mut other = good.clone();
        other[..4].copy_from_slice(b"\x1f\x8b\x08\x00");
        assert!(matches!(
            extract(&bzimage(&other)),
            Err(VmlinuxError::Packing { .. })
        ));
        let mut longer = good.clone();
        let at = longer.len() - 4;
        longer[at] += 1;
        assert!(matches!(
            extract(&bzimage(&longer)),
            Err(VmlinuxError::Size { .. })
        ));
        let mut cut = bzimage(&good);
        cut.truncate(5 * 512 + 104);
        assert!(matches!(extract(&cut), Err(VmlinuxError::Truncated)));
    }

    #[test]
    fn damaged_payloads_never_panic() {
        let good = bzimage(&payload(b"\x7fELF, a few words, a few words, a few words"));
        for at in 0..good.len() {
            for value in [0x00, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                // Any answer will do.
                let _ = extract(&bad);
            }
        }
    }
}
