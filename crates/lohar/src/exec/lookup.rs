//! Finding a program, by the PATH of the command that is to run and not the agent's own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bhatti_proto::message::RefusalKind;

use super::refusal::Refusal;

/// PATH of a command that is given none.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The file to execute for `program`, seen from `cwd`.
///
/// What is found may still fail to execute: the user may not be allowed to, or it is no program.
pub(crate) fn find(program: &str, path: &str, cwd: &Path) -> Result<PathBuf, Refusal> {
    if program.contains('/') {
        return match look(&cwd.join(program)) {
            Found::Executable => Ok(PathBuf::from(program)),
            Found::NotExecutable => Err(not_executable(program)),
            Found::Nothing => Err(not_found(program)),
        };
    }
    let mut found = Found::Nothing;
    for dir in path.split(':') {
        // An empty entry is the working directory, by POSIX.
        let file = cwd.join(dir).join(program);
        match look(&file) {
            Found::Executable => return Ok(file),
            Found::NotExecutable => found = Found::NotExecutable,
            Found::Nothing => {}
        }
    }
    Err(match found {
        Found::NotExecutable => not_executable(program),
        Found::Executable | Found::Nothing => not_found(program),
    })
}

enum Found {
    Executable,
    NotExecutable,
    Nothing,
}

fn look(file: &Path) -> Found {
    match std::fs::metadata(file) {
        Ok(found) if found.is_file() && found.permissions().mode() & 0o111 != 0 => {
            Found::Executable
        }
        Ok(_) => Found::NotExecutable,
        Err(_) => Found::Nothing,
    }
}

pub(crate) fn not_found(program: &str) -> Refusal {
    Refusal::new(
        RefusalKind::NotFound,
        format!("{program}: command not found"),
    )
}

pub(crate) fn not_executable(program: &str) -> Refusal {
    Refusal::new(
        RefusalKind::NotExecutable,
        format!("{program}: permission denied"),
    )
}

#[cfg(test)]
mod test {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use bhatti_proto::message::RefusalKind;

    use super::find;

    fn file(dir: &Path, name: &str, mode: u32) {
        let path = dir.join(name);
        fs_err::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_executable_on_the_path_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        file(&dir.path().join("a"), "tool", 0o644);
        file(&dir.path().join("b"), "tool", 0o755);
        file(&dir.path().join("c"), "tool", 0o755);
        std::fs::create_dir(dir.path().join("a/dir")).unwrap();
        let path = ["missing", "a", "b", "c"]
            .map(|name| dir.path().join(name).to_str().unwrap().to_owned())
            .join(":");
        assert_eq!(
            find("tool", &path, Path::new("/")).unwrap(),
            dir.path().join("b/tool")
        );
        let refused = find("dir", &path, Path::new("/")).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::NotExecutable);
        let refused = find("none", &path, Path::new("/")).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::NotFound);
    }

    #[test]
    fn a_path_is_taken_as_it_is_from_the_working_directory() {
        let dir = tempfile::tempdir().unwrap();
        file(dir.path(), "tool", 0o755);
        assert_eq!(find("./tool", "", dir.path()).unwrap(), Path::new("./tool"));
        assert_eq!(
            find("tool", "", dir.path()).unwrap(),
            dir.path().join("tool")
        );
        assert!(find("./tool", "", Path::new("/")).is_err());
    }
}
