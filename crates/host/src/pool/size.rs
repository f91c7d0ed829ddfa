//! How large a pool may be. Pure.

/// Sizes of pools are multiples of this, in bytes.
pub const STEP: u64 = 256 << 20;
/// The smallest pool, in bytes. (XFS itself wants at least 300 MiB.)
pub const SMALLEST: u64 = 1 << 30;
/// Least that is left free on the host's file system unless something else is wanted, in bytes.
const LEAST_RESERVE: u64 = 512 << 20;
/// Most that is left free on the host's file system unless something else is wanted, in bytes.
const MOST_RESERVE: u64 = 10 << 30;
/// A pool is grown when less than one part in this many is free.
const LOW: u64 = 4;

/// Space of the host's file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostSpace {
    /// What it has in all.
    pub total: u64,
    /// What may still be used.
    pub free: u64,
}

/// What is left free on a file system of `total` bytes unless something else is wanted: 5 %, at
/// least 512 MiB, at most 10 GiB.
pub fn reserve(total: u64) -> u64 {
    (total / 20).clamp(LEAST_RESERVE, MOST_RESERVE)
}

/// The size a pool may have whose file takes `used` bytes of the host now, so that a full pool
/// leaves the host its reserve; `None` if that is too little for one.
pub fn pool(used: u64, host_free: u64, reserve: u64, limit: Option<u64>) -> Option<u64> {
    let most = used.saturating_add(host_free.saturating_sub(reserve));
    let most = most.min(limit.unwrap_or(u64::MAX));
    let size = most / STEP * STEP;
    (size >= SMALLEST).then_some(size)
}

/// Whether a pool is full enough to be grown.
pub fn is_low(size: u64, free: u64) -> bool {
    free < size / LOW
}

#[cfg(test)]
mod test {
    use super::{SMALLEST, STEP, is_low, pool, reserve};

    const GIB: u64 = 1 << 30;

    #[test]
    fn the_reserve_is_a_part_of_the_host_within_bounds() {
        assert_eq!(reserve(GIB), 512 << 20);
        assert_eq!(reserve(100 * GIB), 5 * GIB);
        assert_eq!(reserve(2000 * GIB), 10 * GIB);
    }

    #[test]
    fn a_full_pool_leaves_the_host_its_reserve() {
        for used in [0, 3, GIB, 7 * GIB + 12345] {
            for free in [0, GIB, 2 * GIB, 60 * GIB + 1] {
                let reserve = 2 * GIB;
                let Some(size) = pool(used, free, reserve, None) else {
                    assert!(used + free.saturating_sub(reserve) < SMALLEST);
                    continue;
                };
                assert_eq!(size % STEP, 0);
                assert!(size >= SMALLEST);
                let left = (used + free).saturating_sub(size);
                assert!(
                    left >= reserve.min(free),
                    "used {used}, free {free}: {size}"
                );
            }
        }
        assert_eq!(pool(0, 60 * GIB, 10 * GIB, Some(40 * GIB)), Some(40 * GIB));
    }

    #[test]
    fn a_pool_is_low_with_less_than_a_quarter_free() {
        assert!(!is_low(4 * GIB, GIB));
        assert!(is_low(4 * GIB, GIB - 1));
    }
}
