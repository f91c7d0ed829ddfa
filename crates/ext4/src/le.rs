//! Little-endian numbers in buffers. Offsets are constants of the format, within the buffer.

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let mut value = [0; 2];
    value.copy_from_slice(&bytes[at..at + 2]);
    u16::from_le_bytes(value)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// A number whose two halves are apart.
pub(crate) fn split_u64(bytes: &[u8], low: usize, high: usize) -> u64 {
    u64::from(u32_at(bytes, low)) | u64::from(u32_at(bytes, high)) << 32
}

/// The same for a number of 32 bits.
pub(crate) fn split_u32(bytes: &[u8], low: usize, high: usize) -> u32 {
    u32::from(u16_at(bytes, low)) | u32::from(u16_at(bytes, high)) << 16
}

pub(crate) fn put_split_u64(bytes: &mut [u8], low: usize, high: usize, value: u64) {
    put_u32(bytes, low, value as u32);
    put_u32(bytes, high, (value >> 32) as u32);
}

pub(crate) fn put_split_u32(bytes: &mut [u8], low: usize, high: usize, value: u32) {
    put_u16(bytes, low, value as u16);
    put_u16(bytes, high, (value >> 16) as u16);
}
