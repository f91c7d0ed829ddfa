//! Users, as the image's own `/etc/passwd` and `/etc/group` have them.
//!
//! The files are read anew each time: commands change them. A number needs no entry.

use std::path::Path;

use bhatti_proto::message::RefusalKind;

use super::refusal::Refusal;

/// Longest file that is read, in bytes. A larger one is another's idea of a joke.
const MAX_FILE: usize = 4 << 20;
/// Most supplementary groups (`NGROUPS_MAX` is 65,536; nobody is in a hundred).
const MAX_GROUPS: usize = 1024;

/// Who a command runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, the primary one included.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
    pub(crate) shell: String,
}

/// One line of `passwd`.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
    shell: &'a str,
}

/// Finds the user that `spec` names: `name`, `uid`, `name:group`, `uid:gid`.
pub(crate) fn find(etc: &Path, spec: &str) -> Result<User, Refusal> {
    let (name, group) = match spec.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (spec, None),
    };
    let passwd = read(&etc.join("passwd"));
    let groups = read(&etc.join("group"));
    let number: Option<u32> = name.parse().ok();
    // A name of digits only is a number, as with `chown` and in container images.
    let account = accounts(&passwd).find(|account| match number {
        Some(uid) => account.uid == uid,
        None => account.name == name,
    });
    let mut user = match (account, number) {
        (Some(account), _) => User {
            name: account.name.to_owned(),
            uid: account.uid,
            gid: account.gid,
            groups: Vec::new(),
            home: account.home.to_owned(),
            shell: account.shell.to_owned(),
        },
        (None, Some(uid)) => unlisted(uid),
        (None, None) if name == "root" => unlisted(0),
        (None, None) => return Err(no_such("user", name)),
    };
    if let Some(group) = group {
        user.gid = find_group(&groups, group)?;
    }
    if user.home.is_empty() {
        "/".clone_into(&mut user.home);
    }
    if user.shell.is_empty() {
        "/bin/sh".clone_into(&mut user.shell);
    }
    user.groups = memberships(&groups, &user);
    Ok(user)
}

/// A user without an entry: no home, and the group 0 only if it is root, as container runtimes
/// have it.
fn unlisted(uid: u32) -> User {
    let root = uid == 0;
    User {
        name: if root {
            "root".to_owned()
        } else {
            uid.to_string()
        },
        uid,
        gid: 0,
        groups: Vec::new(),
        home: if root { "/root" } else { "/" }.to_owned(),
        shell: String::new(),
    }
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let _password = fields.next()?;
        let uid = fields.next()?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let _comment = fields.next();
        let home = fields.next().unwrap_or_default();
        let shell = fields.next().unwrap_or_default();
        Some(Account {
            name,
            uid,
            gid,
            home,
            shell,
        })
    })
}

/// Lines of `group`: name, number, members.
fn group_lines(groups: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let _password = fields.next()?;
        let gid = fields.next()?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn find_group(groups: &str, wanted: &str) -> Result<u32, Refusal> {
    if let Ok(gid) = wanted.parse() {
        return Ok(gid);
    }
    group_lines(groups)
        .find(|(name, ..)| *name == wanted)
        .map(|(_, gid, _)| gid)
        .ok_or_else(|| no_such("group", wanted))
}

fn memberships(groups: &str, user: &User) -> Vec<u32> {
    let mut found = vec![user.gid];
    for (_, gid, members) in group_lines(groups) {
        let member = members.split(',').any(|member| member.trim() == user.name);
        if member && !found.contains(&gid) && found.len() < MAX_GROUPS {
            found.push(gid);
        }
    }
    found
}

/// A file's text; empty if there is none. Bytes that are not UTF-8 are replaced.
fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_FILE)]).into_owned()
}

fn no_such(what: &str, name: &str) -> Refusal {
    Refusal::new(RefusalKind::NoSuchUser, format!("no such {what}: {name:?}"))
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use bhatti_proto::message::RefusalKind;

    use super::{User, find};

    const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/bash
broken line
app:x:1000:1001:An app,,,:/home/app:/bin/sh
bare:x:7:7
";
    const GROUP: &str = "\
root:x:0:
app:x:1001:
docker:x:999:someone,app
audio:x:29:app
";

    fn with_files(check: impl FnOnce(&Path)) {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("passwd"), PASSWD).unwrap();
        fs_err::write(dir.path().join("group"), GROUP).unwrap();
        check(dir.path());
    }

    #[test]
    fn a_user_is_found_by_name_and_by_number_with_all_groups() {
        with_files(|etc| {
            let app = User {
                name: "app".into(),
                uid: 1000,
                gid: 1001,
                groups: vec![1001, 999, 29],
                home: "/home/app".into(),
                shell: "/bin/sh".into(),
            };
            assert_eq!(find(etc, "app").unwrap(), app);
            assert_eq!(find(etc, "1000").unwrap(), app);
        });
    }

    #[test]
    fn a_group_may_be_given_by_name_or_number() {
        with_files(|etc| {
            assert_eq!(find(etc, "app:docker").unwrap().gid, 999);
            assert_eq!(find(etc, "1000:5").unwrap().groups, [5, 999, 29]);
            assert_eq!(
                find(etc, "app:none").unwrap_err().kind,
                RefusalKind::NoSuchUser
            );
        });
    }

    #[test]
    fn a_number_needs_no_entry_but_a_name_does() {
        with_files(|etc| {
            let user = find(etc, "4242").unwrap();
            assert_eq!((user.uid, user.gid, user.home.as_str()), (4242, 0, "/"));
            assert_eq!(
                find(etc, "nobody-here").unwrap_err().kind,
                RefusalKind::NoSuchUser
            );
            assert_eq!(find(etc, "").unwrap_err().kind, RefusalKind::NoSuchUser);
        });
    }

    #[test]
    fn an_image_without_files_still_has_root() {
        let user = find(Path::new("/does/not/exist"), "root").unwrap();
        assert_eq!(
            (user.uid, user.home.as_str(), user.shell.as_str()),
            (0, "/root", "/bin/sh")
        );
    }

    #[test]
    fn an_account_of_few_words_gets_the_usual_ones() {
        with_files(|etc| {
            let user = find(etc, "bare").unwrap();
            assert_eq!((user.home.as_str(), user.shell.as_str()), ("/", "/bin/sh"));
        });
    }
}
