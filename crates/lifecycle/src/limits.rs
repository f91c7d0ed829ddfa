//! A user's limits on one sandbox. How many there may be is counted where they are stored.

use bhatti_types::size::{MemoryMb, Vcpus};

/// What one sandbox of a user may have at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxLimits {
    /// vCPUs.
    pub cpus: u32,
    /// Memory, in MiB.
    pub memory_mb: u32,
}

/// More was asked for than a limit allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} {asked} is over the limit of {limit}")]
pub struct OverLimit {
    /// Which limit.
    pub what: &'static str,
    /// What was asked for.
    pub asked: u32,
    /// The limit.
    pub limit: u32,
}

impl SandboxLimits {
    /// Checks a shape.
    pub fn check(self, cpus: Vcpus, memory: MemoryMb) -> Result<(), OverLimit> {
        let within = |what, asked, limit| {
            if asked > limit {
                Err(OverLimit { what, asked, limit })
            } else {
                Ok(())
            }
        };
        within("number of vCPUs", cpus.get(), self.cpus)?;
        within("memory in MB", memory.get(), self.memory_mb)
    }
}

#[cfg(test)]
mod test {
    use bhatti_types::size::{MemoryMb, Vcpus};

    use super::SandboxLimits;

    #[test]
    fn a_shape_at_its_limits_is_taken() {
        let limits = SandboxLimits {
            cpus: 4,
            memory_mb: 4096,
        };
        let cpus = |n| Vcpus::new(n).unwrap();
        let memory = |n| MemoryMb::new(n).unwrap();
        assert!(limits.check(cpus(4), memory(4096)).is_ok());
        assert_eq!(limits.check(cpus(5), memory(4096)).unwrap_err().limit, 4);
        assert_eq!(limits.check(cpus(4), memory(4097)).unwrap_err().asked, 4097);
    }
}
