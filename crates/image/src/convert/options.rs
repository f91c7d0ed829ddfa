//! How layers are read, and the bounds of it.

use std::path::PathBuf;

use bhatti_host::confine::Bounds;
use bhatti_host::worker::WorkerProgram;

use crate::layer::limits::Limits;

/// The first argument that makes the program `bhatti` a worker.
pub const WORKER_ARG: &str = "__image-worker";

/// How layers are read, and the bounds of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How the worker is started: a program that calls [`crate::convert::worker::main`].
    pub worker: WorkerProgram,
    /// Bounds of each layer, and of the tree they make together.
    pub limits: Limits,
    /// Bytes of the largest disk that may be made.
    pub disk_bytes: u64,
    /// Bytes of memory that the worker may use.
    pub memory: u64,
    /// Seconds of processor time that the worker may use.
    pub cpu_seconds: u64,
    /// How many layers are unpacked at once.
    pub threads: usize,
}

/// Most of it is for the trees of the largest images.
const MEMORY: u64 = 4 << 30;
/// An hour: some hundred gigabytes.
const CPU_SECONDS: u64 = 3600;
const DISK_BYTES: u64 = 256 << 30;
/// More than these wait for the disk.
const THREADS_MAX: usize = 4;

impl Options {
    /// The usual bounds, with the worker that is given.
    pub fn new(worker: WorkerProgram) -> Self {
        let cores = std::thread::available_parallelism();
        Self {
            worker,
            limits: Limits::DEFAULT,
            disk_bytes: DISK_BYTES,
            memory: MEMORY,
            cpu_seconds: CPU_SECONDS,
            threads: cores.map_or(1, |cores| cores.get().min(THREADS_MAX)),
        }
    }

    /// The usual bounds, with this program as worker, which has to be `bhatti`.
    pub fn of_this_program() -> Self {
        Self::new(WorkerProgram {
            // Not the path, where another version may be by now.
            program: PathBuf::from("/proc/self/exe"),
            args: vec![WORKER_ARG.into()],
        })
    }

    pub(super) fn bounds(&self) -> Bounds {
        Bounds {
            memory: self.memory,
            cpu_seconds: self.cpu_seconds,
            file_size: self.disk_bytes,
        }
    }
}
