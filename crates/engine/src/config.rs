//! What the engine is told at its start.

use std::path::PathBuf;

/// Settings of the engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// The data directory; it exists and is private to the daemon's user.
    pub data_dir: PathBuf,
    /// The QEMU program: a name looked up on the usual path, or an absolute path.
    pub qemu: PathBuf,
    /// Which accelerator to use.
    pub accelerator: AcceleratorChoice,
}

/// Which accelerator to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcceleratorChoice {
    /// KVM if a small guest really boots under it, else TCG.
    #[default]
    Auto,
    /// KVM, without trying.
    Kvm,
    /// TCG: software emulation.
    Tcg,
}
