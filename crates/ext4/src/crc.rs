//! The checksums of `metadata_csum`: CRC-32C without the usual complement at both ends.

/// Goes on from a sum with some bytes.
pub(crate) fn update(sum: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!sum, bytes)
}

/// The sum of a file system that all others begin with.
pub(crate) fn of_uuid(uuid: &[u8]) -> u32 {
    update(u32::MAX, uuid)
}

/// What the sums of an inode, its directory blocks and its extent blocks begin with.
pub(crate) fn of_inode(seed: u32, inode: u32, generation: u32) -> u32 {
    let sum = update(seed, &inode.to_le_bytes());
    update(sum, &generation.to_le_bytes())
}
