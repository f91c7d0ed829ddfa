//! The directory of a build, as a tar archive.

use std::io::{self, Read as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

use super::ignore::Ignore;

/// Largest Containerfile and largest `.dockerignore`, in bytes.
const MAX_TEXT: u64 = 1 << 20;
/// Most files and directories that are sent.
const MAX_ENTRIES: u64 = 500_000;
/// Most bytes that are sent.
const MAX_BYTES: u64 = 16 << 30;
/// Deepest directory: below it is a mistake, or a loop of mounts.
const MAX_DEPTH: usize = 128;
/// The names under which a Containerfile is looked for.
const NAMES: [&str; 2] = ["Containerfile", "Dockerfile"];

/// A directory that is to be built.
#[derive(Debug)]
pub(crate) struct BuildContext {
    dir: PathBuf,
    /// What is to be built.
    pub(crate) containerfile: String,
    ignore: Ignore,
}

/// A directory that cannot be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    /// Something could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// There is nothing that says what to build.
    #[error("there is no Containerfile and no Dockerfile in {}", dir.display())]
    NoContainerfile { dir: PathBuf },
    /// There is more than is sent.
    #[error("{} has more than {limit} {what}", dir.display())]
    TooMuch {
        dir: PathBuf,
        limit: u64,
        what: &'static str,
    },
    /// Nobody takes the archive any more.
    #[error("failed to send the directory")]
    Send(#[source] io::Error),
}

impl BuildContext {
    /// Looks at a directory, and reads what is to be built: `file`, or what is in the directory.
    pub(crate) fn open(dir: &Path, file: Option<&Path>) -> Result<Self, ContextError> {
        let failed = |path: &Path, source| ContextError::Read {
            path: path.to_owned(),
            source,
        };
        let metadata = fs_err::metadata(dir).map_err(|source| failed(dir, source))?;
        if !metadata.is_dir() {
            return Err(failed(dir, io::ErrorKind::NotADirectory.into()));
        }
        let found = NAMES.iter().map(|name| dir.join(name));
        let file = match file {
            Some(file) => file.to_owned(),
            None => found
                .into_iter()
                .find(|path| path.exists())
                .ok_or_else(|| ContextError::NoContainerfile {
                    dir: dir.to_owned(),
                })?,
        };
        let containerfile = text(&file).map_err(|source| failed(&file, source))?;
        let path = dir.join(".dockerignore");
        let ignore = match text(&path) {
            Ok(text) => Ignore::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ignore::default(),
            Err(source) => return Err(failed(&path, source)),
        };
        Ok(Self {
            dir: dir.to_owned(),
            containerfile,
            ignore,
        })
    }

    /// Writes the archive: `Containerfile`, and `context/` with the directory. Blocking.
    pub(crate) fn write(&self, to: impl Write) -> Result<(), ContextError> {
        let mut writing = Writing {
            context: self,
            archive: Builder::new(to),
            entries: 0,
            bytes: 0,
        };
        let text = self.containerfile.as_bytes();
        let mut header = header(EntryType::Regular, 0o644, 0);
        header.set_size(text.len() as u64);
        writing
            .archive
            .append_data(&mut header, "Containerfile", text)
            .map_err(ContextError::Send)?;
        let mut root = self::header(EntryType::Directory, 0o755, 0);
        writing
            .archive
            .append_data(&mut root, "context", io::empty())
            .map_err(ContextError::Send)?;
        writing.directory(&mut Vec::new())?;
        let mut to = writing.archive.into_inner().map_err(ContextError::Send)?;
        to.flush().map_err(ContextError::Send)
    }
}

struct Writing<'c, W: Write> {
    context: &'c BuildContext,
    archive: Builder<W>,
    entries: u64,
    bytes: u64,
}

