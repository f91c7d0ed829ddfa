//! Host name, `/etc/hosts`, `/etc/resolv.conf` and `/etc/machine-id`.
//!
//! Files are written aside and renamed, and only when they would change. An image whose `/etc` is
//! odd or can't be written to still boots.

use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

/// First line of a file that this module wrote and may write again.
const OURS: &str = "# written by bhatti";

/// Sets the kernel's host name.
pub fn set_hostname(name: &str) -> io::Result<()> {
    Ok(nix::unistd::sethostname(name)?)
}

/// Writes `hostname` and, unless the image has its own, `hosts`.
pub fn write_files(etc: &Path, hostname: &str) -> io::Result<()> {
    replace(&etc.join("hostname"), format!("{hostname}\n").as_bytes())?;
    let path = etc.join("hosts");
    let old = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        // One that can't be read is the image's own affair.
        other => other?,
    };
    replace(&path, hosts(&old, hostname).as_bytes())
}

/// Writes `machine-id`: 32 hexadecimal digits.
pub fn write_machine_id(etc: &Path, id: &str) -> io::Result<()> {
    replace(&etc.join("machine-id"), format!("{id}\n").as_bytes())
}

/// Writes `resolv.conf`, unless there is no server to write.
pub fn write_resolvers(etc: &Path, servers: &[Ipv4Addr]) -> io::Result<()> {
    if servers.is_empty() {
        return Ok(());
    }
    let mut text = format!("{OURS}\n");
    for server in servers {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "nameserver {server}");
    }
    replace(&etc.join("resolv.conf"), text.as_bytes())
}

/// The hosts file for a name: the image's own lines stay, the one of an earlier name goes.
fn hosts(old: &str, hostname: &str) -> String {
    let mut text = String::new();
    let mut lines = old.lines().peekable();
    while let Some(line) = lines.next() {
        if line == OURS {
            lines.next_if(|line| line.starts_with("127.0.1.1 "));
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    if !text
        .lines()
        .any(|line| line.split_whitespace().any(|word| word == "localhost"))
    {
        text.push_str("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    }
    let _ = write!(text, "{OURS}\n127.0.1.1 {hostname}\n");
    text
}

/// Replaces a file if it would change. A symbolic link is replaced, not followed.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if std::fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let Some(dir) = path.parent() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    std::fs::create_dir_all(dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = dir.join(format!(".{name}.bhatti"));
    std::fs::write(&aside, bytes)?;
    std::fs::rename(&aside, path)
}

#[cfg(test)]
mod test {
    use super::{hosts, write_files};

    #[test]
    fn a_new_name_replaces_the_old_one_and_nothing_else() {
        let first = hosts("10.0.0.9 db\n", "dev");
        assert!(first.starts_with("10.0.0.9 db\n127.0.0.1 localhost\n"));
        assert!(first.ends_with("127.0.1.1 dev\n"));
        let second = hosts(&first, "retry");
        assert_eq!(second, first.replace("127.0.1.1 dev", "127.0.1.1 retry"));
    }

    #[test]
    fn files_are_written_where_etc_is_missing() {
        let dir = std::env::temp_dir().join(format!("lohar-names-{}", std::process::id()));
        let etc = dir.join("etc");
        write_files(&etc, "dev").unwrap();
        assert_eq!(
            std::fs::read_to_string(etc.join("hostname")).unwrap(),
            "dev\n"
        );
        assert_eq!(std::fs::read_dir(&etc).unwrap().count(), 2);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
