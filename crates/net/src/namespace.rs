//! Network namespaces: made, found again by their names, entered by threads of their own.
//!
//! A namespace is held by a mount of it under [`DIR`], where `ip netns` looks too, so that it
//! outlives the daemon and its last machine.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::sync::oneshot;

use crate::error::NetError;

/// Where namespaces are mounted.
pub const DIR: &str = "/run/netns";

/// A namespace. Clones share its descriptor.
#[derive(Debug, Clone)]
pub struct Namespace {
    name: String,
    file: Arc<File>,
}

impl Namespace {
    /// The one this thread is in.
    pub fn current() -> Result<Self, NetError> {
        let name = "the host's";
        let file = open(Path::new("/proc/thread-self/ns/net"));
        Ok(Self {
            name: name.to_owned(),
            file: Arc::new(file.map_err(failed("open", name))?),
        })
    }

    /// Opens the one of this name; `None` if there is none. Blocking.
    pub fn find(name: &str) -> Result<Option<Self>, NetError> {
        let path = path(name);
        // What is left of one whose mount was cut off, or is gone, is a plain file.
        let mounted = is_namespace(&path).map_err(failed("look at", name))?;
        if !mounted {
            return Ok(None);
        }
        let file = open(&path).map_err(failed("open", name))?;
        Ok(Some(Self {
            name: name.to_owned(),
            file: Arc::new(file),
        }))
    }

    /// Opens the one of this name, and makes it if there is none. Blocking.
    pub fn make(name: &str) -> Result<Self, NetError> {
        if let Some(found) = Self::find(name)? {
            return Ok(found);
        }
        make_dir().map_err(failed("make a place for", name))?;
        let path = path(name);
        fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failed("make a place for", name))?;
        // A thread of its own, which ends with the namespace that it leaves mounted.
        let target = path.clone();
        let made = thread::spawn(move || -> io::Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            let own = Path::new("/proc/thread-self/ns/net");
            mount(
                Some(own),
                &target,
                None::<&str>,
                MsFlags::MS_BIND,
                None::<&str>,
            )?;
            Ok(())
        });
        let made = made
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that makes it panicked")));
        made.map_err(failed("make", name))?;
        let file = open(&path).map_err(failed("open", name))?;
        Ok(Self {
            name: name.to_owned(),
            file: Arc::new(file),
        })
    }

    /// Takes the one of this name away; it ends with the last that is in it. Success if there is
    /// none. Blocking.
    pub fn remove(name: &str) -> Result<(), NetError> {
        let path = path(name);
        match umount2(&path, MntFlags::MNT_DETACH) {
            // Not mounted, or not there.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(errno) => return Err(failed("unmount", name)(errno.into())),
        }
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", name)(error))
            }
            _ => Ok(()),
        }
    }

    /// Names of all that are there. Blocking.
    pub fn names() -> io::Result<Vec<String>> {
        let entries = match fs_err::read_dir(DIR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its descriptor.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Runs something on a thread that is in the namespace, within a runtime of that thread.
    /// Programs it starts, and sockets it opens, are in the namespace. Dropping the future does
    /// not break it off.
    pub async fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> Result<T, NetError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, NetError>>,
    {
        let (name, file) = (self.name.clone(), self.file.clone());
        let (done, result) = oneshot::channel();
        let span = tracing::Span::current();
        let enter = move || {
            let _entered = span.entered();
            let prepared = || -> io::Result<tokio::runtime::Runtime> {
                setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
            };
            let result = match prepared() {
                Ok(runtime) => runtime.block_on(work()),
                Err(error) => Err(failed("enter", &name)(error)),
            };
            // Nobody may wait any more.
            let _ = done.send(result);
        };
        thread::Builder::new()
            .name("netns".to_owned())
            .spawn(enter)
            .map_err(failed("enter", &self.name))?;
        result
            .await
            .map_err(|_| failed("enter", &self.name)(io::Error::other("its thread panicked")))?
    }
}

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn open(path: &Path) -> io::Result<File> {
    Ok(fs_err::File::open(path)?.into_file())
}

/// Makes [`DIR`] as `ip netns` makes it: a mount of its own that is shared, so that a namespace
/// which is taken away is gone from every mount namespace that has a copy.
fn make_dir() -> io::Result<()> {
    fs_err::create_dir_all(DIR)?;
    let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
    let share = || mount(None::<&str>, DIR, None::<&str>, shared, None::<&str>);
    match share() {
        Err(nix::errno::Errno::EINVAL) => {
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(DIR), DIR, None::<&str>, bind, None::<&str>)?;
            Ok(share()?)
        }
        other => Ok(other?),
    }
}

/// `NSFS_MAGIC` of `<linux/magic.h>`.
const NSFS: nix::sys::statfs::FsType = nix::sys::statfs::FsType(0x6e73_6673);

fn is_namespace(path: &Path) -> io::Result<bool> {
    match nix::sys::statfs::statfs(path) {
        Ok(found) => Ok(found.filesystem_type() == NSFS),
        Err(nix::errno::Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

fn failed(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> NetError {
    let name = name.to_owned();
    move |source| NetError::Namespace {
        action,
        name,
        source,
    }
}