impl<W: Write> Writing<'_, W> {
    /// Writes what is in the directory with these names, from the context's own down.
    fn directory(&mut self, names: &mut Vec<String>) -> Result<(), ContextError> {
        let dir: PathBuf = std::iter::once(self.context.dir.as_path())
            .chain(names.iter().map(Path::new))
            .collect();
        let failed = |path: &Path, source| ContextError::Read {
            path: path.to_owned(),
            source,
        };
        if names.len() > MAX_DEPTH {
            return Err(self.too_much(MAX_DEPTH as u64, "directories in one another"));
        }
        let mut entries = Vec::new();
        for entry in fs_err::read_dir(&dir).map_err(|source| failed(&dir, source))? {
            let entry = entry.map_err(|source| failed(&dir, source))?;
            let name = entry.file_name().into_string().map_err(|_| {
                failed(
                    &entry.path(),
                    io::Error::other("its name is not valid UTF-8"),
                )
            })?;
            entries.push(name);
        }
        // The same directory gives the same archive.
        entries.sort();
        for name in entries {
            names.push(name);
            let path = dir.join(&names[names.len() - 1]);
            self.entry(&path, names).map_err(|error| match error {
                EntryError::Read(source) => failed(&path, source),
                EntryError::Other(error) => error,
            })?;
            names.pop();
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, names: &mut Vec<String>) -> Result<(), EntryError> {
        let parts: Vec<_> = names.iter().map(String::as_str).collect();
        let excluded = self.context.ignore.excludes(&parts);
        let found = fs_err::symlink_metadata(path)?;
        if excluded {
            return if found.is_dir() && self.context.ignore.takes_back() {
                self.directory(names).map_err(EntryError::Other)
            } else {
                Ok(())
            };
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(EntryError::Other(self.too_much(MAX_ENTRIES, "files")));
        }
        let inside = format!("context/{}", names.join("/"));
        let sent = |error| EntryError::Other(ContextError::Send(error));
        let mode = found.mode() & 0o7777;
        let time = u64::try_from(found.mtime()).unwrap_or(0);
        if found.is_dir() {
            let mut header = header(EntryType::Directory, mode, time);
            self.archive
                .append_data(&mut header, &inside, io::empty())
                .map_err(sent)?;
            self.directory(names).map_err(EntryError::Other)
        } else if found.is_symlink() {
            let target = fs_err::read_link(path)?;
            let mut header = header(EntryType::Symlink, 0o777, time);
            self.archive
                .append_link(&mut header, &inside, &target)
                .map_err(sent)
        } else if found.is_file() {
            self.bytes += found.len();
            if self.bytes > MAX_BYTES {
                return Err(EntryError::Other(self.too_much(MAX_BYTES, "bytes")));
            }
            let file = fs_err::File::open(path)?;
            let mut header = header(EntryType::Regular, mode, time);
            header.set_size(found.len());
            // One that grows meanwhile is cut, one that shrinks is filled up: what was announced
            // has to come.
            let whole = file.chain(io::repeat(0)).take(found.len());
            self.archive
                .append_data(&mut header, &inside, whole)
                .map_err(sent)
        } else {
            // Sockets, pipes and devices are nothing to be copied.
            Ok(())
        }
    }

    fn too_much(&self, limit: u64, what: &'static str) -> ContextError {
        ContextError::TooMuch {
            dir: self.context.dir.clone(),
            limit,
            what,
        }
    }
}

enum EntryError {
    Read(io::Error),
    Other(ContextError),
}

impl From<io::Error> for EntryError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

fn header(kind: EntryType, mode: u32, time: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(time);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let read = fs_err::File::open(path)?
        .take(MAX_TEXT + 1)
        .read_to_string(&mut text)?;
    if read as u64 > MAX_TEXT {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod test {
    use super::{BuildContext, ContextError};

    fn names(context: &BuildContext) -> Vec<String> {
        let mut bytes = Vec::new();
        context.write(&mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn what_is_ignored_is_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        write("Dockerfile", "FROM scratch\n");
        write("src/main.c", "int main;");
        write("target/debug/big", "x");
        write("keep/one", "1");
        write("keep/two", "2");
        write(".dockerignore", "target\nkeep\n!keep/one\n.dockerignore\n");
        std::os::unix::fs::symlink("../..", dir.path().join("src/up")).unwrap();
        let context = BuildContext::open(dir.path(), None).unwrap();
        assert_eq!(context.containerfile, "FROM scratch\n");
        assert_eq!(
            names(&context),
            [
                "Containerfile",
                "context",
                "context/Dockerfile",
                "context/keep/one",
                "context/src",
                "context/src/main.c",
                "context/src/up",
            ]
        );
    }

    #[test]
    fn a_directory_without_a_containerfile_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = BuildContext::open(dir.path(), None).unwrap_err();
        assert!(matches!(error, ContextError::NoContainerfile { .. }));
        let file = dir.path().join("other");
        let error = BuildContext::open(dir.path(), Some(&file)).unwrap_err();
        assert!(matches!(error, ContextError::Read { .. }));
        fs_err::write(&file, "FROM scratch").unwrap();
        BuildContext::open(dir.path(), Some(&file)).unwrap();
        BuildContext::open(&file, None).unwrap_err();
    }
}
