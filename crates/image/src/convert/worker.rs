//! The worker: reads what strangers made, and can do nothing else.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bhatti_ext4::estimate::estimate;
use bhatti_ext4::fill::{Copy, FillError, fill};
use bhatti_ext4::tree::Tree;
use bhatti_host::confine::confine;
use bhatti_host::worker::Master;

use crate::convert::contents::{ContentsError, write_contents};
use crate::convert::job::{Fault, GO, Job, Reply, Work};
use crate::layer::decompress;
use crate::layer::index::{IndexError, LayerIndex};
use crate::layer::limits::Limits;
use crate::layer::merge::{Merge, MergeError};
use crate::layer::scan::{ScanError, scan};

/// Bytes between two messages about the progress.
const REPORT_EVERY: u64 = 4 << 20;

/// Why the work cannot be done.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error("failed to talk to the daemon")]
    Master(#[source] io::Error),
    #[error("the job is not one")]
    Job,
    #[error("failed to open a layer")]
    Open(#[source] io::Error),
    #[error(transparent)]
    Scan(ScanError),
    #[error("failed to write the index of a layer")]
    WriteIndex(#[source] io::Error),
    #[error(transparent)]
    Index(IndexError),
    #[error(transparent)]
    Merge(MergeError),
    #[error(transparent)]
    Fill(FillError),
    #[error(transparent)]
    Contents(ContentsError),
    #[error("failed to sync the disk")]
    Sync(#[source] io::Error),
}

impl WorkError {
    fn fault(&self) -> Fault {
        let host = |error: &io::Error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::NoRoom,
            _ => Fault::Host,
        };
        match self {
            Self::Scan(_) | Self::Merge(_) | Self::Fill(FillError::Xattrs { .. }) => Fault::Layers,
            Self::Fill(FillError::Links { .. }) => Fault::Layers,
            Self::Fill(FillError::Disk(error))
            | Self::WriteIndex(error)
            | Self::Sync(error)
            | Self::Contents(ContentsError::Write(error)) => host(error),
            Self::Contents(ContentsError::Read(_)) => Fault::Layers,
            Self::Master(_) | Self::Job | Self::Open(_) | Self::Index(_) | Self::Fill(_) => {
                Fault::Host
            }
        }
    }
}

/// Does the job that comes over standard input, and gives the exit code of the program.
///
/// To be called first in a program, before it has other threads.
pub fn main() -> ExitCode {
    match Master::of_standard_input() {
        Ok(Some(master)) => {
            serve(master);
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(2),
    }
}

/// Does the job that comes from a master. What it could not do has been told to the master.
pub(super) fn serve(mut master: Master) {
    if let Err(error) = work(&mut master) {
        let reply = Reply::Failed {
            fault: error.fault(),
            reason: chain(&error),
        };
        // There is nobody else to tell.
        let _ = say(&mut master, &reply);
    }
}

/// An error with its causes, in one line of bounded length.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text.chars().take(1000).collect()
}

fn say(master: &mut Master, reply: &Reply) -> Result<(), WorkError> {
    let line = serde_json::to_string(reply).map_err(|_| WorkError::Job)?;
    master.send(&line).map_err(WorkError::Master)
}

fn work(master: &mut Master) -> Result<(), WorkError> {
    let files = master.files().map_err(WorkError::Master)?;
    let job = master.receive().map_err(WorkError::Master)?;
    let job: Job = serde_json::from_str(&job).map_err(|_| WorkError::Job)?;
    let missing = confine(job.bounds);
    let missing = missing
        .into_iter()
        .map(|missing| format!("{}: {}", missing.what, missing.source))
        .collect();
    say(master, &Reply::Confined { missing })?;
    match job.work {
        Work::Inspect => {
            let [blob, index] = two(files).ok_or(WorkError::Job)?;
            inspect(master, blob, &index, &job.limits)
        }
        Work::Convert { threads } => convert(master, files, threads, &job.limits),
    }
}

fn two(files: Vec<OwnedFd>) -> Option<[File; 2]> {
    let files: [OwnedFd; 2] = files.try_into().ok()?;
    Some(files.map(File::from))
}

fn inspect(
    master: &mut Master,
    blob: File,
    index: &File,
    limits: &Limits,
) -> Result<(), WorkError> {
    let reader = decompress::open(blob).map_err(WorkError::Open)?;
    let found = scan(reader, limits).map_err(WorkError::Scan)?;
    let mut writer = BufWriter::new(index);
    let written = found.write_to(&mut writer).and_then(|()| writer.flush());
    drop(writer);
    let synced = written.and_then(|()| index.sync_all());
    synced.map_err(WorkError::WriteIndex)?;
    say(
        master,
        &Reply::Inspected {
            diff_id: found.diff_id,
            bytes: found.bytes,
            entries: found.entries.len() as u64,
        },
    )
}

fn convert(
    master: &mut Master,
    mut files: Vec<OwnedFd>,
    threads: usize,
    limits: &Limits,
) -> Result<(), WorkError> {
    let disk = File::from(files.pop().ok_or(WorkError::Job)?);
    let mut blobs = Vec::new();
    let mut merge = Merge::new(limits);
    let mut files = files.into_iter();
    while let (Some(blob), Some(index)) = (files.next(), files.next()) {
        let reader = BufReader::new(File::from(index));
        let index = LayerIndex::read_from(reader, limits).map_err(WorkError::Index)?;
        merge.add(index).map_err(WorkError::Merge)?;
        blobs.push(File::from(blob));
    }
    let tree: Tree = merge.finish();
    let size = estimate(&tree);
    say(
        master,
        &Reply::Size {
            bytes: size.bytes,
            inodes: size.inodes,
            journal_mib: size.journal_mib,
        },
    )?;
    if master.receive().map_err(WorkError::Master)? != GO {
        return Err(WorkError::Job);
    }
    let copies = fill(&disk, &tree).map_err(WorkError::Fill)?;
    let written = tree.inodes.len() as u64;
    drop(tree);
    write_all(master, blobs, &copies, &disk, threads)?;
    disk.sync_all().map_err(WorkError::Sync)?;
    say(master, &Reply::Written { files: written })
}

/// Writes the contents of all layers, several layers at once.
fn write_all(
    master: &mut Master,
    blobs: Vec<File>,
    copies: &[Copy],
    disk: &File,
    threads: usize,
) -> Result<(), WorkError> {
    let total = copies.iter().map(|copy| copy.len).sum();
    let mut layers: Vec<(File, &[Copy])> = Vec::new();
    for (source, blob) in blobs.into_iter().enumerate() {
        let of_source = |copy: &Copy| copy.source as usize;
        let start = copies.partition_point(|copy| of_source(copy) < source);
        let end = copies.partition_point(|copy| of_source(copy) <= source);
        if start < end {
            layers.push((blob, &copies[start..end]));
        }
    }
    // The one with most to read first: it is what the others are waited for with.
    layers.sort_by_key(|(_, copies)| {
        std::cmp::Reverse(copies.last().map_or(0, |last| last.from + last.len))
    });
    let progress = Progress {
        master: Mutex::new(master),
        done: AtomicU64::new(0),
        reported: AtomicU64::new(0),
        total,
    };
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<WorkError>> = Mutex::new(None);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((blob, copies)) = layers.get(number) else {
                return;
            };
            if let Err(error) = write_layer(blob, copies, disk, &progress) {
                // The others end where they ask for the next layer, or with the process.
                next.store(layers.len(), Ordering::Relaxed);
                progress.total_failure();
                lock(&failed).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(layers.len()) {
            // Without another thread the others do its work.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    match failed.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some(error)) => Err(error),
        Err(poisoned) => poisoned.into_inner().map_or(Ok(()), Err),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write_layer(
    blob: &File,
    copies: &[Copy],
    disk: &File,
    progress: &Progress<'_>,
) -> Result<(), WorkError> {
    let blob = blob.try_clone().map_err(WorkError::Open)?;
    let reader = decompress::open(blob).map_err(WorkError::Open)?;
    let written = write_contents(reader, copies, disk, |len| progress.add(len));
    written.map_err(WorkError::Contents)
}

/// What has been written by all threads together.
struct Progress<'a> {
    master: Mutex<&'a mut Master>,
    done: AtomicU64,
    /// What was told last; its highest value stops everything.
    reported: AtomicU64,
    total: u64,
}

impl Progress<'_> {
    fn add(&self, len: u64) -> io::Result<()> {
        let done = self.done.fetch_add(len, Ordering::Relaxed) + len;
        let reported = self.reported.load(Ordering::Relaxed);
        if reported == u64::MAX {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if done < reported.saturating_add(REPORT_EVERY) {
            return Ok(());
        }
        // Fails where there is nobody to work for any more.
        let mut master = lock(&self.master);
        self.reported.fetch_max(done, Ordering::Relaxed);
        let total = self.total;
        let line = serde_json::to_string(&Reply::Progress { done, total })?;
        master.send(&line)
    }

    fn total_failure(&self) {
        self.reported.store(u64::MAX, Ordering::Relaxed);
    }
}
