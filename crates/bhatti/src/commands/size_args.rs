//! The flags about a machine's size, which several commands have.

use clap::Args;

use crate::values;

/// The size of a machine.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SizeArgs {
    /// vCPUs [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = values::cpus)]
    cpus: Option<u64>,
    /// Memory in MB [default: 1024]
    #[arg(long, value_name = "MB", value_parser = values::memory)]
    pub(crate) memory: Option<u64>,
    /// Disk in MB [default: the image's own size]
    #[arg(long, value_name = "MB", value_parser = values::disk)]
    pub(crate) disk_size: Option<u64>,
}

impl SizeArgs {
    /// The number of vCPUs as the API has it.
    pub(crate) fn cpus(&self) -> Option<f64> {
        self.cpus.map(|count| count as f64)
    }
}
