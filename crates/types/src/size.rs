//! Sizes of machines.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $what:literal, $unit:literal, $min:literal, $max:literal, $default:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name(u32);

        impl $name {
            /// The smallest value taken.
            pub const MIN: Self = Self($min);
            /// The largest value taken.
            pub const MAX: Self = Self($max);

            /// Takes a count if it is in the range.
            pub fn new(count: u64) -> Result<Self, Invalid> {
                if ($min..=$max).contains(&count) {
                    Ok(Self(count as u32))
                } else {
                    Err(Invalid::new(
                        $what,
                        &count.to_string(),
                        concat!("must be from ", $min, " to ", $max, $unit),
                    ))
                }
            }

            /// The count itself.
            pub const fn get(self) -> u32 {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl TryFrom<u64> for $name {
            type Error = Invalid;

            fn try_from(count: u64) -> Result<Self, Invalid> {
                Self::new(count)
            }
        }

        impl From<$name> for u64 {
            fn from(size: $name) -> Self {
                u64::from(size.0)
            }
        }
    };
}

bounded!(
    /// Virtual processors of a sandbox.
    Vcpus, "number of vCPUs", "", 1, 32, 1
);
bounded!(
    /// Memory of a sandbox, in MiB. The kernel does not boot in less than 128.
    MemoryMb, "memory size", " MB", 128, 262_144, 1024
);
bounded!(
    /// Disk of a sandbox, in MiB.
    DiskMb, "disk size", " MB", 64, 4_194_304, 2048
);

bounded!(
    /// Size of a volume, in MiB. A file system with a journal takes a few of them for itself.
    VolumeMb, "volume size", " MB", 16, 4_194_304, 1024
);

impl VolumeMb {
    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        (self.0 as u64) << 20
    }
}

impl MemoryMb {
    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        (self.0 as u64) << 20
    }
}

impl DiskMb {
    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        (self.0 as u64) << 20
    }
}

#[cfg(test)]
mod test {
    use super::MemoryMb;

    #[test]
    fn sizes_outside_the_range_are_refused() {
        assert!(MemoryMb::new(127).is_err());
        assert!(MemoryMb::new(u64::from(u32::MAX) + 1024).is_err());
        assert_eq!(MemoryMb::new(128).unwrap().bytes(), 128 << 20);
    }
}
