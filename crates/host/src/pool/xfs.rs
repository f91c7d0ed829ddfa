//! XFS: made, measured and grown.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

use super::error::PoolError;
use crate::command::{Command, CommandError};

/// The program that makes it, from `xfsprogs`.
const FORMATTER: &str = "mkfs.xfs";
/// Time for a file system to be made. It writes its log, at most 2 GiB.
const FORMAT_LIMIT: Duration = Duration::from_mins(2);

/// `struct xfs_fsop_geom_v1` of <xfs/xfs_fs.h>.
#[repr(C)]
struct Geometry {
    block_size: u32,
    rt_extent_size: u32,
    ag_blocks: u32,
    ag_count: u32,
    log_blocks: u32,
    sector_size: u32,
    inode_size: u32,
    inodes_percent: u32,
    data_blocks: u64,
    rt_blocks: u64,
    rt_extents: u64,
    log_start: u64,
    uuid: [u8; 16],
    stripe_unit: u32,
    stripe_width: u32,
    version: i32,
    flags: u32,
    log_sector_size: u32,
    rt_sector_size: u32,
    dir_block_size: u32,
}

/// `struct xfs_growfs_data`.
#[repr(C)]
struct Growth {
    new_blocks: u64,
    inodes_percent: u32,
}

const XFS_IOC_FSGEOMETRY_V1: Opcode = opcode::read::<Geometry>(b'X', 100);
const XFS_IOC_FSGROWFSDATA: Opcode = opcode::write::<Growth>(b'X', 110);

/// Makes a file system in a file, whatever the file holds.
pub(super) async fn format(image: &Path) -> Result<(), PoolError> {
    let command = Command::new(FORMATTER)
        .args(["-q", "-f", "-m", "reflink=1", "-s", "size=4096"])
        .arg(image)
        .limit(FORMAT_LIMIT);
    match command.run().await {
        Ok(_) => Ok(()),
        Err(CommandError::NotFound { .. }) => Err(PoolError::NoFormatter),
        Err(error) => Err(PoolError::Format(error)),
    }
}

/// Grows a mounted file system to the size of its device. Success if it has it.
pub(super) fn grow(mounted: &Path, size: u64) -> io::Result<()> {
    let dir = fs_err::File::open(mounted)?;
    let geometry = geometry(dir.as_fd())?;
    let new_blocks = size / u64::from(geometry.block_size.max(1));
    if new_blocks <= geometry.data_blocks {
        return Ok(());
    }
    let growth = Growth {
        new_blocks,
        inodes_percent: geometry.inodes_percent,
    };
    // SAFETY: the kernel reads a `struct xfs_growfs_data`, which `Growth` is. That the file system
    // is an XFS was seen above: others don't know the number of that call.
    #[expect(unsafe_code, reason = "an ioctl without a wrapper")]
    unsafe {
        ioctl(&dir, Setter::<XFS_IOC_FSGROWFSDATA, Growth>::new(growth))?;
    }
    Ok(())
}

fn geometry(dir: impl AsFd) -> rustix::io::Result<Geometry> {
    // SAFETY: the kernel writes a `struct xfs_fsop_geom_v1`, which `Geometry` is, whole if it
    // succeeds; the number of the call holds its size.
    #[expect(unsafe_code, reason = "an ioctl without a wrapper")]
    unsafe {
        ioctl(dir, Getter::<XFS_IOC_FSGEOMETRY_V1, Geometry>::new())
    }
}

#[cfg(test)]
mod test {
    use super::{Geometry, Growth, XFS_IOC_FSGEOMETRY_V1, XFS_IOC_FSGROWFSDATA};

    #[test]
    fn the_calls_have_the_kernels_numbers() {
        assert_eq!((size_of::<Geometry>(), size_of::<Growth>()), (112, 16));
        // As `strace xfs_growfs` shows them.
        assert_eq!(XFS_IOC_FSGEOMETRY_V1, 0x8070_5864);
        assert_eq!(XFS_IOC_FSGROWFSDATA, 0x4010_586e);
    }
}
